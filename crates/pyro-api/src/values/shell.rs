//! An interactive shell as it is shown, and what is said to one.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

use super::inline_schema::inline_schema;
use super::{ExecutionMode, InvalidValue, report_advice};
use crate::report::{Text, plain};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShellState {
    Running,
    /// Its first program has ended; what it wrote can be read until it is closed.
    Stopped,
}

impl fmt::Display for ShellState {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(to)
    }
}

/// A shell of a workspace.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ShellRecord {
    pub workspace_id: String,
    /// Twelve lower-case hex digits.
    pub shell_id: String,
    /// Where it began.
    pub cwd: String,
    pub cols: u32,
    pub rows: u32,
    pub state: ShellState,
    /// Seconds since 1970.
    pub started_at: f64,
    pub ended_at: Option<f64>,
    /// The shell's exit status; 128 + N after signal N. Absent while it runs.
    pub exit_code: Option<i32>,
    /// Whether the guest's kernel killed a process in it because memory ran out.
    pub oom_killed: bool,
    /// The memory of the guest, in MiB.
    pub mem_mib: u32,
    /// What to do, where memory ran out.
    pub advice: Option<String>,
    /// The signal that ended it, if one did.
    pub ended_by_signal: Option<i32>,
    pub execution_mode: ExecutionMode,
}

impl ShellRecord {
    /// `[workspace-shell-VERB] workspace_id=…`, without the last fields.
    pub(crate) fn line(&self, verb: &str) -> String {
        format!(
            "[workspace-shell-{verb}] workspace_id={} shell_id={} state={}",
            self.workspace_id, self.shell_id, self.state,
        )
    }

    /// Says that memory ran out in it, where it did.
    pub(crate) fn report_memory(&self, verb: &str, text: &mut Text) {
        let scope = format!("workspace-shell-{verb}");
        report_advice(&scope, self.oom_killed, self.advice.as_deref(), text);
    }

    pub(crate) fn report(&self, verb: &str, text: &mut Text) {
        self.report_memory(verb, text);
        text.err(format!(
            "{} cwd={} cols={} rows={} execution_mode={}",
            self.line(verb),
            plain(&self.cwd),
            self.cols,
            self.rows,
            self.execution_mode
        ));
    }
}

/// A signal for what runs in the foreground of a shell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShellSignal {
    Hup,
    #[default]
    Int,
    Term,
    Kill,
}

impl ShellSignal {
    const ALL: [Self; 4] = [Self::Hup, Self::Int, Self::Term, Self::Kill];

    pub fn name(self) -> &'static str {
        match self {
            Self::Hup => "HUP",
            Self::Int => "INT",
            Self::Term => "TERM",
            Self::Kill => "KILL",
        }
    }
}

impl clap::ValueEnum for ShellSignal {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

impl FromStr for ShellSignal {
    type Err = InvalidValue;

    /// In capitals or not, as models write them either way.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let given = text.trim();
        let found = Self::ALL
            .into_iter()
            .find(|signal| signal.name().eq_ignore_ascii_case(given));
        found.ok_or_else(|| InvalidValue::Unknown {
            name: "signal_name",
            expected: "HUP, INT, TERM or KILL",
            given: given.to_owned(),
        })
    }
}

impl fmt::Display for ShellSignal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.name())
    }
}

impl Serialize for ShellSignal {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ShellSignal {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

// No list of values: a client would refuse `int`, which is understood.
inline_schema!(ShellSignal, { "type": "string" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_in_capitals_or_not() {
        assert_eq!(" int ".parse(), Ok(ShellSignal::Int));
        assert_eq!("KILL".parse(), Ok(ShellSignal::Kill));
        let refused = "STOP".parse::<ShellSignal>().unwrap_err().to_string();
        assert_eq!(
            refused,
            "signal_name must be HUP, INT, TERM or KILL, not `STOP`"
        );
    }
}
