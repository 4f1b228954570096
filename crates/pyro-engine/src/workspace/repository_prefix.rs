//! A seed that is a folder of a git repository: git takes the names in a patch from the root of the
//! repository, wherever it is called, and passes over those that are not below the folder it is
//! called in. So a diff's names begin there, and a patch whose names do is taken back.

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

/// The patch with names from the folder on, when all of them are written from the root of the
/// repository on; else `None`. Lines of hunks are never touched.
pub(crate) fn below_folder(patch: &[u8], folder: &str) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(patch.len());
    let mut in_hunk = Left::default();
    let mut heads = 0;
    for line in patch.split_inclusive(|byte| *byte == b'\n') {
        if in_hunk.takes(line) {
            text.extend_from_slice(line);
            continue;
        }
        if line.starts_with(b"@@ ") {
            in_hunk = Left::read(line)?;
        }
        let is_head = line.starts_with(b"diff --git ");
        heads += usize::from(is_head);
        let names = match line {
            _ if is_head => 2,
            // Of another form; whose names those are is not told.
            _ if line.starts_with(b"diff ") => return None,
            _ if line
                .strip_suffix(b"\n")
                .unwrap_or(line)
                .ends_with(b" /dev/null") =>
            {
                0
            }
            _ if NAMED.iter().any(|word| line.starts_with(word)) => 1,
            _ => 0,
        };
        match names {
            0 => text.extend_from_slice(line),
            names => without(&mut text, line, folder, names)?,
        }
    }
    (heads > 0).then_some(text)
}

/// What begins a line with one name on it, besides that of a file's head.
const NAMED: [&[u8]; 6] = [
    b"--- ",
    b"+++ ",
    b"rename from ",
    b"rename to ",
    b"copy from ",
    b"copy to ",
];

/// Adds a line without the folder in its names, which it has to have so often.
fn without(text: &mut Vec<u8>, line: &[u8], folder: &str, names: usize) -> Option<()> {
    let folder = format!("{folder}/");
    let folder = folder.as_bytes();
    let mut found = 0;
    let mut at = 0;
    while at < line.len() {
        let before = &line[..at];
        let is_name = match before.strip_suffix(b"\"").unwrap_or(before) {
            b"rename from " | b"rename to " | b"copy from " | b"copy to " => true,
            before => before.ends_with(b" a/") || before.ends_with(b" b/"),
        } || before.ends_with(b" \"a/")
            || before.ends_with(b" \"b/");
        if is_name && line[at..].starts_with(folder) {
            found += 1;
            at += folder.len();
            continue;
        }
        text.push(line[at]);
        at += 1;
    }
    (found == names).then_some(())
}

/// Lines that a hunk still has.
#[derive(Default)]
struct Left {
    old: usize,
    new: usize,
}

impl Left {
    fn read(header: &[u8]) -> Option<Self> {
        let header = std::str::from_utf8(header.split(|byte| *byte == b'@').nth(2)?).ok()?;
        let mut counts = header.split_whitespace().map(|range| {
            let count = range.split_once(',').map_or("1", |(_, count)| count);
            count.parse().ok()
        });
        Some(Self {
            old: counts.next()??,
            new: counts.next()??,
        })
    }

    /// Whether the next line belongs to the hunk.
    fn takes(&mut self, line: &[u8]) -> bool {
        if self.old == 0 && self.new == 0 {
            return line.starts_with(b"\\");
        }
        let (old, new) = match line.first() {
            Some(b'+') => (0, 1),
            Some(b'-') => (1, 0),
            Some(b'\\') => (0, 0),
            _ => (1, 1),
        };
        self.old = self.old.saturating_sub(old);
        self.new = self.new.saturating_sub(new);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::text_diff::{Side, text_diff};

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

    #[test]
    fn what_a_diff_puts_before_names_is_taken_off_again() {
        let file = |content| Side::File {
            content,
            mode: 0o644,
        };
        // Removed and added, these lines look like a head.
        let old = b"-- a/sub/x\nb\n";
        let new = b"++ b/sub/x\nb\n";
        for path in [
            "x",
            "a b/c",
            "q\"uote",
            "d\u{e9}j\u{e0}",
            "sub/x",
            "a b/b/sub/c",
        ] {
            for (before, after) in [
                (file(old.as_slice()), file(new.as_slice())),
                (Side::Absent, file(b"new")),
                (file(b""), Side::Absent),
                (file(b"a\n"), Side::Link { target: b"sub/x" }),
            ] {
                let plain = text_diff(path.as_bytes(), before, after).unwrap();
                let prefixed = format!("sub/{path}");
                let prefixed = text_diff(prefixed.as_bytes(), before, after).unwrap();
                let taken = below_folder(&prefixed, "sub").unwrap();
                assert!(taken == plain, "{}", taken.escape_ascii());
            }
        }
        let moved = b"diff --git a/s/x b/s/y\nrename from s/x\nrename to s/y\n";
        assert_eq!(
            below_folder(moved, "s").unwrap(),
            b"diff --git a/x b/y\nrename from x\nrename to y\n"
        );
        for other in [
            "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n",
            "--- a/sub/x\n+++ b/sub/x\n@@ -1 +1 @@\n-a\n+b\n",
            "diff --git a/sub/x b/x\nrename from sub/x\nrename to x\n",
            "",
        ] {
            assert_eq!(below_folder(other.as_bytes(), "sub"), None, "{other}");
        }
    }
}
