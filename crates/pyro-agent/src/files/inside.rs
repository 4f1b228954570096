//! Opens what is in the workspace, wherever links on the way point.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

use crate::files::error::FileError;
use crate::files::layout::Layout;
use crate::files::path;

/// How often an opening is tried again that a renaming elsewhere disturbed.
const TRIES: usize = 100;

/// Opens a normalized path below the workspace for looking at it. Links on the way may be followed,
/// as it is seen to that they stay inside.
pub(crate) fn open_inside(
    layout: &Layout,
    workspace: impl AsFd,
    path: &[u8],
    flags: OFlag,
) -> Result<OwnedFd, FileError> {
    let name = if path.is_empty() { b"." } else { path };
    let how = || {
        OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS)
    };
    let mut tries = 0;
    loop {
        match openat2(&workspace, name, how()) {
            Err(Errno::EAGAIN | Errno::EINTR) if tries < TRIES => tries += 1,
            // gVisor, and Linux before 5.6.
            Err(Errno::ENOSYS) => return open_by_name(layout, workspace, path, flags),
            opened => return opened.map_err(|error| FileError::opening(path, error)),
        }
    }
}

/// Finds out where the links lead, and then goes there name by name and through none: one that
/// somebody puts there meanwhile is refused.
fn open_by_name(
    layout: &Layout,
    workspace: impl AsFd,
    asked: &[u8],
    flags: OFlag,
) -> Result<OwnedFd, FileError> {
    let links = layout.links()?;
    let there = match flags.contains(OFlag::O_NOFOLLOW) {
        true => links.follow_parent(asked)?,
        false => links.follow(asked)?,
    };
    let failed = |error| FileError::opening(asked, error);
    let (folders, name) = path::split(&there);
    let way = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let mut folder = open_itself(&workspace, b".", way).map_err(failed)?;
    for part in folders.split(|byte| *byte == b'/') {
        if !part.is_empty() {
            folder = open_itself(&folder, part, way).map_err(failed)?;
        }
    }
    let name = if name.is_empty() { b"." } else { name };
    open_itself(&folder, name, flags).map_err(failed)
}

fn open_itself(folder: impl AsFd, name: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(folder, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::backend::Backend;

    #[test]
    fn both_ways_lead_to_the_same_and_never_out() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("workspace");
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::write(folder.join("a/b/file"), "inside").unwrap();
        fs::write(home.path().join("secret"), "outside").unwrap();
        for (link, target) in [
            ("to-b", "a/b"),
            ("to-file", "a/b/file"),
            ("out", "../secret"),
            ("up", ".."),
        ] {
            symlink(target, folder.join(link)).unwrap();
        }
        let layout = Layout::new(&Backend::Process { folder });
        let workspace = layout.open_workspace().unwrap();
        let whole = |path: &[u8], flags| {
            let direct = open_inside(&layout, &workspace, path, flags);
            let by_name = open_by_name(&layout, &workspace, path, flags);
            [direct, by_name]
        };
        for path in ["a/b/file", "to-b/file", "to-file"] {
            for opened in whole(path.as_bytes(), OFlag::O_RDONLY) {
                let mut text = String::new();
                File::from(opened.unwrap())
                    .read_to_string(&mut text)
                    .unwrap();
                assert_eq!(text, "inside", "{path}");
            }
        }
        for path in ["", "a", "to-b", "to-file"] {
            for opened in whole(path.as_bytes(), OFlag::O_PATH | OFlag::O_NOFOLLOW) {
                opened.unwrap();
            }
        }
        for path in ["out", "up/secret", "none", "a/none", "a/b/file/x"] {
            for opened in whole(path.as_bytes(), OFlag::O_RDONLY) {
                opened.unwrap_err();
            }
        }
    }
}
