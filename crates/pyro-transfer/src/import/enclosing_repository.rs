//! The git repository that a source is a part of, where it is no whole one.

use std::path::Path;

/// A source's folder, as it is called from the root of its repository. `None`: it is that root, there
/// is none, or its name is not UTF-8.
pub fn folder_in_repository(source: &Path) -> Option<String> {
    let root = repository_around(source)?;
    let below = source.strip_prefix(root).ok()?.to_str()?;
    (!below.is_empty()).then(|| below.to_owned())
}

/// The root of the repository that a folder is in.
pub(super) fn repository_around(folder: &Path) -> Option<&Path> {
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
    fn a_source_is_found_in_its_repository() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("repo/.git")).unwrap();
        std::fs::write(at("repo/.git/HEAD"), "ref: refs/heads/main\n").unwrap();
        std::fs::create_dir_all(at("repo/services/api")).unwrap();
        std::fs::create_dir_all(at("tree/sub")).unwrap();
        std::fs::write(at("tree/.git"), "gitdir: elsewhere\n").unwrap();
        for (source, wanted) in [
            ("repo", None),
            ("repo/services/api", Some("services/api")),
            ("tree/sub", Some("sub")),
        ] {
            assert_eq!(
                folder_in_repository(&at(source)).as_deref(),
                wanted,
                "{source}"
            );
        }
    }
}
