//! Host folders: made from a few words, and looked at as a whole.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// All that a copy of a file has to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileState {
    pub kind: &'static str,
    pub mode: u32,
    /// Seconds since 1970; 0 for links.
    pub modified: i64,
    /// What a file holds, or where a link points.
    pub content: Vec<u8>,
}

/// Everything below a folder, by its name relative to it.
pub fn look(root: &Path) -> BTreeMap<OsString, FileState> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(root.join(&folder))
            .unwrap_or_else(|error| panic!("{}: {error}", root.join(&folder).display()));
        for entry in entries {
            let entry = entry.expect("an entry");
            let name = folder.join(entry.file_name());
            let meta = entry.path().symlink_metadata().expect("its metadata");
            let (kind, content) = if meta.is_symlink() {
                let target = fs::read_link(entry.path()).expect("a target");
                ("link", target.into_os_string().into_vec())
            } else if meta.is_dir() {
                folders.push(name.clone());
                ("folder", Vec::new())
            } else {
                ("file", fs::read(entry.path()).expect("a file"))
            };
            let is_link = meta.is_symlink();
            let kept = FileState {
                kind,
                mode: if is_link { 0 } else { meta.mode() & 0o7777 },
                modified: if is_link { 0 } else { meta.mtime() },
                content,
            };
            found.insert(name.into_os_string(), kept);
        }
    }
    found
}

/// Makes a folder with files of these names and contents.
pub fn plant(root: &Path, files: &[(&str, &str)]) -> PathBuf {
    fs::create_dir_all(root).expect("a folder");
    for (name, content) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a folder around")).expect("folders");
        fs::write(path, content).expect("a file");
    }
    root.to_owned()
}

/// Makes a folder with one of everything that a project may have.
pub fn plant_all_kinds(root: &Path) -> PathBuf {
    plant(
        root,
        &[
            ("README", "hello\n"),
            ("bin/run", "#!/bin/sh\necho it runs\n"),
            ("src/deep/er/code.c", "int main() {}\n"),
            ("no newline", "at the end"),
            ("empty", ""),
            ("dir with \"quotes\" and\nnewline/file", "odd\n"),
        ],
    );
    fs::write(root.join("binary"), [0, 1, 2, 255, 254]).expect("a file");
    fs::write(root.join("x".repeat(255)), "long\n").expect("a file");
    fs::write(root.join(OsStr::from_bytes(b"not-\xff-utf8")), "bytes\n").expect("a file");
    fs::create_dir_all(root.join("nothing/in/here")).expect("folders");
    symlink("bin/run", root.join("link")).expect("a link");
    symlink("../../README", root.join("src/deep/up")).expect("a link");
    symlink("never-there", root.join("dangling")).expect("a link");
    mode(&root.join("bin/run"), 0o755);
    mode(&root.join("README"), 0o640);
    mode(&root.join("src"), 0o750);
    let old = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::open(root.join("README"))
        .and_then(|file| file.set_modified(old))
        .expect("a time");
    root.to_owned()
}

pub fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}
