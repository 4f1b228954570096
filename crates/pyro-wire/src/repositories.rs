//! Folders that belong to a version control system and not to the project that it keeps: by their
//! names, and repositories of git by what they hold, whatever they are called: bare ones, and those
//! that keep a work tree's elsewhere. The agent looks at what is there, the engine at the baseline.

use crate::files::EntryKind;

/// The folders in which version control systems keep their own: objects, references, hooks, settings.
const NAMES: [&[u8]; 4] = [b".git", b".hg", b".svn", b".jj"];

/// Whether a path below `/workspace` is such a folder, lies in one, or is the file that stands for
/// one in a worktree or submodule of git. Letters of either case count, as they do to git and to
/// the file systems of other hosts.
pub fn in_repository_folder(path: &[u8]) -> bool {
    folder_by_name(path).is_some()
}

/// The outermost folder on the way to a path that has the name of such a folder.
pub fn folder_by_name(path: &[u8]) -> Option<&[u8]> {
    let mut end = 0;
    for part in path.split(|byte| *byte == b'/') {
        end += part.len();
        if NAMES.iter().any(|name| part.eq_ignore_ascii_case(name)) {
            return Some(&path[..end]);
        }
        end += 1;
    }
    None
}

/// What git takes a folder for a repository by.
const HOLDS: [&[u8]; 3] = [b"HEAD", b"objects", b"refs"];

/// What git keeps in one, besides files whose names end in `HEAD`. All else that lies there is no
/// matter of git, so that nobody hides a source by putting those three beside it.
const KEEPS: [&[u8]; 22] = [
    b"COMMIT_EDITMSG",
    b"MERGE_MODE",
    b"MERGE_MSG",
    b"SQUASH_MSG",
    b"branches",
    b"config",
    b"config.worktree",
    b"description",
    b"gc.log",
    b"gc.pid",
    b"hooks",
    b"index",
    b"info",
    b"lfs",
    b"logs",
    b"modules",
    b"objects",
    b"packed-refs",
    b"refs",
    b"reftable",
    b"shallow",
    b"worktrees",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Folder {
    Missing,
    Plain,
    Repository,
}

/// Finds them, for paths that come sorted: what is known of the folders on the way is kept.
#[derive(Debug, Default)]
pub struct Repositories {
    known: Vec<(Vec<u8>, Folder)>,
}

impl Repositories {
    /// How long the part of a path is that names a repository which keeps the rest of it. `kind`
    /// says what is at a path, without following links.
    pub fn around<E>(
        &mut self,
        path: &[u8],
        kind: impl Fn(&[u8]) -> Result<Option<EntryKind>, E>,
    ) -> Result<Option<usize>, E> {
        self.known
            .retain(|(folder, _)| below(folder, path).is_some());
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let ends = [0].into_iter().chain(slashes.map(|(at, _)| at));
        for end in ends.skip(self.known.len()) {
            let folder = &path[..end];
            let around = self.known.last().map(|(_, is)| *is);
            let is = match around {
                Some(Folder::Missing) => Folder::Missing,
                Some(_) if kind(folder)? != Some(EntryKind::Directory) => Folder::Missing,
                _ => Self::look(folder, &kind)?,
            };
            self.known.push((folder.to_vec(), is));
        }
        let mut repositories = self.known.iter();
        let keeps = |folder: &[u8]| below(folder, path).is_some_and(is_kept);
        let found = repositories.find(|(folder, is)| *is == Folder::Repository && keeps(folder));
        Ok(found.map(|(folder, _)| folder.len()))
    }

    fn look<E>(
        folder: &[u8],
        kind: &impl Fn(&[u8]) -> Result<Option<EntryKind>, E>,
    ) -> Result<Folder, E> {
        for name in HOLDS {
            let at = match folder {
                b"" => name.to_vec(),
                folder => [folder, b"/", name].concat(),
            };
            let wants_folder = name != HOLDS[0];
            match kind(&at)? {
                Some(EntryKind::Directory) if wants_folder => {}
                Some(EntryKind::File | EntryKind::Symlink) if !wants_folder => {}
                _ => return Ok(Folder::Plain),
            }
        }
        Ok(Folder::Repository)
    }
}

/// What comes of a path behind one of the folders that it lies in.
fn below<'p>(folder: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    match folder {
        b"" => Some(path),
        folder => path.strip_prefix(folder)?.strip_prefix(b"/"),
    }
}

fn is_kept(below: &[u8]) -> bool {
    let first = below.split(|byte| *byte == b'/').next().unwrap_or_default();
    let first = first.strip_suffix(b".lock").unwrap_or(first);
    first.ends_with(b"HEAD") || KEEPS.contains(&first)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn the_outermost_folder_counts() {
        let found = |path: &'static str| folder_by_name(path.as_bytes());
        assert_eq!(found("a/.git/objects/ab"), Some(&b"a/.git"[..]));
        assert_eq!(found(".svn/x/.git"), Some(&b".svn"[..]));
    }

    #[test]
    fn a_name_is_found_at_any_depth_and_nothing_that_is_only_called_alike() {
        for inside in [
            ".git",
            ".git/HEAD",
            "sub/.git/hooks/post-checkout",
            "a/.hg/hgrc",
            ".svn/wc.db",
            ".jj/repo",
            ".GIT/config",
        ] {
            assert!(in_repository_folder(inside.as_bytes()), "{inside}");
        }
        for outside in [
            "",
            "git",
            ".github/x",
            ".gitignore",
            "x.git/HEAD",
            "a/.gitmodules",
        ] {
            assert!(!in_repository_folder(outside.as_bytes()), "{outside}");
        }
    }

    #[test]
    fn a_repository_is_known_by_what_lies_in_it_and_keeps_only_what_is_gits() {
        let folders = [
            "",
            "a",
            "a/o.git",
            "a/o.git/objects",
            "a/o.git/refs",
            "src",
            "src/objects",
        ];
        let files = ["a/o.git/HEAD", "src/HEAD", "src/refs"];
        let kind = |path: &[u8]| {
            let is = |list: &[&str]| list.iter().any(|one| one.as_bytes() == path);
            Ok::<_, Infallible>(match (is(&folders), is(&files)) {
                (true, _) => Some(EntryKind::Directory),
                (_, true) => Some(EntryKind::File),
                _ => None,
            })
        };
        let mut repositories = Repositories::default();
        for (path, around) in [
            ("a/b", None),
            ("a/o.git", None),
            ("a/o.git-x/HEAD", None),
            ("a/o.git/FETCH_HEAD", Some("a/o.git")),
            ("a/o.git/main.rs", None),
            ("a/o.git/objects/ab/cd", Some("a/o.git")),
            ("a/o.git/packed-refs.lock", Some("a/o.git")),
            ("src/HEAD", None),
            ("src/objects/x", None),
            ("a/o.git/refs/heads/x", Some("a/o.git")),
        ] {
            let found = repositories.around(path.as_bytes(), kind).unwrap();
            assert_eq!(found, around.map(str::len), "{path}");
        }
    }
}
