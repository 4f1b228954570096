//! Commands that print documents made from the command tree: completions and manual pages.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

const COMPLETIONS: &str = "completions";
const MAN: &str = "man";
const SHELL: &str = "shell";
const COMMAND: &str = "command";

pub(crate) fn commands() -> [Command; 2] {
    [
        Command::new(COMPLETIONS)
            .about("Print a shell completion script")
            .arg(
                Arg::new(SHELL)
                    .value_name("SHELL")
                    .help("The shell that the script is for")
                    .required(true)
                    .value_parser(value_parser!(Shell)),
            ),
        Command::new(MAN)
            .about("Print the manual page of pyro, or of one of its commands")
            .arg(
                Arg::new(COMMAND)
                    .value_name("COMMAND")
                    .help("The command, as in `pyro man env pull`")
                    .num_args(0..),
            ),
    ]
}

/// Prints what was asked for; `None` when it was something else.
pub(crate) fn print(root: &Command, matches: &ArgMatches) -> Option<ExitCode> {
    let written = match matches.subcommand()? {
        (COMPLETIONS, matches) => completions(root.clone(), *matches.get_one::<Shell>(SHELL)?),
        (MAN, matches) => {
            let words = matches.get_many::<String>(COMMAND).unwrap_or_default();
            manual(root, &words.map(String::as_str).collect::<Vec<_>>())
        }
        _ => return None,
    };
    Some(match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("[error] {error}");
            ExitCode::FAILURE
        }
    })
}

fn completions(mut root: Command, shell: Shell) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut root, "pyro", &mut script);
    io::stdout().write_all(&script)
}

fn manual(root: &Command, words: &[&str]) -> io::Result<()> {
    let mut command = root.clone();
    command.build();
    let mut title = "pyro".to_owned();
    for word in words {
        command = command
            .find_subcommand(word)
            .cloned()
            .ok_or_else(|| io::Error::other(format!("There is no command `{title} {word}`")))?;
        title = format!("{title}-{word}");
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command.name(title.clone()).display_name(title)).render(&mut page)?;
    io::stdout().write_all(&page)
}
