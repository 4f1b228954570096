//! What a person asked for, beyond the host.

use std::path::PathBuf;

use crate::config_file::{self, ConfigFile, Scope};
use crate::context::Context;
use crate::error::HostError;
use crate::host::Host;

/// What an entry is called when nothing is said.
pub(crate) const DEFAULT_NAME: &str = "pyro";

/// Everything that can be chosen; the default is the bare command for the person.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The name of the entry; `pyro` when nothing is said.
    pub name: Option<String>,
    pub scope: Option<Scope>,
    /// Another file than the host's own.
    pub config: Option<PathBuf>,
    /// The value of `--profile` in the entry; the server's default when nothing is said.
    pub profile: Option<String>,
    /// What starts pyro, instead of what pyro would choose.
    pub command: Option<String>,
    /// `NAME=VALUE`, or `NAME` for the value it has here.
    pub env: Vec<String>,
    /// Overwrite an entry of this name that is not pyro's.
    pub replace: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

impl Options {
    pub(crate) fn name(&self) -> Result<&str, HostError> {
        let name = self.name.as_deref().unwrap_or(DEFAULT_NAME);
        let fine = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        if name.is_empty() || name.len() > 64 || !name.chars().all(fine) {
            return Err(HostError::BadName { name: name.into() });
        }
        Ok(name)
    }

    /// The file that was meant.
    pub(crate) fn config_file(
        &self,
        host: &'static Host,
        context: &Context,
    ) -> Result<ConfigFile, HostError> {
        match &self.config {
            Some(file) => Ok(config_file::named(file, context)),
            None => config_file::of_scope(host, self.scope.unwrap_or(Scope::User), context),
        }
    }
}
