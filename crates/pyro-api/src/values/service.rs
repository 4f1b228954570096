//! Services of a workspace: what they are called, how they are seen to be ready, how they appear.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::word::word;
use super::{ExecutionMode, PublishedPort, report_advice};
use crate::report::{Text, plain};

word! {
    /// The name of a service: letters, digits, `.`, `_` and `-`, at most 64.
    ServiceName, "service name"
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ServiceState {
    Running,
    /// It ended by itself.
    Exited,
    /// It was stopped, or its VM was.
    Stopped,
    /// It never became ready.
    Failed,
}

impl fmt::Display for ServiceState {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(to)
    }
}

/// Why a service does not run, where it did not just exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum StopReason {
    ProcessExitedBeforeReady,
    ReadinessTimeout,
    /// It ended when it was asked to.
    Sigterm,
    /// It had to be killed.
    Sigkill,
    PublishedPortFailed,
    /// Its VM was stopped, or ended.
    WorkspaceStopped,
}

/// What shows that a service can be used. Beside `type` the one field that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Readiness {
    #[serde(rename = "type")]
    pub kind: ReadinessKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ReadinessKind {
    File,
    Tcp,
    Http,
    Command,
}

impl Readiness {
    /// The same with what it is looked for by in other words.
    pub fn reworded(self, word: impl Fn(String) -> String) -> Self {
        Self {
            kind: self.kind,
            path: self.path.map(&word),
            address: self.address.map(&word),
            url: self.url.map(&word),
            command: self.command.map(&word),
        }
    }

    pub fn of(kind: ReadinessKind, what: String) -> Self {
        let mut readiness = Self {
            kind,
            path: None,
            address: None,
            url: None,
            command: None,
        };
        let place = match kind {
            ReadinessKind::File => &mut readiness.path,
            ReadinessKind::Tcp => &mut readiness.address,
            ReadinessKind::Http => &mut readiness.url,
            ReadinessKind::Command => &mut readiness.command,
        };
        *place = Some(what);
        readiness
    }
}

/// A service as its record shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct ServiceRecord {
    pub workspace_id: String,
    pub service_name: ServiceName,
    pub state: ServiceState,
    pub command: String,
    pub cwd: String,
    /// Seconds since 1970, as all times here.
    pub started_at: f64,
    pub ended_at: Option<f64>,
    /// Of its first process; absent while it runs, and when its end was not seen.
    pub exit_code: Option<i32>,
    /// Of its first process, in the guest.
    pub pid: Option<u32>,
    pub execution_mode: ExecutionMode,
    pub readiness: Option<Readiness>,
    /// Absent while it is not ready.
    pub ready_at: Option<f64>,
    /// What the last readiness check found instead, if it is not ready or never was.
    pub not_ready: Option<String>,
    pub stop_reason: Option<StopReason>,
    /// Whether the guest's kernel killed a process of it because memory ran out.
    #[serde(default)]
    pub oom_killed: bool,
    /// The memory of the guest, in MiB.
    #[serde(default)]
    pub mem_mib: u32,
    /// What to do, where memory ran out.
    #[serde(default)]
    pub advice: Option<String>,
    /// While it runs.
    pub published_ports: Vec<PublishedPort>,
}

impl ServiceRecord {
    pub fn runs(&self) -> bool {
        self.state == ServiceState::Running
    }

    /// `[workspace-service-DID] workspace_id=… …`
    pub(crate) fn report_as(&self, did: &str, text: &mut Text) {
        let mut line = format!(
            "[workspace-service-{did}] workspace_id={} service_name={} state={} cwd={} execution_mode={}",
            self.workspace_id,
            self.service_name,
            self.state,
            plain(&self.cwd),
            self.execution_mode
        );
        if !self.published_ports.is_empty() {
            line.push_str(&format!(" published_ports={}", self.ports()));
        }
        report_advice(
            &format!("workspace-service-{did}"),
            self.oom_killed,
            self.advice.as_deref(),
            text,
        );
        text.err(line);
        if self.ready_at.is_none()
            && did != "start"
            && let Some(why) = &self.not_ready
        {
            text.err(format!("Not ready at the last check: {}", plain(why)));
        }
    }

    /// `127.0.0.1:8080->80/tcp,…`
    pub(crate) fn ports(&self) -> String {
        let ports: Vec<String> = self
            .published_ports
            .iter()
            .map(ToString::to_string)
            .collect();
        ports.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words() {
        assert_eq!(" web.1 ".parse::<ServiceName>().unwrap().as_str(), "web.1");
        for refused in ["", "-a", "a b", "ä", &"a".repeat(65)] {
            assert!(refused.parse::<ServiceName>().is_err(), "{refused}");
        }
    }

    #[test]
    fn a_readiness_is_told_as_the_contract_has_it() {
        let of = |kind, what: &str| {
            serde_json::to_string(&Readiness::of(kind, what.to_owned())).unwrap()
        };
        assert_eq!(
            of(ReadinessKind::Tcp, "a:1"),
            r#"{"type":"tcp","address":"a:1"}"#
        );
        assert_eq!(
            of(ReadinessKind::File, "/workspace/f"),
            r#"{"type":"file","path":"/workspace/f"}"#
        );
    }
}
