//! Folders in which a version control system keeps its own state. A text patch of what is in them
//! can only break the repository: its files belong together, and most of them are no text.

/// Whether the path, relative to `/workspace`, is such a folder or lies in one, however deep.
/// `.git` may be a file: in a worktree and in a submodule.
pub(crate) fn in_repository_folder(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/')
        .any(|part| matches!(part, b".git" | b".hg" | b".svn" | b".jj"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_count() {
        for path in [
            ".git",
            ".git/HEAD",
            "a/b/.git/hooks/x",
            ".hg/x",
            "x/.svn",
            ".jj",
        ] {
            assert!(in_repository_folder(path.as_bytes()), "{path}");
        }
        for path in ["", "git", ".gitignore", ".github/x", "x.git/y", "a/.git2/x"] {
            assert!(!in_repository_folder(path.as_bytes()), "{path}");
        }
    }
}
