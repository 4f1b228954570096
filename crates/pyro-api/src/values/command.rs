//! A guest command as it was given: one line for a shell, or a program with its arguments.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use serde::{Deserialize, Serialize, Serializer};

use super::inline_schema::inline_schema;
use crate::Error;

/// The identifier of the arguments after `--` on the command line.
const COMMAND_ARGS: &str = "command_args";

/// The bytes of an argument that Linux still starts a program with; a zero follows it there.
const LONGEST_WORD: usize = 32 * 4096 - 1;

/// A command. In JSON one string, which a login shell reads. On the command line everything after
/// `--`: one argument is a line for a login shell, several are a program and its arguments, run
/// as they are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum CommandLine {
    Shell(Vec<u8>),
    Program(Vec<Vec<u8>>),
}

impl CommandLine {
    /// Whether nothing was given at all.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether nothing of it would run.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Shell(line) => line.iter().all(u8::is_ascii_whitespace),
            Self::Program(words) => words.first().is_none_or(Vec::is_empty),
        }
    }

    /// Refuses a command of which nothing would run, or that no kernel takes.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_empty() {
            return Err(Error::invalid("No command was given").hint(
                "Give one (`command`), such as `git --version`; on the command line it goes after `--`, as in \
                 `pyro run debian:12 -- git --version`",
            ));
        }
        let words = match self {
            Self::Shell(line) => std::slice::from_ref(line),
            Self::Program(words) => words,
        };
        if words.iter().any(|word| word.contains(&0)) {
            return Err(
                Error::invalid("The command contains a NUL byte, which is not allowed")
                    .hint("Write it as an escape, as in `printf 'a\\0b'`"),
            );
        }
        if let Some(word) = words.iter().find(|word| word.len() > LONGEST_WORD) {
            return Err(Error::invalid(format!(
                "The command has an argument of {} bytes, and Linux allows at most {LONGEST_WORD}",
                word.len()
            ))
            .hint(
                "Write it to a file with `pyro workspace file write` (`workspace_file_write`) and \
                 run that, as in `sh script.sh`",
            ));
        }
        Ok(())
    }

    fn from_words(mut words: Vec<Vec<u8>>) -> Self {
        match words.len() {
            1 => Self::Shell(words.remove(0)),
            _ => Self::Program(words),
        }
    }
}

/// None.
impl Default for CommandLine {
    fn default() -> Self {
        Self::Program(Vec::new())
    }
}

/// As one would type it into a shell.
impl std::fmt::Display for CommandLine {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shell(line) => to.write_str(&String::from_utf8_lossy(line)),
            Self::Program(words) => {
                for (index, word) in words.iter().enumerate() {
                    if index > 0 {
                        to.write_str(" ")?;
                    }
                    to.write_str(&quoted(&String::from_utf8_lossy(word)))?;
                }
                Ok(())
            }
        }
    }
}

/// POSIX quoting of one word.
pub(crate) fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', "'\"'\"'")))
    }
}

impl From<String> for CommandLine {
    fn from(line: String) -> Self {
        Self::Shell(line.into_bytes())
    }
}

impl Serialize for CommandLine {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

inline_schema!(CommandLine, { "type": "string" });

impl clap::Args for CommandLine {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.arg(
            Arg::new(COMMAND_ARGS)
                .value_name("ARG")
                .help(
                    "The command: one argument is a command line for `/bin/sh -l`, several are a \
                     program and its arguments",
                )
                .value_parser(value_parser!(OsString))
                .num_args(0..)
                .action(ArgAction::Append)
                .last(true),
        )
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for CommandLine {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let words = matches
            .get_many::<OsString>(COMMAND_ARGS)
            .unwrap_or_default()
            .map(|word| word.clone().into_vec())
            .collect();
        Ok(Self::from_words(words))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> CommandLine {
        CommandLine::from_words(words.iter().map(|word| word.as_bytes().to_vec()).collect())
    }

    #[test]
    fn one_argument_is_a_line_and_several_are_a_program() {
        assert_eq!(words(&["echo a b"]), CommandLine::Shell(b"echo a b".into()));
        assert_eq!(
            words(&["echo", "a b"]),
            CommandLine::Program(vec![b"echo".into(), b"a b".into()])
        );
    }

    #[test]
    fn a_program_is_shown_as_one_would_type_it() {
        assert_eq!(
            words(&["sh", "-c", "it's $HOME", ""]).to_string(),
            r#"sh -c 'it'"'"'s $HOME' ''"#
        );
    }

    #[test]
    fn a_nul_byte_is_refused() {
        for held in [words(&["a\0b"]), words(&["echo", "a\0"])] {
            let refused = held.check().unwrap_err();
            assert!(refused.error.contains("NUL"), "{refused:?}");
        }
    }

    #[test]
    fn an_argument_that_no_kernel_takes_is_refused() {
        let line = |bytes| CommandLine::Shell(vec![b'x'; bytes]);
        line(LONGEST_WORD).check().unwrap();
        let refused = line(LONGEST_WORD + 1).check().unwrap_err();
        assert!(refused.error.contains("131072 bytes"), "{refused:?}");
    }

    #[test]
    fn a_command_of_nothing_is_refused() {
        for nothing in [words(&[]), words(&[""]), words(&[" \n"]), words(&["", "x"])] {
            assert!(nothing.check().is_err(), "{nothing:?}");
        }
        assert!(words(&["true"]).check().is_ok());
    }
}
