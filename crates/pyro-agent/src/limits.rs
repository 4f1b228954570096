//! The guest's limits, as a developer's machine has them. The kernel's own are from another time, or
//! grow with the memory, of which a guest has little.

use std::fs;
use std::io;

use nix::sys::resource::{Resource, setrlimit};

/// Open files of a command. Far above this, programs that walk over all possible descriptors become
/// slow.
const OPEN_FILES: (u64, u64) = (65_536, 524_288);

/// Settings of the kernel, below `/proc/sys`. None of them takes memory before it is used.
const KERNEL: [(&str, u64); 6] = [
    // Watching a project with its dependencies takes one for each folder or file.
    ("fs/inotify/max_user_watches", 1_048_576),
    ("fs/inotify/max_user_instances", 8_192),
    // Of all commands together, so more than one may have.
    ("fs/file-max", 2_097_152),
    ("fs/aio-max-nr", 1_048_576),
    // Search engines and databases refuse to start with less than 262144.
    ("vm/max_map_count", 1_048_576),
    ("kernel/pid_max", 4_194_304),
];

/// Raises them. A kernel that does not know one of its own goes without.
pub(crate) fn raise() -> io::Result<()> {
    for (name, value) in KERNEL {
        let file = format!("/proc/sys/{name}");
        let now = fs::read_to_string(&file).unwrap_or_default();
        if now.trim().parse().is_ok_and(|now: u64| now < value) {
            let _ = fs::write(file, value.to_string());
        }
    }
    let (soft, hard) = OPEN_FILES;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?)
}
