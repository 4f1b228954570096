//! The folder that a build copies from: what is in it, and the bytes of it.
//!
//! Everything is reached from a descriptor of the folder, without following a link, so that nothing outside can
//! be read. Links in it are looked up in the table of what was found.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::Mode;
use sha2::{Digest, Sha256};

use crate::error::BuildError;
use crate::ignore_rules::IgnoreRules;

/// How many names are looked at before it is taken for a mistake.
const MOST: usize = 2_000_000;

/// How many links lead to a path at most.
const MOST_LINKS: usize = 40;

/// A folder with all that is in it and not left out.
#[derive(Debug)]
pub struct Context {
    root: OwnedFd,
    rules: IgnoreRules,
    entries: BTreeMap<Vec<u8>, Entry>,
    /// Sockets, pipes and devices, which no build copies.
    pub special: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: EntryKind,
    pub mode: u32,
    pub mtime_ns: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    File { size: u64 },
    Folder,
    Link { target: Vec<u8> },
}

/// Where a path of a context leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Path(Vec<u8>),
    Nothing,
    /// A link on the way leads out, or in circles.
    Outside,
}

impl Context {
    /// Looks at a folder. What the rules leave out is not read.
    pub fn open(folder: &Path, rules: IgnoreRules) -> Result<Self, BuildError> {
        let root = nix::fcntl::open(folder, folder_flags(), Mode::empty())
            .map_err(|error| unreadable(folder.as_os_str().as_bytes(), error.into()))?;
        let mut context = Self {
            root,
            rules,
            entries: BTreeMap::new(),
            special: Vec::new(),
        };
        context.walk(MOST)?;
        Ok(context)
    }

    fn walk(&mut self, most: usize) -> Result<(), BuildError> {
        let mut folders = vec![Vec::new()];
        let mut room = most;
        while let Some(folder) = folders.pop() {
            let names = self
                .names(&folder, room)
                .map_err(|error| unreadable(&folder, error))?;
            room = (room.checked_sub(names.len())).ok_or(BuildError::ContextTooLarge { most })?;
            for name in names {
                let path = match folder.is_empty() {
                    true => name,
                    false => [folder.as_slice(), b"/", &name].concat(),
                };
                let left_out = self.rules.leaves_out(&path);
                if left_out && !self.rules.may_include_below(&path) {
                    continue;
                }
                let entry = match self.look(&path) {
                    Ok(entry) => entry,
                    // It went between the list and the look.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(unreadable(&path, error)),
                };
                let Some(entry) = entry else {
                    if !left_out {
                        self.special
                            .push(String::from_utf8_lossy(&path).into_owned());
                    }
                    continue;
                };
                if entry.kind == EntryKind::Folder {
                    folders.push(path.clone());
                }
                if !left_out {
                    self.put(path, entry);
                }
            }
        }
        Ok(())
    }

    /// A file that comes back has its folders with it, though they were left out.
    fn put(&mut self, path: Vec<u8>, entry: Entry) {
        let folders = (path.iter().enumerate())
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| path[..at].to_vec());
        for folder in folders {
            self.entries.entry(folder).or_insert(Entry {
                kind: EntryKind::Folder,
                mode: 0o755,
                mtime_ns: 0,
            });
        }
        self.entries.insert(path, entry);
    }

    /// What is in a folder: one more than there is room for, at most.
    fn names(&self, folder: &[u8], room: usize) -> io::Result<Vec<Vec<u8>>> {
        let opened = self.at(folder, folder_flags())?;
        let mut listed = Dir::from_fd(opened)?;
        let mut names = Vec::new();
        for entry in listed.iter() {
            if names.len() > room {
                break;
            }
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn look(&self, path: &[u8]) -> io::Result<Option<Entry>> {
        let opened = self.at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
        let opened = File::from(opened);
        let about = opened.metadata()?;
        let kind = match about.file_type() {
            it if it.is_file() => EntryKind::File { size: about.len() },
            it if it.is_dir() => EntryKind::Folder,
            it if it.is_symlink() => EntryKind::Link {
                target: readlinkat(opened.as_fd(), "")?.into_vec(),
            },
            _ => return Ok(None),
        };
        Ok(Some(Entry {
            kind,
            mode: about.permissions().mode() & 0o7777,
            mtime_ns: about.mtime() * 1_000_000_000 + about.mtime_nsec(),
        }))
    }

    /// Opens something below, by a way without links.
    fn at(&self, path: &[u8], flags: OFlag) -> io::Result<OwnedFd> {
        let path: &[u8] = if path.is_empty() { b"." } else { path };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            // A link itself may be looked at (`O_PATH`), but nothing goes through one.
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        Ok(openat2(&self.root, OsStr::from_bytes(path), how)?)
    }

    pub fn entry(&self, path: &[u8]) -> Option<&Entry> {
        self.entries.get(path)
    }

    pub(crate) fn rules(&self) -> &IgnoreRules {
        &self.rules
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.entries.keys()
    }

    /// All that is in a folder, at any depth; folders before what is in them.
    pub(crate) fn below(&self, folder: &[u8]) -> impl Iterator<Item = (&[u8], &Entry)> {
        let prefix = match folder.is_empty() {
            true => Vec::new(),
            false => [folder, b"/"].concat(),
        };
        let start = prefix.len();
        self.entries
            .range(prefix.clone()..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .map(move |(path, entry)| (&path[start..], entry))
    }

    /// Follows the links of a path, within the folder.
    pub(crate) fn find(&self, path: &[u8]) -> Found {
        let mut rest: Vec<Vec<u8>> = parts(path).rev().collect();
        let (mut at, mut links): (Vec<Vec<u8>>, usize) = (Vec::new(), 0);
        while let Some(part) = rest.pop() {
            if part == b".." {
                if at.pop().is_none() {
                    return Found::Outside;
                }
                continue;
            }
            at.push(part);
            let path = at.join(&b'/');
            match self.entries.get(&path).map(|entry| &entry.kind) {
                None => return Found::Nothing,
                Some(EntryKind::Link { target }) => {
                    links += 1;
                    // From the top of the host's files: not of this folder.
                    if links > MOST_LINKS || target.starts_with(b"/") {
                        return Found::Outside;
                    }
                    at.pop();
                    rest.extend(parts(target).rev());
                }
                Some(_) => {}
            }
        }
        Found::Path(at.join(&b'/'))
    }

    /// Opens a file that was found.
    pub fn open_file(&self, path: &[u8]) -> Result<File, BuildError> {
        let opened = self
            .at(
                path,
                OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK,
            )
            .map(File::from)
            .map_err(|error| unreadable(path, error))?;
        match opened.metadata() {
            Ok(about) if about.is_file() => Ok(opened),
            Ok(_) => Err(changed(path)),
            Err(error) => Err(unreadable(path, error)),
        }
    }

    /// The digest of a file's bytes, of which there are as many as when it was found.
    pub(crate) fn digest(&self, path: &[u8], size: u64) -> Result<[u8; 32], BuildError> {
        let mut file = self.open_file(path)?.take(size + 1);
        let (mut hash, mut read) = (Sha256::new(), 0);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let count = file
                .read(&mut buffer)
                .map_err(|error| unreadable(path, error))?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
            read += count as u64;
        }
        match read == size {
            true => Ok(hash.finalize().into()),
            false => Err(changed(path)),
        }
    }
}

fn folder_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    path.split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
}

