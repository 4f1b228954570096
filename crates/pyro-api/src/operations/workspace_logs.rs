use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::{moment, plain, push_content};
use crate::values::{
    ContentEncoding, ExecutionMode, OutputEncoding, ReadBytes, WaitSeconds, report_advice,
};
use crate::{Cli, Effect, Error, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Show the commands that ran in a workspace, with their output
///
/// Without `sequence`: the newest, each with the beginning of its output. With it: one command, from
/// `offset` on, to read long output in pieces or follow a running command.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceLogs {
    /// Workspace id or name
    pub workspace_id: String,
    /// Only this command
    #[arg(long)]
    #[serde(default)]
    pub sequence: Option<u32>,
    /// How many of the newest to show
    #[arg(long)]
    #[serde(default)]
    pub last: Option<u32>,
    /// How many of the newest to skip, events included; MCP returns 32 KiB
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub skip: u64,
    /// Where to start, in bytes
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub offset: u64,
    /// Bytes of each stream to show; 65536 with `sequence` (over MCP 24576), else 4096
    #[arg(long)]
    #[serde(default)]
    pub max_bytes: Option<ReadBytes>,
    /// The same for stderr; by default `offset`
    #[arg(long)]
    #[serde(default)]
    pub stderr_offset: Option<u64>,
    /// Seconds to wait for more output or the end
    #[arg(long, allow_negative_numbers = true)]
    #[serde(default)]
    pub wait_seconds: Option<WaitSeconds>,
    /// Output as text, or as bytes in base64
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    pub encoding: ContentEncoding,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Logged {
    pub workspace_id: String,
    /// How many entries are shown here.
    pub count: usize,
    /// How many commands there are.
    pub total: usize,
    /// Oldest first.
    pub entries: Vec<LogEntry>,
    /// What happened to the workspace itself, oldest first: stops, starts, resets, and why.
    pub events: Vec<LogEvent>,
    /// The `skip` that continues with older ones.
    pub next_skip: Option<u64>,
    /// The memory of the guest, in MiB.
    pub mem_mib: u32,
    /// What to do, where memory ran out.
    pub advice: Option<String>,
}

/// A command that has ended, or runs in the background.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct LogEntry {
    /// Counts from 1, over all resets: one number is one command of the workspace.
    pub sequence: u32,
    pub command: String,
    pub cwd: String,
    /// Null while it runs.
    pub exit_code: Option<i32>,
    pub duration_ms: u64,
    pub execution_mode: ExecutionMode,
    /// The file's name in the folder `output` of the workspace's state.
    pub stdout_file: String,
    pub stderr_file: String,
    pub recorded_at: f64,
    /// From `offset` on.
    pub stdout: String,
    pub stderr: String,
    pub stdout_encoding: OutputEncoding,
    pub stderr_encoding: OutputEncoding,
    pub timed_out: bool,
    /// Whether the guest's kernel killed a process of it because memory ran out.
    pub oom_killed: bool,
    pub signal: Option<i32>,
    /// How much the command wrote.
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
    /// How much of it was kept and can be read here.
    pub stdout_kept_bytes: u64,
    pub stderr_kept_bytes: u64,
    /// Whether there is more after what is shown.
    pub stdout_truncated: bool,
    pub stderr_truncated: bool,
    /// The `offset` at which the rest of what was kept can be read.
    pub next_offset: Option<u64>,
    /// The same for `stderr_offset`.
    pub next_stderr_offset: Option<u64>,
    /// How many resets came before it.
    pub reset_count: u32,
    /// Whether it is still running.
    pub running: bool,
    /// Why it ended, if it neither exited by itself nor timed out.
    pub ended_because: Option<String>,
    /// The bytes of `stdout` and `stderr`, for the command line.
    #[serde(skip)]
    pub bytes: [Vec<u8>; 2],
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct LogEvent {
    /// Seconds since 1970.
    pub at: f64,
    /// `created`, `started`, `stopped` or `reset`.
    pub event: String,
    pub detail: String,
}

impl Report for Logged {
    fn report(&self, text: &mut Text) {
        for entry in &self.entries {
            let state = match entry.exit_code {
                Some(code) => format!("exit_code={code}"),
                None => "running=true".to_owned(),
            };
            text.out(format!(
                "#{} {state} duration_ms={} cwd={}",
                entry.sequence, entry.duration_ms, entry.cwd
            ));
            text.out(format!("$ {}", entry.command));
            report_advice("workspace-logs", entry.oom_killed, None, text);
            text.content(entry.stdout_encoding.shown(&entry.stdout, &entry.bytes[0]));
            let stderr = entry.stderr_encoding.shown(&entry.stderr, &entry.bytes[1]);
            if self.entries.len() > 1 && !stderr.is_empty() {
                // Standard error may go elsewhere, or come behind all of standard output.
                text.err(format!(
                    "[workspace-logs] sequence={} stderr:",
                    entry.sequence
                ));
            }
            push_content(&mut text.err, stderr);
            if let Some(why) = &entry.ended_because {
                text.err(format!(
                    "[workspace-logs] sequence={} ended: {}",
                    entry.sequence,
                    plain(why)
                ));
            }
            if entry.running {
                text.err(format!(
                    "[workspace-logs] sequence={} is still running; for more use --sequence {} \
                     --offset {} --stderr-offset {} --wait-seconds 60",
                    entry.sequence,
                    entry.sequence,
                    entry.next_offset.unwrap_or_default(),
                    entry.next_stderr_offset.unwrap_or_default(),
                ));
                continue;
            }
            let streams = [
                (
                    "stdout",
                    entry.stdout_bytes,
                    entry.stdout_kept_bytes,
                    entry.stdout_truncated,
                ),
                (
                    "stderr",
                    entry.stderr_bytes,
                    entry.stderr_kept_bytes,
                    entry.stderr_truncated,
                ),
            ];
            for (stream, bytes, kept, cut) in streams {
                if cut {
                    let kept = match kept < bytes {
                        true => format!(
                            ", of which the first {kept} are kept; what was kept of the end is at \
                             --offset {kept}"
                        ),
                        false => String::new(),
                    };
                    let more = match entry.next_offset {
                        Some(next) => format!(
                            "; for more use --sequence {} --offset {next} --stderr-offset {}, and \
                             --max-bytes",
                            entry.sequence,
                            entry.next_stderr_offset.unwrap_or(next)
                        ),
                        None => String::new(),
                    };
                    text.err(format!(
                        "[workspace-logs] sequence={} {stream} has {bytes} bytes{kept}{more}",
                        entry.sequence
                    ));
                }
            }
        }
        if let Some(advice) = &self.advice {
            text.err(format!("hint: {advice}"));
        }
        for event in &self.events {
            text.err(format!(
                "[workspace-event] at={} event={} {}",
                moment(event.at),
                event.event,
                event.detail
            ));
        }
        if let Some(next) = self.next_skip {
            text.err(format!(
                "[workspace-logs] {} of {} commands shown; for older ones use --skip {next}",
                self.count, self.total
            ));
        }
    }
}

impl Operation for WorkspaceLogs {
    type Output = Logged;

    const NAMES: Names = Names {
        operation: "workspace_logs",
        cli: Some(Cli {
            path: &["workspace", "logs"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(Mcp::new(
            "workspace_logs",
            "Command history",
            Profile::WorkspaceCore,
            Effect::Reads,
        )),
        sdk: Some("logs_workspace"),
    };

    fn check(&self) -> Result<(), Error> {
        match (self.wait_seconds, self.sequence) {
            (Some(_), None) => Err(Error::invalid(
                "`wait_seconds` needs `sequence`, the command to wait for",
            )
            .hint("`workspace_status` (`pyro workspace status`) lists the running commands")),
            _ => Ok(()),
        }
    }
}
