//! Paths on a disk, which reach beyond `/workspace`.

use pyro_api::values::WORKSPACE_PATH;
use pyro_api::{Error, ErrorCode};

/// A path from the root of a disk, as it was asked for: links are not followed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiskPath(Vec<String>);

impl DiskPath {
    /// By the rules of the contract: relative paths are below `/workspace` and have no `..`;
    /// absolute ones lead anywhere, and `..` takes back the part before it.
    pub(crate) fn parse(given: &str) -> Result<Self, Error> {
        let trimmed = given.trim();
        let refuse = |why: &str| {
            Err(Error::new(
                ErrorCode::BadPath,
                format!("The path `{given}` cannot be used"),
            )
            .because(why)
            .hint("Give a path such as `src/main.py`, below `/workspace`, or `/etc/passwd`"))
        };
        if trimmed.is_empty() {
            return refuse("it is empty");
        }
        if trimmed.contains('\0') {
            return refuse("it contains a NUL byte");
        }
        let mut parts: Vec<String> = match trimmed.starts_with('/') {
            true => Vec::new(),
            false => vec![WORKSPACE_PATH.trim_start_matches('/').to_owned()],
        };
        for part in trimmed.split('/') {
            match part {
                "" | "." => {}
                ".." if trimmed.starts_with('/') => drop(parts.pop()),
                ".." => return refuse("it is relative and contains `..`"),
                part => parts.push(part.to_owned()),
            }
        }
        Ok(Self(parts))
    }

    /// Relative to the root of the disk.
    pub(crate) fn below_root(&self) -> Vec<u8> {
        self.0.join("/").into_bytes()
    }

    pub(crate) fn absolute(&self) -> String {
        format!("/{}", self.0.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_by_the_rules_of_the_contract() {
        for (given, wanted) in [
            (".", "/workspace"),
            ("/workspace/", "/workspace"),
            ("a/b", "/workspace/a/b"),
            ("./a", "/workspace/a"),
            ("a//b", "/workspace/a/b"),
            (" a ", "/workspace/a"),
            ("/workspace/a", "/workspace/a"),
            ("/workspace/../etc", "/etc"),
            ("/../..", "/"),
            ("/etc", "/etc"),
            ("/workspacex", "/workspacex"),
            ("/", "/"),
            ("~", "/workspace/~"),
        ] {
            assert_eq!(DiskPath::parse(given).unwrap().absolute(), wanted);
        }
        for refused in ["", "  ", "..", "a/../b", "a\0"] {
            let error = DiskPath::parse(refused).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadPath, "{refused:?}");
        }
    }
}
