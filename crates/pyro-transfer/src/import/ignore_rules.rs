//! What of a folder is left out: by the patterns that were asked for, by `.pyroignore` files, and
//! by git's rules where those were asked for.
//!
//! ```text
//! asked for          counts most
//! .pyroignore        those of inner folders before those of outer ones
//! .gitignore         the same, up to the folder that a repository begins in
//! .git/info/exclude  of that repository
//! ```
//!
//! Where the source is a part of a repository, git's rules of the folders around it count as well.
//! What a repository tracks is there whatever git's rules say. Inside of a `.git` only patterns count
//! that name it.

use std::borrow::Cow;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{self, OFlag};
use nix::sys::stat::Mode;

use super::enclosing_repository::repository_around;
use super::error::ImportError;
use super::git_config::GitConfig;
use super::git_index::Tracked;
use super::gitfile::{Pointer, linked_to, pointer};
use super::notes::Notes;
use super::patterns::{DOT_GIT, Patterns, is_in_git};
use super::small_files::{open, open_in, read, read_in, read_up_to, unread};
use crate::host_paths::AllowedFolders;
use crate::names::escaped;

const PYROIGNORE: &CStr = c".pyroignore";
const GITIGNORE: &CStr = c".gitignore";

/// The largest index that is read: one of about a million files.
const LARGEST_INDEX: u64 = 128 * 1024 * 1024;

/// What holds in a folder and below it, by what stands in the folder.
#[derive(Debug, Default)]
pub(super) struct FolderRules {
    pyro: Option<Patterns>,
    git: Option<Patterns>,
    repository: Option<Repository>,
    /// Git ignores the folder itself: nothing in it is wanted but what is tracked.
    ignored: bool,
}

/// A repository that begins in a folder.
#[derive(Debug)]
struct Repository {
    exclude: Option<Patterns>,
    /// `None`: nobody can tell, so that all of it may be.
    tracked: Option<Tracked>,
}

impl FolderRules {
    /// Looks into an open folder. `path` is its name with a slash at its end, or empty.
    pub(super) fn read(
        folder: BorrowedFd<'_>,
        path: &[u8],
        has: impl Fn(&CStr) -> bool,
        gitignore: bool,
        ignored: bool,
        pointer: Option<&Pointer>,
        mut notes: Option<&mut Notes>,
    ) -> Result<Self, ImportError> {
        if is_in_git(&[path, b"x"].concat()) {
            return Ok(Self::default());
        }
        let mut rules = Self {
            ignored,
            ..Self::default()
        };
        let file = |name: &CStr| escaped(&[path, name.to_bytes()].concat());
        if has(PYROIGNORE) {
            // What it leaves out may be what nobody is to see.
            let text = read_in(folder, PYROIGNORE).map_err(|error| ImportError::NoRules {
                name: file(PYROIGNORE),
                why: unread(&error),
            })?;
            let mut bad = Vec::new();
            rules.pyro = Some(patterns(&text, |line| {
                bad.push(escaped(line.as_bytes()));
            }));
            if let (Some(line), Some(notes)) = (bad.first(), notes.as_deref_mut()) {
                let file = file(PYROIGNORE);
                notes.line(format!("`{file}` has an invalid pattern: `{line}`"));
            }
        }
        if !gitignore {
            return Ok(rules);
        }
        rules.git = git_patterns(read_in(folder, GITIGNORE), &file(GITIGNORE), &mut notes);
        if has(DOT_GIT) {
            let found = Repository::read(folder, pointer, &file(DOT_GIT), &mut notes);
            rules.repository = Some(found);
            // A submodule has rules of its own.
            rules.ignored = false;
        }
        Ok(rules)
    }

    pub(super) fn is_ignored(&self) -> bool {
        self.ignored
    }
}

/// Rules of folders around a source that is a part of a repository.
#[derive(Debug, Default)]
pub(super) struct Around(Vec<(FolderRules, Vec<u8>)>);

