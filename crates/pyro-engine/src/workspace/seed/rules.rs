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
//! What a repository tracks is there whatever git's rules say. Inside of a `.git` only patterns count
//! that name it.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::fcntl::{self, OFlag};
use nix::sys::stat::Mode;

use super::git_config::GitConfig;
use super::git_index::Tracked;
use super::notes::Notes;
use super::patterns::{DOT_GIT, Patterns, is_in_git};
use super::repository::{Outside, Pointer, open_in, read, read_in};
use crate::workspace::names::shown;

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
#[derive(Debug, Default)]
struct Repository {
    exclude: Option<Patterns>,
    tracked: Tracked,
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
        notes: Option<&mut Notes>,
    ) -> Self {
        if is_in_git(&[path, b"x"].concat()) {
            return Self::default();
        }
        let mut rules = Self {
            ignored,
            ..Self::default()
        };
        let mut bad = Vec::new();
        if has(PYROIGNORE)
            && let Some(text) = read_in(folder, PYROIGNORE)
        {
            rules.pyro = Some(patterns(&text, |line| {
                bad.push(shown(line.as_bytes()));
            }));
            if let (Some(line), Some(notes)) = (bad.first(), notes) {
                let file = shown(path);
                notes.line(format!(
                    "`{file}.pyroignore` has a line that is no pattern: `{line}`"
                ));
            }
        }
        if !gitignore {
            return rules;
        }
        if has(GITIGNORE) {
            rules.git = read_in(folder, GITIGNORE).map(|text| patterns(&text, |_| {}));
        }
        if has(DOT_GIT) {
            rules.repository = Some(match pointer {
                Some(Pointer::Outside(Outside { own, config, .. })) => {
                    Repository::elsewhere(own, config)
                }
                Some(Pointer::Inside(own)) => {
                    Repository::elsewhere(own, &read(&own.join("config")).unwrap_or_default())
                }
                Some(Pointer::Broken(_)) => Repository::default(),
                None => Repository::read(folder).unwrap_or_default(),
            });
            // A submodule has rules of its own.
            rules.ignored = false;
        }
        rules
    }

    pub(super) fn is_ignored(&self) -> bool {
        self.ignored
    }
}

impl Repository {
    fn read(folder: BorrowedFd<'_>) -> Option<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let git = fcntl::openat(folder, DOT_GIT, flags, Mode::empty()).ok()?;
        let config = read_in(git.as_fd(), c"config").unwrap_or_default();
        let exclude = read_in(git.as_fd(), c"info/exclude");
        let index = open_in(git.as_fd(), c"index");
        Some(Self {
            exclude: exclude.map(|text| patterns(&text, |_| {})),
            tracked: index
                .and_then(|file| tracked(&file, &config))
                .unwrap_or_default(),
        })
    }

    /// One whose `.git` is a file.
    fn elsewhere(own: &Path, config: &[u8]) -> Self {
        let index = File::open(own.join("index")).ok();
        Self {
            exclude: None,
            tracked: index
                .and_then(|file| tracked(&file, config))
                .unwrap_or_default(),
        }
    }
}

/// What holds for one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Wanted,
    LeftOut,
    /// A folder that is looked into for what is tracked.
    TrackedOnly,
}

/// The verdict on a path below folders with these rules, outermost first, each with the length of the
/// folder's own path (with its slash).
pub(super) fn verdict<'a>(
    asked: &Patterns,
    above: impl DoubleEndedIterator<Item = (&'a FolderRules, usize)> + Clone,
    path: &[u8],
    is_folder: bool,
) -> Verdict {
    let of = |left_out| match left_out {
        true => Verdict::LeftOut,
        false => Verdict::Wanted,
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
        return Verdict::Wanted;
    }
    let mut ignored = None;
    let mut repository = None;
    for (rules, prefix) in inner_first {
        let path = &path[prefix..];
        let say = |lines: &Option<Patterns>| {
            let lines = lines.as_ref();
            lines.and_then(|lines| lines.verdict(path, is_folder))
        };
        // Of a folder that is ignored, nothing is brought back.
        if rules.ignored {
            ignored = Some(true);
        }
        ignored = ignored.or_else(|| say(&rules.git));
        if let Some(found) = &rules.repository {
            ignored = ignored.or_else(|| say(&found.exclude));
            repository = Some((found, path));
            break;
        }
    }
    match (ignored, repository) {
        (Some(true), Some((repository, path))) if repository.tracked.has(path, is_folder) => {
            match is_folder {
                true => Verdict::TrackedOnly,
                false => Verdict::Wanted,
            }
        }
        (Some(true), _) => Verdict::LeftOut,
        _ => Verdict::Wanted,
    }
}

fn tracked(index: &File, config: &[u8]) -> Option<Tracked> {
    let mut bytes = Vec::new();
    index.take(LARGEST_INDEX).read_to_end(&mut bytes).ok()?;
    let format = GitConfig::parse(config).get("extensions", "objectformat");
    let hash = if format.is_some_and(|name| name == b"sha256") {
        32
    } else {
        20
    };
    Tracked::parse(&bytes, hash)
}

fn patterns(text: &[u8], bad: impl FnMut(&str)) -> Patterns {
    let text = String::from_utf8_lossy(text);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Patterns::read(text.lines(), bad)
}
