//! Whether a command gets the terminal that a person sits at.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

use super::TimeoutSeconds;
use crate::{Caller, Error, PersonTerminal};

const INTERACTIVE: &str = "interactive";
const TTY: &str = "tty";
const NO_TTY: &str = "no_tty";
const JSON: &str = "json";
const TIMEOUT: &str = "timeout_seconds";

/// What was typed on a command line about its terminal. On every other surface nothing is, and a
/// command has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TtyArgs {
    mode: TtyMode,
    /// How long the command may take was typed too, and so is meant.
    timeout_is_given: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum TtyMode {
    #[default]
    Never,
    /// Where there is one, and all output goes to it.
    Auto,
    Always,
}

impl TtyArgs {
    /// The terminal that the command is to have.
    pub fn wanted<'a>(&self, caller: &'a Caller) -> Result<Option<&'a dyn PersonTerminal>, Error> {
        let terminal = caller.terminal();
        match self.mode {
            TtyMode::Never => Ok(None),
            TtyMode::Auto => Ok(terminal.filter(|terminal| terminal.shows_errors())),
            TtyMode::Always if terminal.is_some() => Ok(terminal),
            TtyMode::Always => Err(Error::invalid(
                "`--tty` needs a terminal, but standard input and output are not one",
            )
            .hint("Leave it out: the command reads standard input without it too")),
        }
    }

    /// Whether the command is to have one or not to run.
    pub fn is_insisted_on(&self) -> bool {
        self.mode == TtyMode::Always
    }

    /// How long the command may take. Whoever sits at the terminal that it has sees how long it
    /// takes, and ends it.
    pub fn limit(
        &self,
        terminal: Option<&dyn PersonTerminal>,
        timeout: TimeoutSeconds,
    ) -> Option<TimeoutSeconds> {
        (terminal.is_none() || self.timeout_is_given).then_some(timeout)
    }
}

impl clap::Args for TtyArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        let flag = |id: &'static str, short| Arg::new(id).short(short).action(ArgAction::SetTrue);
        command
            .arg(
                flag(INTERACTIVE, 'i')
                    .long("interactive")
                    .help("No effect: the command always reads standard input"),
            )
            .arg(
                flag(TTY, 't').long("tty").conflicts_with(JSON).help(
                    "Require a terminal for the command; by default it gets one if pyro has one",
                ),
            )
            .arg(
                flag(NO_TTY, 'T')
                    .long("no-tty")
                    .conflicts_with(TTY)
                    .help("Give the command no terminal, even if pyro has one"),
            )
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for TtyArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_set = |id| matches!(matches.try_get_one::<bool>(id), Ok(Some(true)));
        let mode = match (is_set(TTY), is_set(NO_TTY) || is_set(JSON)) {
            (true, _) => TtyMode::Always,
            (false, true) => TtyMode::Never,
            (false, false) => TtyMode::Auto,
        };
        let source = matches.value_source(TIMEOUT);
        Ok(Self {
            mode,
            timeout_is_given: source == Some(ValueSource::CommandLine),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
