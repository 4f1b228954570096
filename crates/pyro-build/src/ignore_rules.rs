//! `.dockerignore`: what of a context is not there for a build.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::GlobMatcher;

use crate::file_pattern;

/// The last rule that matches a path, or a folder that it is in, decides.
#[derive(Clone, Debug, Default)]
pub struct IgnoreRules {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// Begins with `!`: takes in again.
    includes: bool,
    pattern: String,
    matcher: GlobMatcher,
}

impl IgnoreRules {
    /// `Err` is the number and the text of a line that is no pattern.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut rules = Vec::new();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (includes, pattern) = match line.strip_prefix('!') {
                Some(pattern) => (true, pattern.trim()),
                None => (false, line),
            };
            let parts = pattern
                .split('/')
                .filter(|part| !part.is_empty() && *part != ".");
            let pattern = parts.collect::<Vec<_>>().join("/");
            if pattern.is_empty() {
                continue;
            }
            let matcher =
                file_pattern::compile(&pattern).map_err(|_| (number + 1, line.to_owned()))?;
            rules.push(Rule {
                includes,
                pattern,
                matcher,
            });
        }
        Ok(Self { rules })
    }

    /// Whether a path of the context is left out. No slash begins or ends it.
    pub fn leaves_out(&self, path: &[u8]) -> bool {
        let matches = |rule: &Rule| {
            let mut end = path.len();
            loop {
                let prefix = Path::new(OsStr::from_bytes(&path[..end]));
                if rule.matcher.is_match(prefix) {
                    return true;
                }
                match path[..end].iter().rposition(|&byte| byte == b'/') {
                    Some(slash) => end = slash,
                    None => return false,
                }
            }
        };
        let last = self.rules.iter().rev().find(|rule| matches(rule));
        last.is_some_and(|rule| !rule.includes)
    }

    /// Whether anything in a folder that is left out may be taken in again.
    pub(crate) fn may_include_below(&self, folder: &[u8]) -> bool {
        let folder = String::from_utf8_lossy(folder);
        let mut including = self.rules.iter().filter(|rule| rule.includes);
        including.any(|rule| {
            let literal = rule
                .pattern
                .split(['*', '?', '[', '\\'])
                .next()
                .unwrap_or_default();
            let literal = match literal.len() == rule.pattern.len() {
                true => format!("{literal}/"),
                false => literal.to_owned(),
            };
            let folder = format!("{folder}/");
            folder.starts_with(&literal) || literal.starts_with(&folder)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_decides() {
        let text = "# comment\n\nnode_modules\n/dist/\n**/*.log\n*.md\n!README.md\nsecret?/x\n";
        let rules = IgnoreRules::parse(text).unwrap();
        for path in [
            "node_modules",
            "node_modules/a/b",
            "dist/x",
            "a.log",
            "deep/er/b.log",
            "NOTES.md",
            "secret1/x",
        ] {
            assert!(rules.leaves_out(path.as_bytes()), "{path}");
        }
        for path in [
            "README.md",
            "a/NOTES.md",
            "src/node_modules",
            "x",
            "secret12/x",
        ] {
            assert!(!rules.leaves_out(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn a_folder_is_only_looked_into_where_something_may_come_back() {
        let rules = IgnoreRules::parse("node_modules\nvendor\n!vendor/kept/*.c\n").unwrap();
        assert!(!rules.may_include_below(b"node_modules"));
        assert!(rules.may_include_below(b"vendor"));
        assert!(rules.may_include_below(b"vendor/kept"));
        assert!(!rules.may_include_below(b"vendor/other"));
        assert!(!rules.leaves_out(b"vendor/kept/a.c"));
        assert!(rules.leaves_out(b"vendor/kept/a.h"));
        let all = IgnoreRules::parse("*\n!src\n").unwrap();
        assert!(all.leaves_out(b"a") && !all.leaves_out(b"src/a"));
    }

    #[test]
    fn a_pattern_that_is_none_is_told_with_its_line() {
        let failed = IgnoreRules::parse("a\n[b\n").unwrap_err();
        assert_eq!(failed, (2, "[b".to_owned()));
    }
}
