//! A workspace as its record shows it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inline_schema::inline_schema;
use super::{ExecutionMode, Labels, VmState};
use crate::report::{Report, Text, moment};

/// Where the files of every workspace are in its guest.
pub const WORKSPACE_PATH: &str = "/workspace";

/// What a workspace may reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(try_from = "String")]
pub enum NetworkPolicy {
    /// Nothing: the guest has no network device
    #[default]
    #[serde(rename = "off")]
    Off,
    /// The internet, but not this host or the networks near it
    #[serde(rename = "egress")]
    Egress,
    /// The same, and services can publish ports on this host
    #[serde(rename = "egress+published-ports")]
    #[value(name = "egress+published-ports")]
    EgressPublishedPorts,
}

impl NetworkPolicy {
    /// Whether the guest has a network card.
    pub fn has_network(self) -> bool {
        self != Self::Off
    }
}

impl TryFrom<String> for NetworkPolicy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "off" => Ok(Self::Off),
            "egress" => Ok(Self::Egress),
            "egress+published-ports" => Ok(Self::EgressPublishedPorts),
            _ => Err(format!(
                "`{text}` is not a network policy: use `off`, `egress` or `egress+published-ports`"
            )),
        }
    }
}

inline_schema!(NetworkPolicy, { "type": "string", "enum": ["off", "egress", "egress+published-ports"] });

impl std::fmt::Display for NetworkPolicy {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(to)
    }
}

/// Where the first files of a workspace came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum SeedMode {
    Empty,
    Directory,
    TarArchive,
}

impl std::fmt::Display for SeedMode {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(to)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct WorkspaceSeed {
    pub mode: SeedMode,
    /// Absolute, with links resolved.
    pub seed_path: Option<String>,
    pub destination: String,
    /// Files, folders and links.
    pub entry_count: u64,
    /// Bytes of the regular files.
    pub bytes_written: u64,
    #[serde(default)]
    pub left_out: LeftOut,
    /// What was copied differently than one may expect.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What of a source was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct LeftOut {
    /// With all that is in folders.
    pub entry_count: u64,
    pub bytes: u64,
    /// The first of them; one that ends in a slash is a folder with all in it.
    pub paths: Vec<String>,
    /// Patterns that counted, remembered ones included.
    #[schemars(skip)]
    pub exclude: Vec<String>,
    #[schemars(skip)]
    pub gitignore: bool,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (entries, mib) = (self.entry_count, self.bytes >> 20);
        write!(
            to,
            "{entries} entries, {mib} MiB: {}",
            self.paths.join(", ")
        )
    }
}

/// A secret without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct SecretPublic {
    pub name: String,
    /// `literal` or `file`.
    pub source_kind: String,
}

/// The newest command of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct LastCommand {
    pub sequence: u32,
    pub command: String,
    pub cwd: String,
    pub exit_code: i32,
    pub duration_ms: u64,
    pub execution_mode: ExecutionMode,
}

/// A command that runs in the background.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct RunningCommand {
    pub sequence: u32,
    pub command: String,
    pub started_at: f64,
}

