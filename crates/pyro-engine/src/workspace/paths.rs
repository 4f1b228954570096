//! Paths as callers give them, made relative to `/workspace`.

use std::ffi::OsString;

use pyro_api::values::WORKSPACE_PATH;
use pyro_api::{Error, ErrorCode};
use pyro_wire::Bytes;

/// A path below `/workspace`: relative to it for the agent, absolute for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GuestPath {
    relative: String,
}

impl GuestPath {
    /// By the rules of the contract: relative paths are below `/workspace`, spaces around are
    /// trimmed, and no `..` is taken.
    pub(crate) fn parse(what: &str, given: &str) -> Result<Self, Error> {
        let trimmed = given.trim();
        let refuse = |why: &str| {
            Err(Error::new(
                ErrorCode::BadPath,
                format!("The {what} `{given}` cannot be used"),
            )
            .because(why)
            .hint("Give a path below `/workspace`, such as `src/main.py`"))
        };
        if trimmed.is_empty() {
            return refuse("it is empty");
        }
        if trimmed.contains('\0') {
            return refuse("it holds a NUL byte");
        }
        let below = match trimmed.strip_prefix('/') {
            None => trimmed,
            Some(_) => match trimmed.strip_prefix(WORKSPACE_PATH) {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
                _ => return refuse("it is not below `/workspace`"),
            },
        };
        let parts: Vec<&str> = below
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        if parts.contains(&"..") {
            return refuse("it has a `..` in it");
        }
        Ok(Self {
            relative: parts.join("/"),
        })
    }

    pub(crate) fn relative(&self) -> &str {
        &self.relative
    }

    /// Its last part.
    pub(crate) fn name(&self) -> OsString {
        let absolute = self.absolute();
        absolute.rsplit('/').next().unwrap_or_default().into()
    }

    pub(crate) fn bytes(&self) -> Bytes {
        Bytes::from(self.relative.as_bytes())
    }

    pub(crate) fn absolute(&self) -> String {
        absolute(&self.relative)
    }
}

/// The absolute path of something below `/workspace`.
pub(crate) fn absolute(relative: &str) -> String {
    match relative {
        "" => WORKSPACE_PATH.to_owned(),
        below => format!("{WORKSPACE_PATH}/{below}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_by_the_rules_of_the_contract() {
        for (given, wanted) in [
            (".", "/workspace"),
            ("/workspace", "/workspace"),
            ("/workspace/", "/workspace"),
            ("a/b", "/workspace/a/b"),
            ("./a", "/workspace/a"),
            ("a//b", "/workspace/a/b"),
            (" a ", "/workspace/a"),
            ("/workspace/a", "/workspace/a"),
            ("~", "/workspace/~"),
            ("a..b", "/workspace/a..b"),
        ] {
            assert_eq!(GuestPath::parse("path", given).unwrap().absolute(), wanted);
        }
        for refused in [
            "",
            "  ",
            "..",
            "a/../b",
            "/workspace/..",
            "/etc",
            "/workspacex",
            "/",
            "a\0",
        ] {
            let error = GuestPath::parse("path", refused).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadPath, "{refused:?}");
        }
    }
}
