//! The process that pyro runs in, as a value: nothing else here asks the process.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::HostError;
use crate::host::Host;

/// Variables, folder and program of the process that makes a call.
#[derive(Clone, Debug)]
pub struct Context {
    pub variables: Vec<(OsString, OsString)>,
    pub folder: PathBuf,
    /// This program.
    pub pyro: PathBuf,
}

impl Context {
    /// Those of this process.
    pub fn from_process() -> Result<Self, HostError> {
        let read = |what, result: std::io::Result<PathBuf>| {
            result.map_err(|source| HostError::Unknown { what, source })
        };
        Ok(Self {
            variables: std::env::vars_os().collect(),
            folder: read("the current folder", std::env::current_dir())?,
            pyro: read("the path of this program", std::env::current_exe())?,
        })
    }

    /// A variable that says something.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsString> {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn home(&self, host: &'static Host) -> Result<PathBuf, HostError> {
        let given = self.variable("HOME").map(PathBuf::from);
        let home = given.or_else(|| {
            let user = nix::unistd::User::from_uid(nix::unistd::Uid::current());
            user.ok().flatten().map(|user| user.dir)
        });
        home.filter(|home| home.is_absolute())
            .ok_or(HostError::NoHome { host: host.title })
    }
}