/// A workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkspaceRecord {
    /// Twelve lower-case hex digits.
    pub workspace_id: String,
    pub name: Option<String>,
    pub labels: Labels,
    pub environment: String,
    pub environment_version: Option<String>,
    pub vcpu_count: u32,
    pub mem_mib: u32,
    /// Idle seconds after which the VM is stopped (files are kept); 0 is never.
    pub ttl_seconds: u32,
    /// Seconds since 1970, as all times here.
    pub created_at: f64,
    pub last_activity_at: f64,
    /// When the VM is stopped if it stays idle; 0 when never. Files are kept.
    pub expires_at: f64,
    pub state: VmState,
    pub network_policy: NetworkPolicy,
    pub network_enabled: bool,
    pub allow_host_compat: bool,
    pub guest_ip: Option<String>,
    pub tap_name: Option<String>,
    pub execution_mode: ExecutionMode,
    pub workspace_path: String,
    pub workspace_seed: WorkspaceSeed,
    pub secrets: Vec<SecretPublic>,
    /// Commands since the last reset.
    pub command_count: u32,
    pub last_command: Option<LastCommand>,
    /// Those that run in the background.
    #[serde(default)]
    pub running_commands: Vec<RunningCommand>,
    pub reset_count: u32,
    pub last_reset_at: Option<f64>,
    pub service_count: u32,
    pub running_service_count: u32,
    /// Facts for people and logs; every value is text.
    pub metadata: BTreeMap<String, String>,
    /// Seconds until the VM is stopped if it stays idle; absent when that is never or has happened.
    pub time_left_seconds: Option<u64>,
    /// Why it is stopped; absent while it runs.
    pub stopped_because: Option<String>,
    /// Whether this call had to start the VM first.
    pub workspace_started: bool,
    /// What the caller should know about what was just done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl WorkspaceRecord {
    /// The summary, headed by what was done.
    pub fn report_as(&self, heading: &str, text: &mut Text) {
        text.field(heading, &self.workspace_id);
        text.field("Name", self.name.as_deref().unwrap_or_default());
        text.field("Labels", self.labels.joined(", "));
        text.field("Environment", &self.environment);
        text.field("State", self.state.to_string());
        text.field(
            "Stopped because",
            self.stopped_because.as_deref().unwrap_or_default(),
        );
        text.field("Workspace", &self.workspace_path);
        text.field("Last activity at", moment(self.last_activity_at));
        if let Some(left) = self.time_left_seconds {
            text.field(
                "Stops when unused for",
                format!("{left} s more (files stay)"),
            );
        }
        text.field("Network policy", self.network_policy.to_string());
        let seed = &self.workspace_seed;
        text.field(
            "Workspace seed",
            match &seed.seed_path {
                Some(path) => format!("{} from {path}", seed.mode),
                None => seed.mode.to_string(),
            },
        );
        if seed.left_out.entry_count > 0 {
            text.field("Left out", seed.left_out.to_string());
        }
        for note in &seed.notes {
            text.field("Note", note);
        }
        let secrets = self
            .secrets
            .iter()
            .map(|secret| format!("{} ({})", secret.name, secret.source_kind));
        text.field("Secrets", secrets.collect::<Vec<_>>().join(", "));
        text.field("Execution mode", self.execution_mode.to_string());
        text.field(
            "Resources",
            format!("{} vCPU / {} MiB", self.vcpu_count, self.mem_mib),
        );
        text.field("Command count", self.command_count.to_string());
        text.field("Reset count", self.reset_count.to_string());
        if let Some(at) = self.last_reset_at {
            text.field("Last reset at", moment(at));
        }
        text.field(
            "Services",
            format!(
                "{}/{} running",
                self.running_service_count, self.service_count
            ),
        );
        for running in &self.running_commands {
            text.field(
                "Running command",
                format!("#{} {}", running.sequence, running.command),
            );
        }
        if let Some(last) = &self.last_command {
            text.field(
                "Last command",
                format!("{} (exit_code={})", last.command, last.exit_code),
            );
        }
        for note in &self.notes {
            text.err(format!("[note] {note}"));
        }
    }
}

impl Report for WorkspaceRecord {
    fn report(&self, text: &mut Text) {
        self.report_as("Workspace ID", text);
    }

    fn only(&self) -> Vec<u8> {
        format!("{}\n", self.workspace_id).into_bytes()
    }

    fn notes(&self) -> Vec<String> {
        let of_seed = self.workspace_seed.notes.iter();
        of_seed.chain(&self.notes).cloned().collect()
    }
}

/// A workspace in a list.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct WorkspaceListItem {
    pub workspace_id: String,
    pub name: Option<String>,
    pub labels: Labels,
    pub environment: String,
    pub state: VmState,
    // A list has no room for more in its schema.
    #[schemars(skip)]
    pub execution_mode: ExecutionMode,
    pub created_at: f64,
    pub last_activity_at: f64,
    /// When the VM is stopped if it stays idle; 0 when never. Files are kept.
    pub expires_at: f64,
    pub time_left_seconds: Option<u64>,
    /// Why it is stopped; absent while it runs.
    pub stopped_because: Option<String>,
    pub command_count: u32,
    pub service_count: u32,
    pub running_service_count: u32,
}

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ArtifactType {
    File,
    Directory,
    Symlink,
    /// A FIFO, a socket or a device.
    Special,
}

impl std::fmt::Display for ArtifactType {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(to)
    }
}
