//! The result of one command in a VM that is deleted afterwards.

use schemars::JsonSchema;
use serde::Serialize;

use super::{ExecutionMode, VmDeleted, report_advice};
use crate::report::{Report, Text, own_status};

/// How the bytes of an output stream became text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum OutputEncoding {
    /// The bytes are UTF-8 and the text is exact.
    #[serde(rename = "utf-8")]
    Utf8,
    /// What is not UTF-8 was replaced by U+FFFD.
    #[serde(rename = "utf-8-replaced")]
    Utf8Replaced,
    /// The text is the bytes in base64, as requested.
    #[serde(rename = "base64")]
    Base64,
}

impl OutputEncoding {
    /// What the command line prints of output that it has the bytes of.
    pub(crate) fn shown<'a>(self, text: &'a str, bytes: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Base64 => text.as_bytes(),
            Self::Utf8 | Self::Utf8Replaced => bytes,
        }
    }
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ExecResult {
    pub vm_id: String,
    pub environment: String,
    pub environment_version: Option<String>,
    pub command: String,
    /// Standard output; head and tail with a mark between them when it was too long to keep.
    pub stdout: String,
    pub stderr: String,
    /// The command's exit status; 128 + N after signal N, 124 after a timeout.
    pub exit_code: i32,
    /// Time from the start of the command to its end, in milliseconds.
    pub duration_ms: u64,
    pub execution_mode: ExecutionMode,
    pub cleanup: VmDeleted,
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
    /// Whether the middle of the text was left out.
    pub stdout_truncated: bool,
    pub stderr_truncated: bool,
    pub stdout_encoding: OutputEncoding,
    pub stderr_encoding: OutputEncoding,
    /// `kvm`, `tcg` (emulation), `systrap` (gVisor), or `none` (host process).
    pub accelerator: String,
    /// Why this accelerator was chosen.
    pub accelerator_reason: String,
    /// Time until the VM answered, in milliseconds.
    pub boot_ms: u64,
    /// Whether the VM was resumed from a template instead of booted.
    pub resumed: bool,
    /// How many boots it took; more than one means that a boot failed.
    pub boot_attempts: u32,
    /// Whether the VM was on standby; `boot_ms` was spent before the call.
    pub standby: bool,
}

/// Says that a command was ended because its time was over.
pub(super) fn report_timeout(scope: &str, duration_ms: u64, text: &mut Text) {
    text.err(format!(
        "[{scope}] timed out: the command and everything it started were ended after {:.1} s",
        duration_ms as f64 / 1000.0
    ));
}

impl Report for ExecResult {
    fn report(&self, text: &mut Text) {
        if self.timed_out {
            report_timeout("run", self.duration_ms, text);
        }
        report_advice("run", self.oom_killed, self.advice.as_deref(), text);
        text.err(format!(
            "[run] environment={} execution_mode={} exit_code={} duration_ms={} accelerator={}",
            self.environment,
            self.execution_mode,
            self.exit_code,
            self.duration_ms,
            self.accelerator
        ));
    }

    fn exit_code(&self) -> u8 {
        own_status(self.exit_code)
    }
}
