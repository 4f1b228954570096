//! What is asked for on the command line.

use anyhow::{Context, Result, bail, ensure};

use super::contender::{Contender, Goal};

const ROUNDS: usize = 10;

pub(crate) struct Choice {
    pub(crate) rounds: usize,
    /// Whether the table goes into the document.
    pub(crate) write: bool,
    /// Words of the rows that are wanted; none for all rows.
    only: Vec<String>,
}

impl Choice {
    /// `[ROUNDS] [--only WORDS]… [--write]`
    pub(crate) fn read(args: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut choice = Self {
            rounds: ROUNDS,
            write: false,
            only: Vec::new(),
        };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--write" => choice.write = true,
                "--only" => {
                    let words = args.next().context("--only needs words of a row")?;
                    choice.only.push(words.to_lowercase());
                }
                rounds => {
                    choice.rounds = rounds.parse().with_context(|| {
                        format!("ROUNDS must be a whole number, not `{rounds}`")
                    })?;
                }
            }
        }
        ensure!(choice.rounds > 0, "ROUNDS must be at least 1");
        if choice.write && !choice.only.is_empty() {
            bail!("--write keeps whole tables: leave out --only");
        }
        Ok(choice)
    }

    /// Whether a row of this name was asked for.
    pub(crate) fn wants(&self, label: &str) -> bool {
        let label = label.to_lowercase();
        self.only.is_empty() || self.only.iter().any(|words| label.contains(words.as_str()))
    }

    /// The rows that were asked for, and those that they are compared with.
    pub(crate) fn of(&self, contenders: Vec<Contender>) -> Vec<Contender> {
        let wanted: Vec<&Contender> = contenders
            .iter()
            .filter(|contender| self.wants(&contender.label))
            .collect();
        let compared = |other: &Contender| {
            wanted.iter().any(|one| {
                let yardstick = other.yardstick && one.league == other.league;
                let beside =
                    |goal: &Goal| matches!(goal, Goal::Beside(_, label) if *label == other.label);
                yardstick || one.goals.iter().any(beside)
            })
        };
        let keep: Vec<bool> = contenders
            .iter()
            .map(|contender| self.wants(&contender.label) || compared(contender))
            .collect();
        contenders
            .into_iter()
            .zip(keep)
            .filter_map(|(contender, keep)| keep.then_some(contender))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::contender::{Errand, League};
    use super::super::process::Process;
    use super::*;

    fn read(args: &[&str]) -> Result<Choice> {
        Choice::read(args.iter().map(|arg| (*arg).to_owned()))
    }

    fn row(label: &str, errand: Errand) -> Contender {
        Contender::new(label, Process::new(["true"])).league(League::Fresh(errand))
    }

    #[test]
    fn rows_come_with_what_they_are_compared_with() {
        let rows = vec![
            row("docker git", Errand::Git).yardstick(),
            row("docker true", Errand::True).yardstick(),
            row("a VM", Errand::Python),
            row("a VM of git", Errand::Git),
            row("a Sandbox", Errand::True).goal([Goal::Beside(0.5, "a VM".to_owned())]),
        ];
        let chosen = read(&["3", "--only", "sandbox"]).expect("read").of(rows);
        let labels: Vec<&str> = chosen.iter().map(|row| row.label.as_str()).collect();
        assert_eq!(labels, ["docker true", "a VM", "a Sandbox"]);
    }

    #[test]
    fn a_part_of_the_table_is_not_written() {
        assert!(read(&["--write", "--only", "cp"]).is_err());
        let all = read(&["--write", "2"]).expect("read");
        assert!(all.write && all.rounds == 2 && all.wants("anything"));
        assert!(read(&["--only"]).is_err());
        assert!(read(&["0"]).is_err());
    }
}
