//! Patterns of what is left out, in the syntax of `.gitignore`.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// What git keeps about a folder, which no pattern is about unless it names it.
pub(super) const DOT_GIT: &CStr = c".git";

/// Lines of one place, of which the last that matches counts.
#[derive(Debug)]
pub struct Patterns {
    lines: Gitignore,
    /// Those that are about what is inside of a `.git`. `logs/` is not, and would spoil it.
    in_git: Gitignore,
}

impl Patterns {
    /// Reads lines; `bad` is told those that are no pattern.
    pub fn read<'a>(lines: impl IntoIterator<Item = &'a str>, mut bad: impl FnMut(&str)) -> Self {
        let (mut all, mut in_git) = (GitignoreBuilder::new(""), GitignoreBuilder::new(""));
        for line in lines {
            let plain = without_alternatives(line);
            if all.add_line(None, &plain).is_err() {
                bad(line);
            } else if line.contains(".git/") {
                let _ = in_git.add_line(None, &plain);
            }
        }
        // Only a set of patterns that is too large for its automaton cannot be built.
        let mut built = |builder: GitignoreBuilder| {
            builder.build().unwrap_or_else(|_| {
                bad("all lines together");
                Gitignore::empty()
            })
        };
        Self {
            lines: built(all),
            in_git: built(in_git),
        }
    }

    /// Whether a path, which is relative to where the lines stand, is left out (or expressly not).
    pub(super) fn verdict(&self, path: &[u8], is_folder: bool) -> Option<bool> {
        let lines = match is_in_git(path) {
            true => &self.in_git,
            false => &self.lines,
        };
        match lines.matched(Path::new(OsStr::from_bytes(path)), is_folder) {
            ignore::Match::None => None,
            ignore::Match::Ignore(_) => Some(true),
            ignore::Match::Whitelist(_) => Some(false),
        }
    }

    /// The same for a path of which nobody has looked at the folders above it.
    pub(super) fn leaves_out(&self, path: &[u8], is_folder: bool) -> bool {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes
            .map(|(at, _)| (&path[..at], true))
            .chain([(path, is_folder)])
            .any(|(path, is_folder)| self.verdict(path, is_folder) == Some(true))
    }
}

/// Braces mean themselves to git, and alternatives to the library.
fn without_alternatives(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut escaped = false;
    for letter in line.chars() {
        if !escaped && matches!(letter, '{' | '}') {
            plain.push('\\');
        }
        escaped = letter == '\\' && !escaped;
        plain.push(letter);
    }
    plain
}

/// Whether a path is below a `.git`.
pub(super) fn is_in_git(path: &[u8]) -> bool {
    let mut above = path.split(|&byte| byte == b'/').rev().skip(1);
    above.any(|part| part == DOT_GIT.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(lines: &[&str]) -> Patterns {
        Patterns::read(lines.iter().copied(), |line| panic!("{line}"))
    }

    #[test]
    fn lines_mean_what_they_mean_to_git() {
        let lines = patterns(&[
            "# a comment",
            "",
            "*.log",
            "!keep.log",
            "/build/",
            "a/**/z",
            "{x,y}",
        ]);
        for (path, is_folder, verdict) in [
            ("x/y.log", false, Some(true)),
            ("x/keep.log", false, Some(false)),
            ("build", true, Some(true)),
            ("build", false, None),
            ("x/build", true, None),
            ("a/b/c/z", false, Some(true)),
            ("other", false, None),
            ("x", false, None),
            ("{x,y}", false, Some(true)),
        ] {
            assert_eq!(lines.verdict(path.as_bytes(), is_folder), verdict, "{path}");
        }
        assert!(lines.leaves_out(b"build/deep/file", false));
        assert!(!lines.leaves_out(b"x/build/file", false));
    }

    #[test]
    fn what_git_keeps_is_left_out_by_name_only() {
        let lines = patterns(&["logs/", "HEAD", ".git/lfs/"]);
        assert_eq!(lines.verdict(b"logs", true), Some(true));
        assert_eq!(lines.verdict(b".git/logs", true), None);
        assert_eq!(lines.verdict(b"sub/.git/HEAD", false), None);
        assert_eq!(lines.verdict(b".git/lfs", true), Some(true));
        assert_eq!(patterns(&[".git"]).verdict(b"sub/.git", true), Some(true));
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        let mut bad = Vec::new();
        let lines = Patterns::read(["[z-a]", "b"], |line| bad.push(line.to_owned()));
        assert_eq!(bad, ["[z-a]"]);
        assert_eq!(lines.verdict(b"b", false), Some(true));
    }
}
