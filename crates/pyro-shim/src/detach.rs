//! Makes the process a shim: no terminal, no session, nothing inherited but the three standard
//! descriptors, and no core file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};

/// Leaves the caller's session and closes what leaked in from it.
pub(crate) fn detach() {
    close_inherited();
    dump_no_cores();
    // Fails only for a group leader, which an interactive shell makes of its children; then the
    // ignored signals below have to do, and children leave by themselves.
    let _ = nix::unistd::setsid();
    for ignored in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGPIPE] {
        // SAFETY: ignoring a signal installs no handler that could be unsafe.
        let _ = unsafe { signal(ignored, SigHandler::SigIgn) };
    }
}

/// What is said to a guest, secrets too, passes through the shim and its VMM, and must not end in a
/// file when one of them crashes. The limit binds the VMM as well; what it does not bind is a program
/// that takes cores from a pipe, which gets none of the shim.
fn dump_no_cores() {
    // Neither fails with values like these.
    let _ = set_dumpable(false);
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_CORE) {
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, hard);
    }
}

/// Takes standard input or output over and leaves `/dev/null` in its place, so that no child and
/// no stray `println!` reaches it.
pub(crate) fn take_input() -> io::Result<OwnedFd> {
    let taken = io::stdin().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    Ok(taken)
}

/// As [`take_input`], for standard output.
pub(crate) fn take_output() -> io::Result<File> {
    let taken = io::stdout().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdout(OpenOptions::new().write(true).open("/dev/null")?)?;
    Ok(taken.into())
}

/// Lets go of standard error where that is somebody's pipe or terminal; a log file is nobody's.
pub(crate) fn release_errors() {
    let file = fs::metadata("/proc/self/fd/2").is_ok_and(|kind| kind.is_file());
    if !file && let Ok(nowhere) = OpenOptions::new().write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stderr(nowhere);
    }
}

/// A caller's pipe that leaked into the shim would stay open for the life of the VM: a shell that
/// reads `$(pyro …)` would wait for the VM to end.
fn close_inherited() {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return;
    };
    let open: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd: &RawFd| *fd > io::stderr().as_raw_fd())
        .collect();
    for fd in open {
        // SAFETY: `run` is documented to take the whole process, so nothing in it owns these. The
        // descriptor that listed the folder is closed by now: for it this is a harmless EBADF.
        unsafe { libc::close(fd) };
    }
}
