//! The result of one command in a workspace.

use schemars::JsonSchema;
use serde::Serialize;

use super::exec::report_timeout;
use super::{ExecutionMode, OutputEncoding, report_advice};
use crate::report::{Report, Text, own_status, plain};

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct WorkspaceExecResult {
    pub workspace_id: String,
    pub environment: String,
    pub environment_version: Option<String>,
    pub command: String,
    /// Standard output; head and tail with a mark between them when it was too long to keep.
    pub stdout: String,
    pub stderr: String,
    /// The command's exit status; 128 + N after signal N, 124 after a timeout. Null while it runs.
    pub exit_code: Option<i32>,
    /// Time from the start of the command to its end, in milliseconds.
    pub duration_ms: u64,
    pub execution_mode: ExecutionMode,
    /// The number of the command, for `workspace_logs`. Counts from 1, over all resets.
    pub sequence: u32,
    pub cwd: String,
    /// The signal that ended the command, if one did.
    pub signal: Option<i32>,
    /// Whether the command was ended because it timed out.
    pub timed_out: bool,
    /// Whether the guest ran out of memory and its kernel killed a process of the command.
    pub oom_killed: bool,
    /// The memory of the guest, in MiB.
    pub mem_mib: u32,
    /// What to do about how it ended, if there is something to do.
    pub advice: Option<String>,
    /// How many bytes the command wrote, kept or not.
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
    /// Whether the middle of the text was left out; `workspace_logs` has it.
    pub stdout_truncated: bool,
    pub stderr_truncated: bool,
    pub stdout_encoding: OutputEncoding,
    pub stderr_encoding: OutputEncoding,
    /// Whether this call had to start the VM first.
    pub workspace_started: bool,
    /// Whether the command is still running.
    pub running: bool,
    /// Why it ended, if it neither exited by itself nor timed out.
    pub ended_because: Option<String>,
    /// How to continue with a running command.
    pub next: Option<String>,
    /// Its end is what the call was for.
    #[serde(skip)]
    pub stopped: bool,
}

impl Report for WorkspaceExecResult {
    fn report(&self, text: &mut Text) {
        if self.timed_out {
            report_timeout("workspace-exec", self.duration_ms, text);
        }
        if let Some(why) = &self.ended_because {
            text.err(format!("[workspace-exec] ended: {}", plain(why)));
        }
        let state = match self.exit_code {
            Some(code) => format!("exit_code={code}"),
            None => "running=true".to_owned(),
        };
        report_advice(
            "workspace-exec",
            self.oom_killed,
            self.advice.as_deref(),
            text,
        );
        text.err(format!(
            "[workspace-exec] workspace_id={} sequence={} cwd={} execution_mode={} {state} \
             duration_ms={}",
            self.workspace_id,
            self.sequence,
            plain(&self.cwd),
            self.execution_mode,
            self.duration_ms
        ));
        if let Some(next) = &self.next {
            text.err(format!("[workspace-exec] {next}"));
        }
    }

    fn exit_code(&self) -> u8 {
        if self.stopped {
            return 0;
        }
        self.exit_code.map_or(0, own_status)
    }
}