impl Around {
    /// Looks upwards from a source, which has its links resolved, for the repository that it is a part
    /// of. Each folder's rules come with the source's name in it, the inner folders first.
    pub(super) fn read(
        root: &Path,
        allowed: &AllowedFolders,
        mut notes: Option<&mut Notes>,
    ) -> Self {
        let Some(top) = repository_around(root).filter(|top| *top != root) else {
            return Self::default();
        };
        let mut around = Vec::new();
        for folder in root.ancestors().skip(1) {
            let below = root.strip_prefix(folder).unwrap_or(root);
            let name = [below.as_os_str().as_bytes(), b"/"].concat();
            let mut rules = FolderRules::default();
            let is_top = folder == top;
            let dot_git = folder.join(".git").display().to_string();
            if !allowed.allow(folder) {
                if is_top {
                    let why = "is outside the folders that may be used here";
                    rules.repository = Some(Repository::unknown(&dot_git, why, &mut notes));
                }
            } else {
                let file = folder.join(".gitignore");
                let shown = file.display().to_string();
                rules.git = git_patterns(read(&file), &shown, &mut notes);
                if is_top {
                    rules.repository = Some(Repository::at(folder, allowed, &dot_git, &mut notes));
                }
            }
            around.push((rules, name));
            if is_top {
                break;
            }
        }
        Self(around)
    }
}

impl Repository {
    /// The one in an open folder, by its `.git`.
    fn read(
        folder: BorrowedFd<'_>,
        pointer: Option<&Pointer>,
        dot_git: &str,
        notes: &mut Option<&mut Notes>,
    ) -> Self {
        if let Some(pointer) = pointer {
            return Self::elsewhere(pointer, dot_git, notes);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let git = match fcntl::openat(folder, DOT_GIT, flags, Mode::empty()) {
            Ok(git) => git,
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                return Self::unknown(dot_git, "is not a folder", notes);
            }
            Err(errno) => return Self::unknown(dot_git, &unread(&errno.into()), notes),
        };
        let config = read_in(git.as_fd(), c"config").unwrap_or_default();
        let exclude = read_in(git.as_fd(), c"info/exclude");
        let index = open_in(git.as_fd(), c"index");
        Self::of(exclude, index, &config, dot_git, notes)
    }

    /// The one whose `.git` is in a folder around the source.
    fn at(
        folder: &Path,
        allowed: &AllowedFolders,
        dot_git: &str,
        notes: &mut Option<&mut Notes>,
    ) -> Self {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let open = match fcntl::open(folder, flags, Mode::empty()) {
            Ok(open) => open,
            Err(errno) => return Self::unknown(dot_git, &unread(&errno.into()), notes),
        };
        let content = read_in(open.as_fd(), DOT_GIT).ok();
        let pointer = content.map(|content| pointer(folder, b".git", &content, allowed));
        Self::read(open.as_fd(), pointer.as_ref(), dot_git, notes)
    }

    /// One whose `.git` is a file.
    fn elsewhere(pointer: &Pointer, dot_git: &str, notes: &mut Option<&mut Notes>) -> Self {
        let (own, common) = match pointer {
            Pointer::Outside(outside) => (&outside.own, outside.common.clone()),
            Pointer::Inside(own) => (own, linked_to(own).unwrap_or_else(|| own.clone())),
            Pointer::Broken(_) => {
                return Self::unknown(dot_git, "leads to no repository that can be used", notes);
            }
        };
        let config = read(&common.join("config")).unwrap_or_default();
        let exclude = read(&common.join("info/exclude"));
        Self::of(exclude, open(&own.join("index")), &config, dot_git, notes)
    }

    fn of(
        exclude: io::Result<Vec<u8>>,
        index: io::Result<File>,
        config: &[u8],
        dot_git: &str,
        notes: &mut Option<&mut Notes>,
    ) -> Self {
        let exclude = git_patterns(exclude, &format!("{dot_git}/info/exclude"), notes);
        let tracked = match index {
            // Nothing was ever added.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Tracked::default()),
            Err(_) => None,
            Ok(file) => tracked(&file, config),
        };
        match tracked {
            Some(tracked) => Self {
                exclude,
                tracked: Some(tracked),
            },
            None => Self::unknown(dot_git, "has an index that cannot be read", notes),
        }
    }

