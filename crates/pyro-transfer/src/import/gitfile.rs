//! Git repositories whose `.git` is not a folder but a file that points elsewhere: worktrees,
//! submodules. In a guest it would point nowhere, so what makes git work is brought along, as a
//! `.git` separate repository.
//!
//! A pointer may be a lie: what it leads to is followed only where that points back to this folder,
//! and, for callers with limits, only inside of their folders. Git itself is never run.
//!
//! ```text
//! worktree    .git -> REPOSITORY/worktrees/NAME      whose `gitdir` names this `.git`
//! submodule   .git -> SUPERPROJECT/.git/modules/NAME whose `core.worktree` is this folder
//! ```

use std::ffi::{CStr, OsStr};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{self, OFlag};
use nix::sys::stat::Mode;

use super::git_config::GitConfig;
use super::small_files::{read, read_in};
use crate::host_paths::AllowedFolders;
use crate::names::{escaped, stays_inside};

/// Where the parts of a repository are that a folder belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outside {
    /// What is the folder's own: HEAD, index.
    pub(super) own: PathBuf,
    /// What all worktrees share: objects, refs, configuration.
    pub(super) common: PathBuf,
    /// The configuration of a repository that has its working tree around its `.git`.
    pub(super) config: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pointer {
    /// It leads to something in the source, by a relative path.
    Inside(PathBuf),
    Outside(Outside),
    /// Git will not work, with the reason and the remedy.
    Broken(String),
}

/// What the content of a `.git` file means. `root` is the source, with links resolved; `name` is the
/// file's name below it.
pub(super) fn pointer(
    root: &Path,
    name: &[u8],
    content: &[u8],
    allowed: &AllowedFolders,
) -> Pointer {
    match follow(root, name, content, allowed) {
        Ok(pointer) => pointer,
        Err(why) => Pointer::Broken(why),
    }
}

fn follow(
    root: &Path,
    name: &[u8],
    content: &[u8],
    allowed: &AllowedFolders,
) -> Result<Pointer, String> {
    let target = content
        .strip_prefix(b"gitdir: ")
        .map(<[u8]>::trim_ascii_end)
        .filter(|target| !target.is_empty())
        .ok_or("it is a file, but points nowhere")?;
    let pointer = root.join(OsStr::from_bytes(name));
    let folder = pointer.parent().unwrap_or(root);
    let named = folder.join(OsStr::from_bytes(target));
    let leads = format!("it leads to `{}`", escaped(target));
    let own = named
        .canonicalize()
        .map_err(|error| format!("{leads}, which cannot be used: {error}"))?;
    if own.starts_with(root) && stays_inside(name, target) {
        return Ok(Pointer::Inside(own));
    }
    let refused = || {
        format!("{leads}, outside the folders that may be used here; seed a clone of it instead")
    };
    if !allowed.allow(&own) {
        return Err(refused());
    }
    let common = match linked_to(&own) {
        Some(common) if points_back(&own, folder) => common,
        Some(_) => return Err(format!("{leads}, which is the worktree of another folder")),
        None => own.clone(),
    };
    if !allowed.allow(&common) {
        return Err(refused());
    }
    if common.starts_with(root) {
        return Err(format!(
            "{leads}, by a path of this host; seed that worktree by itself instead"
        ));
    }
    let config = read(&common.join("config")).unwrap_or_default();
    let parsed = GitConfig::parse(&config);
    if common == own {
        let back = parsed.get("core", "worktree");
        let back = back.and_then(|path| own.join(OsStr::from_bytes(&path)).canonicalize().ok());
        if back.as_deref() != Some(folder) {
            return Err(format!(
                "{leads}, which does not say that it belongs to this folder (a separate git \
                 directory); seed a `git clone` of it instead"
            ));
        }
    }
    let is_repository = ["objects", "refs"]
        .iter()
        .all(|name| is_folder(&common.join(name)));
    if !is_repository {
        return Err(format!("{leads}, which is not a repository"));
    }
    if parsed
        .get("extensions", "refstorage")
        .is_some_and(|kind| kind != b"files")
    {
        return Err(format!(
            "{leads}, which stores its refs in a format that cannot be split; seed a `git clone` \
             of it instead"
        ));
    }
    Ok(Pointer::Outside(Outside {
        own,
        common,
        config: standing_alone(config, &parsed),
    }))
}

