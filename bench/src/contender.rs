//! What takes part in a benchmark: a piece of work that has its turn in each round.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;
use pyro_api::values::{CommandLine, Isolation};

use super::copies::Load;
use super::port::Page;
use super::work::Task;

/// Rounds before those that count: templates and page cache are filled.
pub(crate) const WARM_UP_ROUNDS: usize = 1;

/// The command that contenders run, everywhere the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    True,
    Git,
    Python,
}

impl Errand {
    pub(crate) const ALL: [Self; 3] = [Self::True, Self::Git, Self::Python];

    pub(crate) fn words(self) -> &'static [&'static str] {
        match self {
            Self::True => &["true"],
            Self::Git => &["git", "--version"],
            Self::Python => &["python3", "-c", "print(1)"],
        }
    }

    /// As the command line reads it: one word is a line for a login shell, several are a program.
    pub(crate) fn as_typed(self) -> CommandLine {
        match self.words() {
            [line] => CommandLine::Shell(line.as_bytes().to_vec()),
            words => {
                CommandLine::Program(words.iter().map(|word| word.as_bytes().to_vec()).collect())
            }
        }
    }
}

impl fmt::Display for Errand {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::True => "true",
            Self::Git => "git --version",
            Self::Python => "python3 -c 'print(1)'",
        })
    }
}

/// Whose medians may be divided by each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum League {
    /// A new VM or container for one command.
    Fresh(Errand),
    /// A command in one that already runs.
    Running(Errand),
    /// A new VM or container with the files of a project.
    Seeded,
    /// Many or large files, from one place to another.
    Copied(Load),
    /// What changed among very many files, in a guest of one kind.
    Reviewed(Isolation),
    /// A command in a workspace that stands on snapshots.
    DeepExec,
    /// The same, that reads from the disk.
    DeepRead,
    /// Many bytes from outside.
    Bulk,
    /// A connection to the outside.
    Connect,
    /// An answer over a published port.
    Port(Page),
    /// Work that takes a while.
    Work(Task),
}

/// What a median should not exceed.
#[derive(Clone, Debug)]
pub(crate) enum Goal {
    /// Times the median of the league's yardstick.
    Ratio(f64),
    Milliseconds(f64),
    /// Times the median of the row of this label.
    Beside(f64, String),
    /// Not a goal on this host, and why.
    NotHere(&'static str),
}

/// One turn of the work: what it took. What is not to be counted happens outside the time.
pub(crate) type Turn<'a> = Pin<Box<dyn Future<Output = Result<Duration>> + 'a>>;

pub(crate) trait Work {
    fn turn(&mut self) -> Turn<'_>;

    /// What else was seen in the counted rounds, for below the table.
    fn remark(&self) -> Option<String> {
        None
    }
}

pub(crate) enum Part {
    Plays(Box<dyn Work>),
    /// Why it does not.
    Misses(String),
}

pub(crate) struct Contender {
    pub(crate) label: String,
    pub(crate) league: Option<League>,
    /// Whether the others of its league are compared with it.
    pub(crate) yardstick: bool,
    pub(crate) goals: Vec<Goal>,
    /// In how many rounds at most it has a turn. One that has few has none in the round that is not counted.
    pub(crate) at_most: Option<usize>,
    pub(crate) part: Part,
}

/// Why a contender cannot play after all: an error of its first turn, which then is no failure.
#[derive(Debug)]
pub(crate) struct NotHere(pub(crate) &'static str);

impl fmt::Display for NotHere {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.0)
    }
}

/// How often a turn of [`League::Running`] is repeated at once: what runs already is used again
/// and again, a new VM or container once.
const IN_A_ROW: usize = 5;

impl Contender {
    pub(crate) fn new(label: impl Into<String>, work: impl Work + 'static) -> Self {
        Self::with(label, Part::Plays(Box::new(work)))
    }

    pub(crate) fn missing(label: impl Into<String>, why: impl Into<String>) -> Self {
        Self::with(label, Part::Misses(why.into()))
    }

    fn with(label: impl Into<String>, part: Part) -> Self {
        Self {
            label: label.into(),
            league: None,
            yardstick: false,
            goals: Vec::new(),
            at_most: None,
            part,
        }
    }

    pub(crate) fn league(mut self, league: League) -> Self {
        self.league = Some(league);
        self
    }

    /// Turns in each round, all of them counted.
    pub(crate) fn turns(&self) -> usize {
        match self.league {
            Some(League::Running(_) | League::DeepExec | League::Port(_)) => IN_A_ROW,
            Some(_) | None => 1,
        }
    }

    pub(crate) fn yardstick(mut self) -> Self {
        self.yardstick = true;
        self
    }

    /// Adds goals; none, one or several.
    pub(crate) fn goal(mut self, goals: impl IntoIterator<Item = Goal>) -> Self {
        self.goals.extend(goals);
        self
    }

    pub(crate) fn at_most(mut self, rounds: usize) -> Self {
        self.at_most = Some(rounds);
        self
    }

    /// Whether it has a turn in this one of the counted rounds: few turns are spread over all of them.
    pub(crate) fn plays_in(&self, round: usize, rounds: usize) -> bool {
        let turns = self.at_most.unwrap_or(rounds).min(rounds);
        (round + 1) * turns / rounds > round * turns / rounds
    }
}

#[cfg(test)]
mod tests {
    use super::super::process::Process;
    use super::*;

    #[test]
    fn few_turns_are_spread_over_the_rounds() {
        let played = |at_most: Option<usize>, rounds: usize| -> Vec<usize> {
            let mut contender = Contender::new("one", Process::new(["true"]));
            contender.at_most = at_most;
            (0..rounds)
                .filter(|round| contender.plays_in(*round, rounds))
                .collect()
        };
        assert_eq!(played(None, 3), [0, 1, 2]);
        assert_eq!(played(Some(3), 10), [3, 6, 9]);
        assert_eq!(played(Some(1), 10), [9]);
        assert_eq!(played(Some(3), 2), [0, 1]);
    }
}