    fn unknown(dot_git: &str, why: &str, notes: &mut Option<&mut Notes>) -> Self {
        if let Some(notes) = notes {
            notes.repository(|| {
                format!(
                    "what git ignores is not left out there: `{dot_git}` {why}, so it is unknown \
                     what git tracks"
                )
            });
        }
        Self {
            exclude: None,
            tracked: None,
        }
    }

    /// Whether git's rules say nothing about it.
    fn tracks(&self, name: &[u8], is_folder: bool) -> bool {
        self.tracked
            .as_ref()
            .is_none_or(|tracked| tracked.has(name, is_folder))
    }
}

/// What holds for one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Filter,
    LeftOut,
    /// A folder that is looked into for what is tracked.
    TrackedOnly,
}

/// The verdict on a path below folders with these rules, outermost first, each with the length of the
/// folder's own path (with its slash).
pub(super) fn verdict<'a>(
    asked: &Patterns,
    above: impl DoubleEndedIterator<Item = (&'a FolderRules, usize)> + Clone,
    around: &Around,
    path: &[u8],
    is_folder: bool,
) -> Verdict {
    let of = |left_out| match left_out {
        true => Verdict::LeftOut,
        false => Verdict::Filter,
    };
    if let Some(left_out) = asked.verdict(path, is_folder) {
        return of(left_out);
    }
    let inner_first = above.rev();
    for (rules, prefix) in inner_first.clone() {
        let found = rules.pyro.as_ref();
        if let Some(left_out) = found.and_then(|lines| lines.verdict(&path[prefix..], is_folder)) {
            return of(left_out);
        }
    }
    if is_in_git(path) || path.rsplit(|&byte| byte == b'/').next() == Some(DOT_GIT.to_bytes()) {
        return Verdict::Filter;
    }
    let mut ignored = None;
    let within = inner_first.map(|(rules, prefix)| (rules, Cow::Borrowed(&path[prefix..])));
    let outer = around.0.iter();
    let outer = outer.map(|(rules, name)| (rules, Cow::Owned([name, path].concat())));
    for (rules, path) in within.chain(outer) {
        let say = |lines: &Option<Patterns>| {
            let lines = lines.as_ref();
            lines.and_then(|lines| lines.verdict(&path, is_folder))
        };
        // Of a folder that is ignored, nothing is brought back.
        if rules.ignored {
            ignored = Some(true);
        }
        ignored = ignored.or_else(|| say(&rules.git));
        if let Some(repository) = &rules.repository {
            ignored = ignored.or_else(|| say(&repository.exclude));
            if ignored == Some(true) && repository.tracks(&path, is_folder) {
                return match is_folder {
                    true => Verdict::TrackedOnly,
                    false => Verdict::Filter,
                };
            }
            break;
        }
    }
    of(ignored == Some(true))
}

fn tracked(index: &File, config: &[u8]) -> Option<Tracked> {
    let bytes = read_up_to(index, LARGEST_INDEX).ok()?;
    let format = GitConfig::parse(config).get("extensions", "objectformat");
    let hash = if format.is_some_and(|name| name == b"sha256") {
        32
    } else {
        20
    };
    Tracked::parse(&bytes, hash)
}

/// Those of a file of git's; one that is there and does not count is told.
fn git_patterns(
    read: io::Result<Vec<u8>>,
    file: &str,
    notes: &mut Option<&mut Notes>,
) -> Option<Patterns> {
    match read {
        Ok(text) => Some(patterns(&text, |_| {})),
        Err(error) => {
            let is_missing = matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            );
            if let (false, Some(notes)) = (is_missing, notes) {
                notes.line(format!(
                    "`{file}` {}, so what it ignores is not left out",
                    unread(&error)
                ));
            }
            None
        }
    }
}

fn patterns(text: &[u8], bad: impl FnMut(&str)) -> Patterns {
    let text = String::from_utf8_lossy(text);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Patterns::read(text.lines(), bad)
}
