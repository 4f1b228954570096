//! Which repositories got objects, told by the paths that changed.

use pyro_wire::repositories::in_repository_folder;

/// A repository of git below `/workspace`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Repository {
    /// Its own folder: `.git`, and for a submodule one below that of the repository around it.
    pub(crate) folder: Vec<u8>,
    /// Where its files are, as a submodule is usually called.
    pub(crate) repository: Vec<u8>,
}

impl Repository {
    /// The repository whose object this path is, in the outermost folder that is one's own.
    pub(crate) fn of_object(path: &[u8], own: &[u8]) -> Option<Self> {
        let below = match own {
            b"" => path,
            own => path.strip_prefix(own)?.strip_prefix(b"/")?,
        };
        let parts: Vec<&[u8]> = below.split(|byte| *byte == b'/').collect();
        let objects = parts.iter().position(|part| *part == b"objects")?;
        let modules = &parts[..objects];
        if modules.first().is_some_and(|first| *first != b"modules") {
            return None;
        }
        let mut repository: Vec<&[u8]> = own.split(|byte| *byte == b'/').collect();
        match repository.last() {
            Some(&b".git") => drop(repository.pop()),
            // It belongs to another system.
            Some(_) if in_repository_folder(own) => return None,
            // A bare one, and one whose files are elsewhere, have its name.
            _ => {}
        }
        let names = modules.iter().filter(|part| **part != b"modules");
        repository.extend(names);
        let folder = [own].into_iter().chain(modules.iter().copied());
        let joined = |parts: Vec<&[u8]>| {
            let parts = parts.into_iter().filter(|part| !part.is_empty());
            parts.collect::<Vec<_>>().join(&b'/')
        };
        Some(Self {
            folder: joined(folder.collect()),
            repository: joined(repository),
        })
    }

    /// As people write it; `/workspace` itself is `.`.
    pub(crate) fn name(&self) -> String {
        match self.repository.as_slice() {
            b"" => ".".to_owned(),
            path => String::from_utf8_lossy(path).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use pyro_wire::repositories::folder_by_name;

    use super::Repository;

    fn place(path: &str, own: Option<&str>) -> Option<Repository> {
        let path = path.as_bytes();
        Repository::of_object(
            path,
            own.map(str::as_bytes).or_else(|| folder_by_name(path))?,
        )
    }

    #[test]
    fn objects_tell_their_repository() {
        for (path, folder, repository) in [
            (".git/objects/ab/cd", ".git", ""),
            ("a/b/.git/objects/pack/x", "a/b/.git", "a/b"),
            (
                ".git/modules/libs/x/objects/ab/cd",
                ".git/modules/libs/x",
                "libs/x",
            ),
            (
                ".git/modules/a/modules/b/objects/c",
                ".git/modules/a/modules/b",
                "a/b",
            ),
        ] {
            let place = place(path, None).unwrap();
            assert_eq!(place.folder, folder.as_bytes());
            assert_eq!(place.repository, repository.as_bytes());
        }
        for path in [
            "objects/ab",
            ".git/HEAD",
            ".git/worktrees/x/objects/y",
            "src/objects/x",
        ] {
            assert_eq!(place(path, None), None, "{path}");
        }
        for (path, own, folder, repository) in [
            ("o.git/objects/ab/cd", "o.git", "o.git", "o.git"),
            ("objects/ab/cd", "", "", ""),
            ("o/modules/x/objects/c", "o", "o/modules/x", "o/x"),
        ] {
            let place = place(path, Some(own)).unwrap();
            assert_eq!(place.folder, folder.as_bytes());
            assert_eq!(place.repository, repository.as_bytes());
        }
        assert_eq!(place("a/.hg/objects/x", None), None);
    }
}
