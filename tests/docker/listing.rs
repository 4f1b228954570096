//! Prints what a guest is like, in the same words wherever it runs: its variables, its user, its folder, and every file of
//! its root file system. One static program of the standard library alone, as images need not have any other.
//!
//! `listing exit N` ends with that status and prints nothing.

use std::ffi::{CString, OsString, c_char};
use std::fs::{self, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::exit;

unsafe extern "C" {
    fn llistxattr(path: *const c_char, list: *mut c_char, size: usize) -> isize;
    fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut u8, size: usize) -> isize;
    fn getuid() -> u32;
    fn getgid() -> u32;
}

/// More than any attribute of an image has.
const ROOM: usize = 65_536;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, status] = arguments.as_slice()
        && word == "exit"
    {
        exit(status.parse().expect("a status"));
    }
    for (name, value) in std::env::vars_os() {
        println!("variable {} {}", shown(name), shown(value));
    }
    // SAFETY: they take nothing and cannot fail.
    let (user, group) = unsafe { (getuid(), getgid()) };
    println!("user {user}:{group}");
    let folder = std::env::current_dir().expect("a folder");
    println!("folder {}", shown(folder.into_os_string()));
    let root = fs::symlink_metadata("/").expect("a root");
    walk(Path::new("/"), &root, root.dev());
}

/// A folder before what is in it, without other file systems.
fn walk(path: &Path, found: &Metadata, device: u64) {
    // In a file system of layers each file has the device of its layer.
    if found.is_dir() && found.dev() != device {
        return;
    }
    tell(path, found);
    if !found.is_dir() {
        return;
    }
    let mut entries: Vec<_> = fs::read_dir(path)
        .expect("a folder that can be read")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for entry in entries {
        let found = fs::symlink_metadata(&entry).expect("an entry that is there");
        walk(&entry, &found, device);
    }
}

fn tell(path: &Path, found: &Metadata) {
    let kind = found.file_type();
    let (word, target) = if kind.is_dir() {
        ("folder", None)
    } else if kind.is_symlink() {
        ("link", fs::read_link(path).ok())
    } else if kind.is_file() {
        ("file", None)
    } else if kind.is_fifo() {
        ("fifo", None)
    } else {
        ("other", None)
    };
    let counted = |number: u64| if kind.is_dir() { 0 } else { number };
    println!(
        "{word} {} mode={:o} owner={}:{} size={} names={} time={} target={} attributes={}",
        shown(path.as_os_str().to_owned()),
        found.mode() & 0o7777,
        found.uid(),
        found.gid(),
        counted(found.size()),
        counted(found.nlink()),
        found.mtime(),
        target.map_or_else(String::new, |target| shown(target.into_os_string())),
        attributes(path),
    );
}

fn attributes(path: &Path) -> String {
    let path = CString::new(path.as_os_str().as_bytes()).expect("a path");
    let mut list = vec![0_u8; ROOM];
    // SAFETY: the path ends with a zero, and as much may be written as there is room for.
    let length = unsafe { llistxattr(path.as_ptr(), list.as_mut_ptr().cast(), list.len()) };
    let Ok(length) = usize::try_from(length) else {
        return String::new();
    };
    let names = list[..length].split(|byte| *byte == 0);
    let mut told: Vec<String> = names
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0_u8; ROOM];
            let name = CString::new(name).expect("a name");
            // SAFETY: both end with a zero, and as much may be written as there is room for.
            let length = unsafe {
                lgetxattr(
                    path.as_ptr(),
                    name.as_ptr(),
                    value.as_mut_ptr(),
                    value.len(),
                )
            };
            value.truncate(usize::try_from(length).unwrap_or_default());
            let name = OsString::from_vec(name.into_bytes());
            format!("{}={}", shown(name), shown(OsString::from_vec(value)))
        })
        .collect();
    told.sort();
    told.join(",")
}

/// On one line, without spaces.
fn shown(text: OsString) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    text.as_bytes()
        .iter()
        .map(|&byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("\\x{byte:02x}"),
        })
        .collect()
}
