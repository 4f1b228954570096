//! The caller behind every tool: a model, with what it may reach of this host and beyond.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyro_api::{Caller, Error, Folders, Networks};

use crate::KEPT_OUTPUT;
use crate::answer_within::AnswerWithin;
use crate::progress::CallEvents;

/// The folders of this host that arguments of a model may name, separated as in `PATH`; unset:
/// all that the server's user may use.
const FOLDERS: &str = "PYRO_MCP_FOLDERS";

/// `off`: no guest gets a network, and no port of one is published. Unset: `on`.
const NETWORK: &str = "PYRO_MCP_NETWORK";

/// What a person lets a model reach.
#[derive(Debug)]
pub(crate) struct Access {
    folders: Folders,
    networks: Networks,
    answer_within: AnswerWithin,
}

impl Access {
    pub(crate) fn from_environment() -> Result<Self, Error> {
        Ok(Self {
            folders: folders(variable(FOLDERS)),
            networks: networks(variable(NETWORK)),
            answer_within: AnswerWithin::from_environment()?,
        })
    }

    /// Behind a client that waits no longer than clients of its name do.
    pub(crate) fn remote_caller(&self, events: &Arc<CallEvents>, client: Option<&str>) -> Caller {
        self.answering_within(self.answer_within.for_client(client), events)
    }

    /// Behind a program that waits as long as it takes, unless somebody says otherwise.
    pub(crate) fn program_caller(&self, events: &Arc<CallEvents>) -> Caller {
        self.answering_within(self.answer_within.set_by_user(), events)
    }

    fn answering_within(&self, within: Option<Duration>, events: &Arc<CallEvents>) -> Caller {
        let by = within.and_then(|within| Instant::now().checked_add(within));
        self.caller(events).with_deadline(by)
    }

    fn caller(&self, events: &Arc<CallEvents>) -> Caller {
        Caller::new()
            .with_events(Arc::clone(events) as _)
            .keeping_output(KEPT_OUTPUT)
            .for_model(self.folders.clone(), self.networks.clone())
    }
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A relative folder is below the server's working folder.
fn folders(named: Option<OsString>) -> Folders {
    let Some(named) = named else {
        return Folders::All;
    };
    let folders: Vec<PathBuf> = std::env::split_paths(&named)
        .filter(|folder| !folder.as_os_str().is_empty())
        .collect();
    Folders::Only {
        folders: folders.into(),
        named_by: FOLDERS,
    }
}

/// Who writes something here wants to forbid: a word that is misspelt does so, too, and the errors
/// show it.
fn networks(said: Option<OsString>) -> Networks {
    match said {
        Some(said) if said != "on" => Networks::Forbidden {
            by: format!("{NETWORK}={}", said.to_string_lossy()),
        },
        _ => Networks::Allowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_on_and_silence_allow_networks() {
        for said in [None, Some("on")] {
            assert_eq!(networks(said.map(OsString::from)), Networks::Allowed);
        }
        for said in ["off", "of", "0", "false", "On"] {
            let forbidden = networks(Some(said.into()));
            let by = format!("PYRO_MCP_NETWORK={said}");
            assert_eq!(forbidden, Networks::Forbidden { by });
        }
    }
}
