//! The guest's name: host name, machine id, and the files that tell them.
//!
//! A file is only written when it would change, since each write costs the disk layer blocks.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use pyro_wire::agent::SetUp;
use pyro_wire::network::GATEWAY_V4;

use crate::network;

const HOSTS: &str = "/etc/hosts";
const NEW_HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// The name server of every guest with a network is its router, which asks those of the host.
const RESOLVER: &str = "/etc/resolv.conf";

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const OWN_BOOT_ID: &str = "/run/.boot_id";
/// Another one each time it is read.
const RANDOM_UUID: &str = "/proc/sys/kernel/random/uuid";

const HOSTS_LIMIT: u64 = 1024 * 1024;

/// The kernel's limit.
const HOSTNAME_LIMIT: usize = 64;

/// Refuses names that would break the files they are written to.
pub(crate) fn check(request: &SetUp) -> Result<(), &'static str> {
    let name = &request.hostname;
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if name.is_empty() || name.len() > HOSTNAME_LIMIT || !name.bytes().all(sound) {
        return Err("a host name is 1 to 64 letters, digits, dots and hyphens");
    }
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if request.machine_id.len() != 32 || !request.machine_id.bytes().all(digit) {
        return Err("a machine id is 32 lower-case hex digits");
    }
    Ok(())
}

/// Takes the name on, in the kernel and on the root disk.
pub(crate) fn apply(request: &SetUp) -> io::Result<()> {
    let name = &request.hostname;
    nix::unistd::sethostname(name)?;
    let _ = fs::create_dir("/etc");
    write(Path::new("/etc/hostname"), &format!("{name}\n"))?;
    write(
        Path::new("/etc/machine-id"),
        &format!("{}\n", request.machine_id),
    )?;
    let hosts = read(Path::new(HOSTS));
    write(Path::new(HOSTS), &hosts_with(&hosts, name))?;
    if network::is_attached() {
        write(Path::new(RESOLVER), &format!("nameserver {GATEWAY_V4}\n"))?;
    }
    Ok(())
}

/// Puts a file of ours where programs read the boot id. The kernel makes its own once, so all copies
/// of a frozen guest in which something has asked for it would have the same.
///
/// The mount costs a resumed guest 10 ms under emulation, the writing of [`renew_boot_id`] next to
/// nothing, so this is done before the guest is frozen.
pub(crate) fn replace_boot_id() -> io::Result<()> {
    fs::write(OWN_BOOT_ID, fs::read_to_string(RANDOM_UUID)?)?;
    fs::set_permissions(OWN_BOOT_ID, Permissions::from_mode(0o444))?;
    let none = None::<&str>;
    mount(Some(OWN_BOOT_ID), BOOT_ID, none, MsFlags::MS_BIND, none)?;
    // The mount keeps the file; its name would only be a riddle.
    fs::remove_file(OWN_BOOT_ID)
}

/// Gives a guest, in which [`replace_boot_id`] was called, a boot id of its own.
pub(crate) fn renew_boot_id() -> io::Result<()> {
    let id = fs::read(RANDOM_UUID)?;
    let file = OpenOptions::new().write(true).open(BOOT_ID)?;
    file.write_all_at(&id, 0)
}

/// What a user wrote into the file stays; only what is missing is added.
fn hosts_with(old: &str, name: &str) -> String {
    let names = |text: &str, wanted: &str| {
        text.lines().any(|line| {
            let line = line.split('#').next().unwrap_or_default();
            line.split_whitespace().skip(1).any(|word| word == wanted)
        })
    };
    let mut new = String::new();
    if !names(old, "localhost") {
        new.push_str(NEW_HOSTS);
    }
    new.push_str(old);
    if !new.is_empty() && !new.ends_with('\n') {
        new.push('\n');
    }
    if !names(&new, name) {
        new.push_str(&format!("127.0.1.1\t{name}\n"));
    }
    new
}

/// What a file holds, up to a limit that no sound one reaches.
fn read(path: &Path) -> String {
    let mut text = String::new();
    if let Some(file) = open(path) {
        // A file that is no text is replaced.
        let _ = file.take(HOSTS_LIMIT).read_to_string(&mut text);
    }
    text
}

/// Opens a file of the root disk. A disk that was used before may hold anything under its name,
/// even a link out of `/etc` or a pipe that would block us; that counts as no file.
fn open(path: &Path) -> Option<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    let is_plain = file
        .metadata()
        .is_ok_and(|meta| meta.is_file() && meta.nlink() == 1);
    is_plain.then_some(file)
}

/// Makes a file hold this text. An existing one is written in place: replacing it would make ext4
/// allocate blocks at once, which costs milliseconds under emulation.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(file) = open(path) {
        if content_is(&file, text) {
            return Ok(());
        }
        file.write_all_at(text.as_bytes(), 0)?;
        let length = text.len() as u64;
        // Cutting a file is a transaction of the file system, even where there is nothing to cut.
        if file.metadata()?.len() != length {
            file.set_len(length)?;
        }
        return Ok(());
    }
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    file.write_all(text.as_bytes())
}

fn content_is(file: &File, text: &str) -> bool {
    let mut old = vec![0; text.len()];
    file.metadata()
        .is_ok_and(|meta| meta.len() == text.len() as u64)
        && file.read_exact_at(&mut old, 0).is_ok()
        && old == text.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_a_file_are_refused() {
        let request = |hostname: &str, machine_id: &str| SetUp {
            new_disk: false,
            env: Vec::new(),
            user: None,
            hostname: hostname.into(),
            machine_id: machine_id.into(),
            unix_time_ns: 0,
            entropy: Vec::new(),
            timings: false,
        };
        let id = "0123456789abcdef0123456789abcdef";
        assert!(check(&request("web-1.local", id)).is_ok());
        for name in ["", "a b", "a\nb", "a/b", &"x".repeat(65)] {
            assert!(check(&request(name, id)).is_err(), "{name:?}");
        }
        assert!(check(&request("web", &id.to_uppercase())).is_err());
        assert!(check(&request("web", &id[1..])).is_err());
    }

    #[test]
    fn the_hosts_file_keeps_what_was_in_it() {
        let fresh = hosts_with("", "web");
        assert_eq!(fresh, format!("{NEW_HOSTS}127.0.1.1\tweb\n"));
        assert_eq!(hosts_with(&fresh, "web"), fresh);
        let used = "127.0.0.1 localhost\n10.0.0.5 db # web";
        assert_eq!(hosts_with(used, "web"), format!("{used}\n127.0.1.1\tweb\n"));
    }

    #[test]
    fn a_file_is_replaced_whatever_lies_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("name");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        write(&path, "a\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\n");
        write(&path, "b\n").unwrap();
        assert_eq!(read(&path), "b\n");
        write(&path, "longer\n").unwrap();
        write(&path, "c\n").unwrap();
        assert_eq!(read(&path), "c\n");
    }
}
