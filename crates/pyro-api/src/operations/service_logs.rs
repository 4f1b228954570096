use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::push_content;
use crate::values::{
    ContentEncoding, OutputEncoding, ReadBytes, ServiceName, ServiceRecord, TailLines,
};
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Show the newest lines that a service of a workspace wrote
///
/// The newest 1 MiB of each stream is kept, even after the service and its VM have ended.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct ServiceLogs {
    /// Workspace id or name
    pub workspace_id: String,
    /// The service's name
    pub service_name: ServiceName,
    /// How many lines of each stream to show, from the end
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub tail_lines: TailLines,
    /// Show everything that is kept
    #[arg(long)]
    #[serde(default)]
    pub all: bool,
    /// How many of the newest lines of each stream to skip
    #[arg(long, default_value_t, conflicts_with = "follow")]
    #[serde(default)]
    pub skip_lines: u64,
    /// Most bytes of each stream to show, in whole lines from the end; over MCP 32768
    #[arg(long)]
    #[serde(default)]
    pub max_bytes: Option<ReadBytes>,
    /// Output as text, or as bytes in base64
    #[arg(long, value_enum, default_value_t, conflicts_with = "follow")]
    #[serde(default)]
    pub encoding: ContentEncoding,
    /// Follow the output until the service has ended
    // For a person at a terminal: a tool's answer comes once.
    #[arg(long)]
    #[serde(skip)]
    pub follow: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ServiceLogged {
    #[serde(flatten)]
    pub service: ServiceRecord,
    pub stdout: String,
    pub stderr: String,
    pub stdout_encoding: OutputEncoding,
    pub stderr_encoding: OutputEncoding,
    /// Absent with `all`.
    pub tail_lines: Option<u32>,
    /// Whether there is, or was, more of either stream.
    pub truncated: bool,
    /// The `skip_lines` that reads older lines; absent when none are kept.
    pub next_skip_lines: Option<u64>,
    /// The bytes of `stdout` and `stderr`, for the command line.
    #[serde(skip)]
    pub bytes: [Vec<u8>; 2],
}

impl Report for ServiceLogged {
    fn report(&self, text: &mut Text) {
        text.content(self.stdout_encoding.shown(&self.stdout, &self.bytes[0]));
        let stderr = self.stderr_encoding.shown(&self.stderr, &self.bytes[1]);
        push_content(&mut text.err, stderr);
        self.service.report_as("logs", text);
        if let Some(next) = self.next_skip_lines {
            text.err(format!(
                "[workspace-service-logs] for older lines use --skip-lines {next}"
            ));
        }
    }
}

impl Operation for ServiceLogs {
    type Output = ServiceLogged;

    const NAMES: Names = Names {
        operation: "service_logs",
        cli: Some(Cli {
            path: &["workspace", "service", "logs"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "service_logs",
            "Service logs",
            Profile::WorkspaceFull,
            Effect::Reads,
        )),
        sdk: Some("logs_service"),
    };
}
