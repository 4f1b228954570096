//! What takes part in a benchmark: a piece of work that has its turn in each round.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;
use pyro_api::values::CommandLine;

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
    /// What changed among very many files.
    Reviewed,
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
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// Times the median of the league's yardstick.
    Ratio(f64),
    Milliseconds(f64),
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
    pub(crate) goal: Option<Goal>,
    pub(crate) part: Part,
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
            goal: None,
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

    pub(crate) fn goal(mut self, goal: Option<Goal>) -> Self {
        self.goal = goal;
        self
    }
}