/// The repository that a worktree's own folder is in, if it is one's at all.
pub(super) fn linked_to(own: &Path) -> Option<PathBuf> {
    let common = read(&own.join("commondir")).ok()?;
    let common = own.join(OsStr::from_bytes(common.trim_ascii_end()));
    let common = common.canonicalize().ok()?;
    // So that `commondir` of somebody else's making leads to nothing but what it is in.
    (own.parent() == Some(&common.join("worktrees"))).then_some(common)
}

fn points_back(own: &Path, folder: &Path) -> bool {
    let Ok(back) = read(&own.join("gitdir")) else {
        return false;
    };
    let back = own.join(OsStr::from_bytes(back.trim_ascii_end()));
    let around = back.parent().and_then(|around| around.canonicalize().ok());
    around.as_deref() == Some(folder) && back.file_name() == Some(OsStr::new(".git"))
}

/// A bare repository may have worktrees, and a submodule's names its folder: neither holds where
/// `.git` is a folder of the working tree. Of two values the later counts.
fn standing_alone(mut config: Vec<u8>, parsed: &GitConfig) -> Vec<u8> {
    config.extend_from_slice(b"\n[core]\n\tbare = false\n");
    if parsed.get("core", "worktree").is_some() {
        config.extend_from_slice(b"\tworktree = ..\n");
    }
    config
}

/// Whether a folder, of the name `path` in the source, is what a repository keeps about a worktree that
/// is elsewhere, or that it names by a path of this host. In a guest it would only hold the worktree's
/// branch.
pub(super) fn is_of_lost_worktree(
    root: &Path,
    folder: BorrowedFd<'_>,
    name: &CStr,
    path: &[u8],
) -> bool {
    let above = path.rsplit(|&byte| byte == b'/').nth(1);
    if above != Some(b"worktrees") {
        return false;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let Ok(own) = fcntl::openat(folder, name, flags, Mode::empty()) else {
        return false;
    };
    let common = read_in(own.as_fd(), c"commondir").unwrap_or_default();
    let Ok(back) = read_in(own.as_fd(), c"gitdir") else {
        return false;
    };
    let back = Path::new(OsStr::from_bytes(back.trim_ascii_end()));
    let is_of_this_host = back.is_absolute();
    let back = root.join(OsStr::from_bytes(path)).join(back);
    let around = back.parent().and_then(|around| around.canonicalize().ok());
    let is_inside = around.is_some_and(|around| around.starts_with(root));
    common.trim_ascii_end() == b"../.." && (is_of_this_host || !is_inside)
}

/// Which part of a repository is walked over. Objects come last: what is committed meanwhile by
/// somebody else may be there without a ref to it, and not the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Portion {
    Own,
    Shared,
    Objects,
}

impl Portion {
    /// Whether an entry, by its name in the repository, belongs to it. What that is, says
    /// gitrepository-layout(5).
    pub(super) fn has(self, name: &[u8]) -> bool {
        let mut parts = name.split(|&byte| byte == b'/');
        let first = parts.next().unwrap_or_default();
        let last = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        if last.ends_with(b".lock") || last.starts_with(b"tmp_") || last == b"gc.pid" {
            return false;
        }
        match self {
            Self::Own => !matches!(
                first,
                b"commondir"
                    | b"gitdir"
                    | b"locked"
                    | b"config"
                    | b"objects"
                    | b"modules"
                    | b"worktrees"
            ),
            Self::Objects => first == b"objects" && name != b"objects/info/alternates",
            Self::Shared => match first {
                b"branches" | b"description" | b"hooks" | b"info" | b"lfs" | b"logs"
                | b"packed-refs" | b"refs" | b"remotes" | b"rr-cache" | b"shallow" | b"svn" => {
                    !matches!(
                        name,
                        b"info/sparse-checkout"
                            | b"logs/HEAD"
                            | b"logs/refs/bisect"
                            | b"logs/refs/rewritten"
                            | b"logs/refs/worktree"
                            | b"refs/bisect"
                            | b"refs/rewritten"
                            | b"refs/worktree"
                    )
                }
                _ => false,
            },
        }
    }
}

/// Whether a list of alternates (folders that objects are borrowed from) leads out of the source.
/// `objects` is the name of the folder that they are relative to, if that is in the source itself.
pub(super) fn borrows(objects: Option<&[u8]>, list: &[u8]) -> bool {
    let inside = objects.map(|objects| [objects, b"/x"].concat());
    list.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .any(|line| {
            inside
                .as_ref()
                .is_none_or(|inside| !stays_inside(inside, line))
        })
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}
