//! A seed that is a folder of a git repository: git takes the names in a patch from the root of the
//! repository, wherever it is called, and passes over those that are not below the folder it is
//! called in. So a diff's names begin there, and those of a patch may.

use std::path::Path;

/// What the folder of the seed is called in a workspace's metadata.
pub(crate) const SEED_IN_REPOSITORY: &str = "seed_in_repository";

/// The folder of a seed, as it is called from the root of its repository. `None`: it is that root,
/// there is none, or its name is not UTF-8.
pub(crate) fn folder_in_repository(seed: &Path) -> Option<String> {
    let root = repository_around(seed)?;
    let below = seed.strip_prefix(root).ok()?.to_str()?;
    (!below.is_empty()).then(|| below.to_owned())
}

/// The root of the repository that a folder is in.
pub(crate) fn repository_around(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|folder| is_root(folder))
}

/// As git sees it: a folder with a repository's own folder, or a file that says where that is.
fn is_root(folder: &Path) -> bool {
    let own = folder.join(".git");
    own.is_file() || own.join("HEAD").symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_found_in_its_repository() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("repo/.git")).unwrap();
        std::fs::write(at("repo/.git/HEAD"), "ref: refs/heads/main\n").unwrap();
        std::fs::create_dir_all(at("repo/services/api")).unwrap();
        std::fs::create_dir_all(at("tree/sub")).unwrap();
        std::fs::write(at("tree/.git"), "gitdir: elsewhere\n").unwrap();
        for (seed, wanted) in [
            ("repo", None),
            ("repo/services/api", Some("services/api")),
            ("tree/sub", Some("sub")),
        ] {
            assert_eq!(folder_in_repository(&at(seed)).as_deref(), wanted, "{seed}");
        }
    }
}
