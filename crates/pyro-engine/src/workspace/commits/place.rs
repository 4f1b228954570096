//! Which repositories got objects, told by the paths that changed.

/// A repository of git below `/workspace`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Its own folder: `.git`, and for a submodule one below that of the repository around it.
    pub(crate) folder: Vec<u8>,
    /// Where its files are, as a submodule is usually called.
    pub(crate) repository: Vec<u8>,
}

impl Place {
    /// The repository whose object this path is.
    pub(crate) fn of_object(path: &[u8]) -> Option<Self> {
        let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let own = parts.iter().position(|part| *part == b".git")?;
        let objects = own + parts[own..].iter().position(|part| *part == b"objects")?;
        let modules = &parts[own + 1..objects];
        if modules.first().is_some_and(|first| *first != b"modules") {
            return None;
        }
        let names = modules.iter().filter(|part| **part != b"modules");
        let repository: Vec<&[u8]> = parts[..own].iter().chain(names).copied().collect();
        Some(Self {
            folder: parts[..objects].join(&b'/'),
            repository: repository.join(&b'/'),
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
    use super::Place;

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
            let place = Place::of_object(path.as_bytes()).unwrap();
            assert_eq!(place.folder, folder.as_bytes());
            assert_eq!(place.repository, repository.as_bytes());
        }
        for path in [
            "objects/ab",
            ".git/HEAD",
            ".git/worktrees/x/objects/y",
            "src/objects/x",
        ] {
            assert_eq!(Place::of_object(path.as_bytes()), None, "{path}");
        }
    }
}