fn unreadable(path: &[u8], source: io::Error) -> BuildError {
    let path = match path.is_empty() {
        true => "its top folder".to_owned(),
        false => format!("`{}`", String::from_utf8_lossy(path)),
    };
    BuildError::Context { path, source }
}

pub(crate) fn changed(path: &[u8]) -> BuildError {
    BuildError::Changed {
        path: format!("`{}`", String::from_utf8_lossy(path)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_context_is_what_is_not_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["src/deep", "node_modules/x", "only/one"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        for name in [
            "a",
            "src/b",
            "src/deep/c",
            "node_modules/x/d",
            "only/one/kept",
            "only/e",
        ] {
            std::fs::write(root.join(name), name).unwrap();
        }
        let _socket = UnixListener::bind(root.join("src/socket")).unwrap();
        symlink("../a", root.join("src/up")).unwrap();
        symlink("/etc/passwd", root.join("out")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("src", root.join("also")).unwrap();
        // Not looked into, so that it may be unreadable.
        let rules = IgnoreRules::parse("node_modules\nonly\n!only/one/kept\n").unwrap();
        let context = Context::open(root, rules).unwrap();
        let names: Vec<_> = context
            .paths()
            .map(|it| String::from_utf8_lossy(it))
            .collect();
        assert_eq!(
            names,
            [
                "a",
                "also",
                "loop",
                "only",
                "only/one",
                "only/one/kept",
                "out",
                "src",
                "src/b",
                "src/deep",
                "src/deep/c",
                "src/up"
            ]
        );
        assert_eq!(context.special, ["src/socket"]);
        // Those that are left out are looked at, too.
        let rules = IgnoreRules::parse("*\n").unwrap();
        let mut none = Context::open(root, rules).unwrap();
        assert!(none.paths().next().is_none());
        assert!(none.walk(7).is_ok());
        let told = none.walk(6).unwrap_err().to_string();
        assert_eq!(
            told,
            "the context has more than 6 files and folders to look at"
        );
        let path = |text: &[u8]| Found::Path(text.to_vec());
        assert_eq!(context.find(b"src/up"), path(b"a"));
        assert_eq!(context.find(b"also/deep/c"), path(b"src/deep/c"));
        assert_eq!(context.find(b""), path(b""));
        assert_eq!(context.find(b"out"), Found::Outside);
        assert_eq!(context.find(b"loop"), Found::Outside);
        assert_eq!(context.find(b"src/../../x"), Found::Outside);
        assert_eq!(context.find(b"none"), Found::Nothing);
        let below: Vec<_> = context
            .below(b"src")
            .map(|(name, _)| name.to_vec())
            .collect();
        assert_eq!(
            below,
            [
                b"b".to_vec(),
                b"deep".to_vec(),
                b"deep/c".to_vec(),
                b"up".to_vec()
            ]
        );
        assert!(context.open_file(b"out").is_err() && context.open_file(b"src").is_err());
        assert!(context.open_file(b"also/b").is_err());
        let digest = context.digest(b"a", 1).unwrap();
        assert_eq!(digest, <[u8; 32]>::from(Sha256::digest(b"a")));
        std::fs::write(root.join("a"), "longer").unwrap();
        let told = context.digest(b"a", 1).unwrap_err().to_string();
        assert_eq!(told, "`a` was changed while it was copied");
    }
}
