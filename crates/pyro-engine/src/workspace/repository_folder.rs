//! What belongs to a version control system and not to the project that it keeps.

/// The folders in which such systems keep their own: objects, references, hooks, settings.
const NAMES: [&[u8]; 4] = [b".git", b".hg", b".svn", b".jj"];

/// Whether a path below `/workspace` is such a folder, lies in one, or is the file that stands for
/// one in a worktree or submodule of git. Letters of either case count, as they do to git and to
/// the file systems of other hosts.
pub(crate) fn in_repository_folder(path: &[u8]) -> bool {
    repository_folder(path).is_some()
}

/// The outermost such folder that a path is or lies in.
pub(crate) fn repository_folder(path: &[u8]) -> Option<&[u8]> {
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

#[cfg(test)]
mod tests {
    use super::{in_repository_folder, repository_folder};

    #[test]
    fn a_repository_is_found_at_any_depth_and_nothing_that_is_only_called_alike() {
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
        for (path, folder) in [
            (".git", ".git"),
            ("sub/.git/modules/x/.git/y", "sub/.git"),
            ("a/.hg/hgrc", "a/.hg"),
        ] {
            assert_eq!(
                repository_folder(path.as_bytes()),
                Some(folder.as_bytes()),
                "{path}"
            );
        }
    }
}
