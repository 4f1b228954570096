use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::push_content;
use crate::values::{
    ContentEncoding, OutputEncoding, ReadBytes, ServiceName, ServiceRecord, TailLines,
};
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Show what a service of a workspace wrote, the newest lines of each stream
///
/// Of each stream the newest 1 MiB is kept, also after the service and its VM have ended.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct ServiceLogs {
    /// Its id or its name
    pub workspace_id: String,
    /// The service's name
    pub service_name: ServiceName,
    /// How many lines of each stream, from the end
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub tail_lines: TailLines,
    /// Everything that is kept
    #[arg(long)]
    #[serde(default)]
    pub all: bool,
    /// How many of the newest lines of each stream to leave out
    #[arg(long, default_value_t, conflicts_with = "follow")]
    #[serde(default)]
    pub skip_lines: u64,
    /// How much of each stream to show, in bytes: whole lines from the end; for a model 32768
    #[arg(long)]
    #[serde(default)]
    pub max_bytes: Option<ReadBytes>,
    /// How the output is given: as text, or its bytes in base64
    #[arg(long, value_enum, default_value_t, conflicts_with = "follow")]
    #[serde(default)]
    pub encoding: ContentEncoding,
    /// Go on as the service writes, until it has ended
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
    /// With what `skip_lines` older lines can be read; absent when no older ones are kept.
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
                "[workspace-service-logs] for older lines go on with --skip-lines {next}"
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
