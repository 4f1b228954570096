//! Starts the program of a shell, with a terminal of its own.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use pyro_wire::shells::ShellOpen;

use crate::command::{self, SHELL, StartError};
use crate::launcher::{Launcher, Process};
use crate::pty::Pty;

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

/// A shell that runs.
pub(super) struct Started<'a> {
    pub(super) pty: Pty,
    pub(super) process: Process<'a>,
    /// Where it began, as the guest sees it.
    pub(super) cwd: OsString,
}

pub(super) fn start<'a>(
    launcher: &'a Launcher,
    request: &ShellOpen,
) -> Result<Started<'a>, StartError> {
    command::check_texts(
        &[],
        request.cwd.as_ref(),
        request.user.as_ref(),
        &request.env,
    )?;
    let secrets = launcher.secrets.environment(&request.secret_env)?;
    let user = launcher.user(request.user.as_ref())?;
    let cwd = command::folder(&launcher.backend, request.cwd.as_ref());
    let entered = command::open_folder(&cwd)?;
    let mut env = command::environment(
        &launcher.backend,
        user.as_ref(),
        command::shell(),
        &cwd,
        &launcher.variables.all(),
    );
    for (name, value) in VARIABLES {
        env.insert(name.into(), value.into());
    }
    if !request.for_person {
        let (name, value) = NO_EXPANSION;
        env.insert(name.into(), value.into());
        // A guest whose root has broken its `/run` has completion.
        if launcher.backend.is_guest() && write_settings().is_ok() {
            env.insert(LINE_EDITOR.into(), SETTINGS_FILE.into());
        }
    }
    for (name, value) in request.env.iter().chain(&secrets) {
        env.insert(command::text(name), command::text(value));
    }
    let argv: Vec<OsString> = match Path::new(BASH).exists() {
        true => [BASH, "--noprofile", "--norc", "-i"].map(Into::into).into(),
        false => [SHELL, "-i"].map(Into::into).into(),
    };
    let user = user.as_ref();
    let (pty, process) = launcher.spawn_at_terminal(&argv, env, &entered, user, request.size)?;
    Ok(Started {
        pty,
        process,
        cwd: cwd.into_os_string(),
    })
}

fn write_settings() -> io::Result<()> {
    if fs::read_to_string(SETTINGS_FILE).is_ok_and(|found| found == SETTINGS) {
        return Ok(());
    }
    fs::create_dir_all(SETTINGS_FOLDER)?;
    fs::write(SETTINGS_FILE, SETTINGS)
}
