//! Names of sources in `COPY`: which paths of a tree one means.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::GlobMatcher;

use crate::file_pattern;

/// A source as it is written, made plain.
#[derive(Clone, Debug)]
pub enum SourceName {
    /// A path from the top; empty for the top itself.
    Literal(String),
    Pattern(SourcePattern),
}

/// Which paths have a name that is written with `*`, `?` or `[…]`.
#[derive(Clone, Debug)]
pub struct SourcePattern {
    matcher: GlobMatcher,
}

impl SourcePattern {
    pub fn matches(&self, path: &[u8]) -> bool {
        self.matcher.is_match(Path::new(OsStr::from_bytes(path)))
    }
}

/// Why a source cannot be one.
#[derive(Debug, PartialEq, Eq)]
pub enum BadName {
    /// `..` at its beginning.
    Outside,
    NoPattern,
}

impl SourceName {
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let mut parts = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop().ok_or(BadName::Outside)?;
                }
                part => parts.push(part),
            }
        }
        let path = parts.join("/");
        if !path.contains(['*', '?', '[', '\\']) {
            return Ok(Self::Literal(path));
        }
        let matcher = file_pattern::compile(&path).map_err(|_| BadName::NoPattern)?;
        Ok(Self::Pattern(SourcePattern { matcher }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_plain() {
        let literal = |text| match SourceName::parse(text) {
            Ok(SourceName::Literal(path)) => path,
            other => panic!("{other:?}"),
        };
        assert_eq!(literal("./a//b/"), "a/b");
        assert_eq!(literal("/a/../b"), "b");
        assert_eq!(literal("."), "");
        assert_eq!(SourceName::parse("../x").unwrap_err(), BadName::Outside);
        assert_eq!(
            SourceName::parse("a/../../x").unwrap_err(),
            BadName::Outside
        );
        assert_eq!(SourceName::parse("[x").unwrap_err(), BadName::NoPattern);
        let Ok(SourceName::Pattern(pattern)) = SourceName::parse("src/*.c") else {
            panic!("no pattern");
        };
        assert!(pattern.matches(b"src/a.c"));
        assert!(!pattern.matches(b"src/x/a.c") && !pattern.matches(b"a.c"));
    }
}
