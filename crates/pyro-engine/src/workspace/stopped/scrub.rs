//! Takes out of an image what only a running pyro has a use for: the files that the agent keeps on
//! the disk. (Secrets, sockets and the like are on a tmpfs of the guest and never on its disk.)
//!
//! Done by `debugfs`, which is part of what images are made with; pyro itself writes to no file
//! system. It sees the copy only.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pyro_api::{Error, ErrorCode};
use pyro_disk::{AGENT_STATE, FileKind, Tree};

use crate::error::host_io;

/// A guest may have put its own files there.
const MOST_FILES: usize = 10_000;

/// How long the tool may take.
const PATIENCE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(5);

/// The user's own PATH may lack it.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];

/// Blocks.
pub(crate) fn agent_files(tree: &Tree, image: &Path, what: &str) -> Result<(), Error> {
    let Some(commands) = commands(tree) else {
        return Ok(());
    };
    let tool = FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join("debugfs"))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::new(ErrorCode::ToolMissing, what)
                .because("`debugfs` is needed to remove the agent's own files, but was not found")
                .hint("Install it with `sudo apt-get install e2fsprogs`")
        })?;
    let script = script_beside(image);
    std::fs::write(&script, commands).map_err(|error| host_io(what, &error))?;
    let ended = run(Command::new(tool)
        .args(["-w", "-f"])
        .arg(&script)
        .arg(image)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null()));
    let _ = std::fs::remove_file(&script);
    match ended {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::new(ErrorCode::Damaged, what)
            .because("`debugfs` could not remove the agent's own files from the copy")
            .hint(
                "`pyro workspace export` (`workspace_export`) can still copy files out of the \
                 running workspace",
            )),
        Err(error) => Err(host_io(what, &error)),
    }
}

/// In the private folder that the image is made in.
fn script_beside(image: &Path) -> PathBuf {
    image.with_file_name("debugfs-commands")
}

/// What removes the agent's files; `None`: there are none.
fn commands(tree: &Tree) -> Option<String> {
    let is_folder = tree
        .stat(AGENT_STATE)
        .ok()?
        .is_some_and(|stat| stat.kind == FileKind::Directory);
    if !is_folder {
        return None;
    }
    let mut files = Vec::new();
    let mut folders = vec![AGENT_STATE.to_vec()];
    // What is strange there is not the agent's, and is left alone with the folders it is in.
    let _ = tree.walk(AGENT_STATE, |path, stat| {
        if files.len() + folders.len() < MOST_FILES && is_plain(path) {
            match stat.kind {
                FileKind::Directory => folders.push(path.to_vec()),
                _ => files.push(path.to_vec()),
            }
        }
    });
    let mut commands = String::new();
    let lines = files.iter().map(|path| ("rm", path));
    // The deepest come last in a walk.
    for (command, path) in lines.chain(folders.iter().rev().map(|path| ("rmdir", path))) {
        let _ = writeln!(commands, "{command} /{}", String::from_utf8_lossy(path));
    }
    Some(commands)
}

/// Whether the tool takes it for what it is.
fn is_plain(path: &[u8]) -> bool {
    path.iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(byte))
}

/// Runs a tool to its end, but not for ever. Whether it went well.
fn run(command: &mut Command) -> std::io::Result<bool> {
    let mut child = command.spawn()?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(POLL);
    }
}
