//! What belongs to a version control system and not to the project that it keeps.

use pyro_disk::{Tree, TreeError};
use pyro_wire::files::DiffEntry;
use pyro_wire::repositories::{Repositories, folder_by_name};

use super::at_rest::entry_kind;

/// The folder in a repository's own one where a system keeps what was ever committed: git, Subversion,
/// Mercurial and Jujutsu.
pub(crate) fn folder_of_objects<'p>(path: &'p [u8], own: &[u8]) -> Option<&'p [u8]> {
    let below = match own {
        b"" => path,
        own => path.strip_prefix(own)?.strip_prefix(b"/")?,
    };
    let parts: Vec<&[u8]> = below.split(|byte| *byte == b'/').collect();
    let at = match parts[0] {
        b"objects" | b"pristine" | b"store" => 0,
        b"repo" if parts.get(1) == Some(&&b"store"[..]) => 1,
        b"modules" => parts.iter().position(|part| *part == b"objects")?,
        _ => return None,
    };
    let rest = &parts[at + 1..];
    // Where git looks for more objects is none.
    if rest.first().is_none_or(|first| *first == b"info") {
        return None;
    }
    let behind: usize = rest.iter().map(|part| part.len() + 1).sum();
    Some(&path[..path.len() - behind])
}

/// Finds the folders that are a repository's own by their names, or by what lies in them now or lay
/// there when the workspace was made.
pub(crate) struct OwnFolders<'t> {
    baseline: &'t Tree,
    then: Repositories,
}

impl<'t> OwnFolders<'t> {
    pub(crate) fn new(baseline: &'t Tree) -> Self {
        Self {
            baseline,
            then: Repositories::default(),
        }
    }

    /// The one that a change is in; `None`: it is the project's. Blocks.
    pub(crate) fn around<'e>(
        &mut self,
        entry: &'e DiffEntry,
    ) -> Result<Option<&'e [u8]>, TreeError> {
        let path = entry.path.as_slice();
        if let Some(folder) = folder_by_name(path) {
            return Ok(Some(folder));
        }
        // What the guest says of it has to fit.
        let now = entry.repository.as_deref().filter(|folder| {
            let rest = path.strip_prefix(folder.as_slice());
            folder.is_empty() || rest.is_some_and(|rest| rest.starts_with(b"/"))
        });
        if let Some(folder) = now {
            return Ok(Some(folder));
        }
        let kind = |path: &[u8]| {
            let stat = self.baseline.stat(path)?;
            Ok::<_, TreeError>(stat.map(|stat| entry_kind(stat.kind)))
        };
        let end = self.then.around(path, kind)?;
        Ok(end.map(|end| &path[..end]))
    }
}

#[cfg(test)]
mod tests {
    use super::folder_of_objects;

    #[test]
    fn objects_are_told_from_what_acts() {
        let found =
            |path: &'static str, own: &str| folder_of_objects(path.as_bytes(), own.as_bytes());
        for (path, own, objects) in [
            ("a/.git/objects/ab/cd", "a/.git", "a/.git/objects"),
            ("objects/pack/x", "", "objects"),
            (
                ".git/modules/b/c/objects/x",
                ".git",
                ".git/modules/b/c/objects",
            ),
            (".jj/repo/store/x", ".jj", ".jj/repo/store"),
        ] {
            assert_eq!(found(path, own), Some(objects.as_bytes()), "{path}");
        }
        for path in [
            ".git",
            ".git/objects",
            ".git/objects/info/alternates",
            ".git/hooks/objects/x",
        ] {
            assert_eq!(found(path, ".git"), None, "{path}");
        }
    }
}
