//! Paths as callers give them, made relative to `/workspace`.

use std::ffi::OsString;
use std::path::Path;

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
        let hint = "Give a path below `/workspace`, such as `src/main.py`";
        Self::parse_or(what, given, hint)
    }

    /// A folder, by the same rules.
    pub(crate) fn parse_folder(what: &str, given: &str) -> Result<Self, Error> {
        let hint =
            "Give a folder below `/workspace`, such as `src`, or `.` for `/workspace` itself";
        Self::parse_or(what, given, hint)
    }

    fn parse_or(what: &str, given: &str, hint: &str) -> Result<Self, Error> {
        let trimmed = given.trim();
        let refuse = |why: &str| {
            Err(Error::new(
                ErrorCode::BadPath,
                format!("The {what} `{given}` cannot be used"),
            )
            .because(why)
            .hint(hint))
        };
        if trimmed.is_empty() {
            return refuse("it is empty");
        }
        if trimmed.contains('\0') {
            return refuse("it contains a NUL byte");
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
            return refuse("it contains `..`");
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

    /// With the slash at its end that was given, which makes a difference for a link.
    pub(crate) fn as_written(&self, given: &str) -> Bytes {
        match given.trim_end().ends_with('/') && !self.relative.is_empty() {
            true => Bytes::from([self.relative.as_bytes(), b"/"].concat()),
            false => self.bytes(),
        }
    }

    pub(crate) fn absolute(&self) -> String {
        absolute(&self.relative)
    }
}

/// A folder of the guest for a command to run in: anywhere, as commands may go anywhere. A relative one
/// is below `/workspace`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkingDir(Option<Location>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Location {
    Below(GuestPath),
    Anywhere(String),
}

impl WorkingDir {
    pub(crate) fn parse(given: Option<&str>) -> Result<Self, Error> {
        let Some(given) = given else {
            return Ok(Self::default());
        };
        let trimmed = given.trim();
        let below = Path::new(trimmed).starts_with(WORKSPACE_PATH);
        if below || !trimmed.starts_with('/') || trimmed.contains('\0') {
            let hint = "Give a folder below `/workspace`, such as `src`, or any other by its \
                        absolute path, such as `/etc`";
            let path = GuestPath::parse_or("cwd", given, hint);
            return path.map(|path| Self(Some(Location::Below(path))));
        }
        Ok(Self(Some(Location::Anywhere(trimmed.to_owned()))))
    }

    /// Whether nobody named one.
    pub(crate) fn is_default(&self) -> bool {
        self.0.is_none()
    }

    /// For the agent, whose own default is `/workspace`.
    pub(crate) fn bytes(&self) -> Option<Bytes> {
        self.0.as_ref().map(|place| match place {
            Location::Below(path) => path.bytes(),
            Location::Anywhere(path) => Bytes::from(path.as_bytes()),
        })
    }

    /// For people.
    pub(crate) fn absolute(&self) -> String {
        match &self.0 {
            None => WORKSPACE_PATH.to_owned(),
            Some(Location::Below(path)) => path.absolute(),
            Some(Location::Anywhere(path)) => path.clone(),
        }
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
    fn a_command_runs_below_the_workspace_or_anywhere() {
        for (given, wanted) in [
            (None, "/workspace"),
            (Some("a/b"), "/workspace/a/b"),
            (Some("/workspace/a/"), "/workspace/a"),
            (Some(" /etc "), "/etc"),
            (Some("/workspacex"), "/workspacex"),
            (Some("/"), "/"),
        ] {
            assert_eq!(WorkingDir::parse(given).unwrap().absolute(), wanted);
        }
        for refused in ["", "../etc", "/workspace/../etc", "a\0", "/etc\0"] {
            let error = WorkingDir::parse(Some(refused)).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadPath, "{refused:?}");
            let hint = error.hint.unwrap();
            assert!(hint.contains("`src`") && hint.contains("`/etc`"), "{hint}");
        }
    }

    #[test]
    fn the_hint_names_what_is_taken() {
        let hint = |error: Error| error.hint.unwrap();
        let file = hint(GuestPath::parse("path", "").unwrap_err());
        assert!(file.contains("`src/main.py`"), "{file}");
        let folder = hint(GuestPath::parse_folder("cwd", "../etc").unwrap_err());
        assert!(
            folder.contains("`src`") && !folder.contains("main.py"),
            "{folder}"
        );
    }

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
