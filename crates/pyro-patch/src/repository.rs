//! Folders that belong to a version control system and not to the project that it keeps. As `git
//! apply` does for its own, a patch that names one is refused: hooks in there run by themselves.

const NAMES: [&[u8]; 4] = [b".git", b".hg", b".svn", b".jj"];

/// Whether a path is such a folder, lies in one, or is the file that stands for one in a worktree or
/// submodule of git. Letters of either case count, as they do to git and to the file systems of
/// other hosts.
pub(crate) fn in_repository_folder(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/')
        .any(|part| NAMES.iter().any(|name| part.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::in_repository_folder;

    #[test]
    fn they_are_found_at_any_depth_and_nothing_that_is_only_called_alike() {
        for inside in [".git", "sub/.git/hooks/post-checkout", "a/.hg/hgrc", ".GIT"] {
            assert!(in_repository_folder(inside.as_bytes()), "{inside}");
        }
        for outside in ["", "git", ".github/x", ".gitignore", "x.git/HEAD"] {
            assert!(!in_repository_folder(outside.as_bytes()), "{outside}");
        }
    }
}
