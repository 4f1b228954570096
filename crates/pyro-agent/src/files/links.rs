//! Follows links below the workspace, as far as they stay inside.
//!
//! The kernel's own way of doing so (`openat2`, [`open_inside`]) takes no absolute link, be it one
//! to `/workspace`, and only finds what is there. Here a path is walked name by name. What comes
//! out has no links in it, and whoever uses it follows none that leads out: a link that somebody
//! puts there meanwhile is refused.
//!
//! [`open_inside`]: crate::files::inside::open_inside

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use pyro_wire::files::EntryKind;

use crate::files::error::FileError;
use crate::files::{display, path, status};

/// How many links one path may lead through, as in Linux itself.
const MOST: usize = 40;

pub(crate) struct Links {
    root: OwnedFd,
    /// What links to it have to begin with.
    workspace: PathBuf,
}

impl Links {
    pub(super) fn new(root: OwnedFd, workspace: PathBuf) -> Self {
        Self { root, workspace }
    }

    /// Where a normalized path leads, be anything there or not.
    pub(crate) fn follow(&self, asked: &[u8]) -> Result<Vec<u8>, FileError> {
        let failed = |error| FileError::opening(asked, error);
        let mut way = Way {
            root: self.root.as_fd(),
            folders: Vec::new(),
        };
        // What is still to be gone, the next part last.
        let mut rest = Vec::new();
        add(&mut rest, asked);
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == b".." {
                if way.folders.pop().is_none() {
                    return Err(FileError::bad_path(asked, "it leads out of the workspace"));
                }
                continue;
            }
            let here = way.here();
            let Some(found) = status::find(here, &part).map_err(failed)? else {
                // Nothing is below what is not there, also nothing to go back from.
                if rest.iter().any(|part| part == b"..") {
                    return Err(FileError::not_found(asked));
                }
                return path::normalize(&way.with(part, rest));
            };
            match status::kind_of(&found) {
                EntryKind::Symlink => {
                    links += 1;
                    if links > MOST {
                        return Err(FileError::bad_path(
                            asked,
                            "it leads through too many links",
                        ));
                    }
                    let target = status::target(here, &part).map_err(failed)?;
                    if target.starts_with(b"/") {
                        let below = below(&target, self.workspace.as_os_str().as_bytes());
                        let Some(below) = below else {
                            return Err(leads_out(asked, &way.path(&part), &target));
                        };
                        way.folders.clear();
                        add(&mut rest, below);
                    } else if up(&target) > way.folders.len() {
                        return Err(leads_out(asked, &way.path(&part), &target));
                    } else {
                        add(&mut rest, &target);
                    }
                }
                EntryKind::Directory => {
                    let flags =
                        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                    let folder = openat(here, part.as_slice(), flags, Mode::empty());
                    way.folders.push((part, folder.map_err(failed)?));
                }
                EntryKind::File | EntryKind::Special if rest.is_empty() => {
                    return path::normalize(&way.with(part, rest));
                }
                EntryKind::File | EntryKind::Special => return Err(failed(Errno::ENOTDIR)),
            }
        }
        path::normalize(&way.with(Vec::new(), Vec::new()))
    }

    /// Where the folder of a normalized path leads; the last name stays, be it a link.
    pub(crate) fn follow_parent(&self, asked: &[u8]) -> Result<Vec<u8>, FileError> {
        let (folder, name) = path::split(asked);
        if folder.is_empty() {
            return Ok(asked.to_vec());
        }
        path::normalize(&path::join(&self.follow(folder)?, name))
    }
}

/// The folders that were entered, with their names.
struct Way<'a> {
    root: BorrowedFd<'a>,
    folders: Vec<(Vec<u8>, OwnedFd)>,
}

impl Way<'_> {
    fn here(&self) -> BorrowedFd<'_> {
        self.folders
            .last()
            .map_or(self.root, |(_, folder)| folder.as_fd())
    }

    /// The path of something in the folder that was entered last.
    fn path(&self, name: &[u8]) -> Vec<u8> {
        let mut path = Vec::new();
        for (folder, _) in &self.folders {
            path::push(&mut path, folder);
        }
        path::push(&mut path, name);
        path
    }

    /// The same, with what was still to be gone behind it.
    fn with(&self, name: Vec<u8>, mut rest: Vec<Vec<u8>>) -> Vec<u8> {
        let mut path = self.path(&name);
        while let Some(part) = rest.pop() {
            path::push(&mut path, &part);
        }
        path
    }
}

