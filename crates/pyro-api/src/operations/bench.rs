use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{BenchRounds, CommandLine, StandbyCount};
use crate::{Cli, Error, JsonFlag, Names, Operation, Report, Text};

/// Measure how long commands in VMs take on this machine
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Bench {
    /// The environment to start from
    #[arg(default_value = "debian:12")]
    #[serde(default = "default_environment")]
    pub environment: String,
    /// A command line for `/bin/sh -l`; `true` by default
    #[command(flatten)]
    #[serde(default = "default_command")]
    pub command: CommandLine,
    /// How many times to measure each, 1 to 1000
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub rounds: BenchRounds,
    /// How many VMs to keep ready for the standby measurements, 1 to 16
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub standby: StandbyCount,
}

fn default_environment() -> String {
    "debian:12".to_owned()
}

fn default_command() -> CommandLine {
    "true".to_owned().into()
}

impl Bench {
    /// What is measured.
    pub fn line(&self) -> CommandLine {
        match self.command.check() {
            Ok(()) => self.command.clone(),
            Err(_) => default_command(),
        }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Measured {
    pub environment: String,
    pub command: String,
    pub rounds: u32,
    /// `kvm`, `tcg` (emulation), or `none` (host process).
    pub accelerator: String,
    pub rows: Vec<Row>,
}

/// One way to run the command, in milliseconds from the call to the answer.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Row {
    pub name: String,
    pub median_ms: f64,
    pub min_ms: f64,
    pub p95_ms: f64,
    pub max_ms: f64,
    /// In the order of the rounds.
    pub all_ms: Vec<f64>,
}

impl Row {
    pub fn of(name: impl Into<String>, all_ms: Vec<f64>) -> Self {
        let mut sorted = all_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (sorted.len().saturating_sub(1) as f64 * share).round();
            sorted.get(index as usize).copied().unwrap_or_default()
        };
        Self {
            name: name.into(),
            median_ms: at(0.5),
            min_ms: at(0.0),
            p95_ms: at(0.95),
            max_ms: at(1.0),
            all_ms,
        }
    }
}

impl Report for Measured {
    fn report(&self, text: &mut Text) {
        text.out(format!(
            "`{}` in {}, accelerator {}, {} rounds, milliseconds",
            self.command, self.environment, self.accelerator, self.rounds
        ));
        text.out(format!(
            "{:<44} {:>8} {:>8} {:>8} {:>8}",
            "", "median", "min", "95 %", "max"
        ));
        for row in &self.rows {
            text.out(format!(
                "{:<44} {:>8.1} {:>8.1} {:>8.1} {:>8.1}",
                row.name, row.median_ms, row.min_ms, row.p95_ms, row.max_ms
            ));
        }
    }
}

impl Operation for Bench {
    type Output = Measured;

    const NAMES: Names = Names {
        operation: "bench",
        cli: Some(Cli {
            path: &["bench"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: None,
        sdk: None,
    };

    fn check(&self) -> Result<(), Error> {
        self.line().check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_orders_what_it_is_given_and_keeps_it() {
        let all: Vec<f64> = (1..=21).rev().map(f64::from).collect();
        let row = Row::of("one", all.clone());
        assert_eq!((row.median_ms, row.min_ms), (11.0, 1.0));
        assert_eq!((row.p95_ms, row.max_ms), (20.0, 21.0));
        assert_eq!(row.all_ms, all);
    }
}
