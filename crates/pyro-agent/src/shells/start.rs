//! Starts the program of a shell, with a terminal of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use pyro_wire::shells::{ShellOpen, Size};
use tokio::sync::oneshot;

use super::pty::Pty;
use crate::agent::{Agent, Place};
use crate::command::{self, SHELL, StartError};
use crate::group::Group;
use crate::reaper::Exit;
use crate::spawn::{Beginning, Program};

const BASH: &str = "/bin/bash";

/// What makes it a quiet shell: a prompt that can be recognised, no start-up files that change it,
/// and no history that keeps on the disk what was typed.
const VARIABLES: [(&str, &str); 4] = [
    ("PS1", "pyro$ "),
    ("PROMPT_COMMAND", ""),
    ("HISTFILE", ""),
    ("ENV", ""),
];

/// Whoever types without looking wants every letter taken as it is, here and in what runs in the
/// shell: no `!` that stands for an earlier command, no tab that completes a name.
const NO_EXPANSION: (&str, &str) = ("histchars", "");
const LINE_EDITOR: &str = "INPUTRC";
const SETTINGS_FOLDER: &str = "/run/pyro";
const SETTINGS_FILE: &str = "/run/pyro/inputrc";
const SETTINGS: &str = "\
# For shells that programs type into: a tab is a tab.
$include /etc/inputrc
$include ~/.inputrc
set disable-completion on
";

/// A program that runs at a terminal of its own.
pub(crate) struct OnTerminal<'a> {
    pub(crate) pty: Pty,
    pub(crate) leader: i32,
    pub(crate) group: Group<'a>,
    pub(crate) exit: oneshot::Receiver<Exit>,
}

/// A shell that runs.
pub(super) struct Started<'a> {
    pub(super) program: OnTerminal<'a>,
    /// Where it began, as the guest sees it.
    pub(super) cwd: OsString,
}

pub(super) fn start<'a>(agent: &'a Agent, request: &ShellOpen) -> Result<Started<'a>, StartError> {
    command::check_texts(&[], request.cwd.as_ref(), &request.env)?;
    let secrets = agent.secrets.environment(&request.secret_env)?;
    let cwd = command::folder(&agent.place, request.cwd.as_ref());
    let entered = command::open_folder(&cwd)?;
    let mut variables = command::environment(&agent.place, &cwd, &[]);
    for (name, value) in VARIABLES {
        variables.insert(name.into(), value.into());
    }
    if !request.for_person {
        let (name, value) = NO_EXPANSION;
        variables.insert(name.into(), value.into());
        // A guest whose root has broken its `/run` has completion.
        if agent.place == Place::Guest && write_settings().is_ok() {
            variables.insert(LINE_EDITOR.into(), SETTINGS_FILE.into());
        }
    }
    for (name, value) in request.env.iter().chain(&secrets) {
        variables.insert(command::text(name), command::text(value));
    }
    let words: Vec<OsString> = match Path::new(BASH).exists() {
        true => [BASH, "--noprofile", "--norc", "-i"].map(Into::into).into(),
        false => [SHELL, "-i"].map(Into::into).into(),
    };
    let program = start_on_terminal(agent, &words, variables, &entered, request.size)?;
    Ok(Started {
        program,
        cwd: cwd.into_os_string(),
    })
}

/// Starts a program in a group of its own, with a new terminal.
pub(crate) fn start_on_terminal<'a>(
    agent: &'a Agent,
    words: &[OsString],
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    entered: &File,
    size: Size,
) -> Result<OnTerminal<'a>, StartError> {
    let (pty, inside) = Pty::open(size)?;
    let standard = [inside.try_clone()?, inside.try_clone()?, inside];
    let program = Program::new(words, variables, standard)?;
    let inside = agent.groups.create();
    let started = program.start(&Beginning {
        cwd: entered.as_raw_fd(),
        entrance: inside.as_ref().map(|group| group.entrance.as_raw_fd()),
        dies_with_us: matches!(agent.place, Place::Host { .. }),
        terminal: true,
    });
    // Our copies of the other end, with which the terminal would never be hung up.
    drop(program);
    let leader = match started {
        Ok(pid) => pid,
        Err(error) => {
            if let Some(inside) = inside {
                agent.groups.clear_away(inside.into_path());
            }
            return Err(command::why_not(words, error));
        }
    };
    // No await since the process was started, see `Reaper`.
    let exit = agent.reaper.watch(leader);
    let group = Group::new(&agent.groups, agent.reaper.clone(), leader, inside);
    Ok(OnTerminal {
        pty,
        leader,
        group,
        exit,
    })
}

fn write_settings() -> io::Result<()> {
    if fs::read_to_string(SETTINGS_FILE).is_ok_and(|found| found == SETTINGS) {
        return Ok(());
    }
    fs::create_dir_all(SETTINGS_FOLDER)?;
    fs::write(SETTINGS_FILE, SETTINGS)
}