/// Puts the parts of a path before what is still to be gone.
fn add(rest: &mut Vec<Vec<u8>>, path: &[u8]) {
    let parts = path.split(|byte| *byte == b'/');
    let parts = parts.filter(|part| !part.is_empty() && *part != b".");
    rest.extend(parts.rev().map(<[u8]>::to_vec));
}

/// How many folders a relative path begins by leaving.
fn up(path: &[u8]) -> usize {
    let parts = path.split(|byte| *byte == b'/');
    let parts = parts.filter(|part| !part.is_empty() && *part != b".");
    parts.take_while(|part| *part == b"..").count()
}

/// What an absolute path says below a folder, with needless parts of any kind in it.
fn below<'a>(path: &'a [u8], folder: &[u8]) -> Option<&'a [u8]> {
    let mut rest = path;
    let mut wanted = Vec::new();
    add(&mut wanted, folder);
    while let Some(name) = wanted.pop() {
        loop {
            rest = rest.strip_prefix(b"/")?;
            let end = rest.iter().position(|byte| *byte == b'/');
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            rest = after;
            match part {
                b"" | b"." => {}
                part if part == name => break,
                _ => return None,
            }
        }
    }
    Some(rest)
}

fn leads_out(asked: &[u8], link: &[u8], target: &[u8]) -> FileError {
    FileError::bad_path(
        asked,
        format!(
            "it leads out of the workspace: {} is a link to {}",
            display::path(link),
            display::bytes(target)
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::files::layout::open_folder;

    #[test]
    fn links_are_followed_as_far_as_they_stay_inside() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("workspace");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/file"), "").unwrap();
        let inside = format!("{}/a/file", root.display());
        let doubled = format!("/.{}//.//a//file", root.display()).replace('/', "//");
        let beside = format!("{}-other/file", root.display());
        for (link, target) in [
            ("to-file", "a/file"),
            ("a/b/up", "../file"),
            ("folder", "./a//b/"),
            ("absolute", inside.as_str()),
            ("doubled", doubled.as_str()),
            ("root", "/"),
            ("itself", "."),
            ("dangling", "a/new/file"),
            ("over", "folder/../file"),
            ("twice", "to-file"),
            ("loop", "loop"),
            ("out", "../etc"),
            ("deep-out", "a/../../x"),
            ("a/out", "b/../../../x"),
            ("etc", "/etc/passwd"),
            ("beside", beside.as_str()),
            ("back", "missing/../a"),
            ("through", "a/file/x"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let links = Links::new(open_folder(&root).unwrap(), root.clone());
        let follow = |path: &str| {
            let found = links.follow(path.as_bytes());
            found.map(|path| String::from_utf8(path).unwrap())
        };
        for (path, expected) in [
            ("", ""),
            ("a/file", "a/file"),
            ("to-file", "a/file"),
            ("twice", "a/file"),
            ("a/b/up", "a/file"),
            ("folder/up", "a/file"),
            ("folder/none/x", "a/b/none/x"),
            ("absolute", "a/file"),
            ("doubled", "a/file"),
            ("itself", ""),
            ("itself/itself/to-file", "a/file"),
            ("dangling", "a/new/file"),
            ("over", "a/file"),
            ("none/x", "none/x"),
        ] {
            assert_eq!(follow(path).unwrap(), expected, "{path}");
        }
        for (path, why) in [
            ("loop", "too many links"),
            ("out", "out is a link to ../etc"),
            ("out/x", "leads out"),
            ("deep-out", "leads out"),
            ("a/out", "leads out"),
            ("etc", "etc is a link to /etc/passwd"),
            ("beside", "leads out"),
            ("root", "leads out"),
            ("back", "does not exist"),
            ("through", "not a folder"),
            ("a/file/x", "not a folder"),
        ] {
            let error = follow(path).unwrap_err().to_string();
            assert!(error.contains(why), "{path}: {error}");
        }
        let around = |path: &str| links.follow_parent(path.as_bytes()).unwrap();
        assert_eq!(around("to-file"), b"to-file");
        assert_eq!(around("folder/up"), b"a/b/up");
    }
}
