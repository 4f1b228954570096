//! Runs a tool so that it ends when it should: with pyro, at its deadline, when cancelled.
//!
//! Nothing that a tool prints reaches the user's terminal, and it gets no input.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::ProgressMonitor;

/// How often a running tool's watcher looks up.
const TICK: u16 = 100;
/// How long a killed tool's last descendants may take to let go of the pipe.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Before the user's own PATH: it may lack these (`mke2fs` lives in sbin), and what comes
/// first in it (a conda `tar`, a wrapped `perl`) is not what Debian's tools expect.
const SYSTEM_PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// What tools inherit; all else (TMPDIR, PERL5LIB, APT_CONFIG…) would change what they do.
const KEPT_VARIABLES: [&str; 5] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "all_proxy",
];

#[derive(Debug)]
pub(crate) enum Ended {
    Exited(ExitStatus),
    Cancelled,
    TimedOut,
}

/// The folders where tools are looked for.
pub(crate) fn search_path() -> Vec<PathBuf> {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = SYSTEM_PATH.iter().map(PathBuf::from).collect();
    for folder in std::env::split_paths(&own) {
        if folder.is_absolute() && !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// A command with a clean environment, no input and no output, that dies with this thread.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let path = std::env::join_paths(search_path()).unwrap_or(OsString::from("/usr/bin:/bin"));
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", path)
        .env("LC_ALL", "C")
        .env("HOME", "/")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C in the terminal is for pyro, which then cancels and tidies up.
        .process_group(0);
    for name in KEPT_VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // SAFETY: called right before the exec; prctl, getppid and _exit are async-signal-safe
    // and touch no memory of ours.
    unsafe {
        let parent = libc::getpid();
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before we asked to be told.
            if libc::getppid() != parent {
                libc::_exit(1);
            }
            Ok(())
        });
    }
    command
}

/// Runs `command` to its end and hands each line that it prints, on either stream, to `on_line`.
pub(crate) fn run(
    mut command: Command,
    deadline: Duration,
    monitor: &dyn ProgressMonitor,
    on_line: &mut dyn FnMut(&str),
) -> io::Result<Ended> {
    let until = Instant::now() + deadline;
    let (mut output, input) = io::pipe()?;
    command.stdout(input.try_clone()?).stderr(input);
    let mut child = KilledOnDrop(command.spawn()?);
    // The command holds the pipe's other end; without this there would be no end of file.
    drop(command);

    let mut lines = Lines::default();
    let mut buffer = [0; 8192];
    let mut outcome = None;
    let mut until_eof = until;
    loop {
        if readable(&output)? {
            match output.read(&mut buffer)? {
                0 => break,
                read => lines.push(&buffer[..read], on_line),
            }
        }
        let now = Instant::now();
        if outcome.is_none() && (monitor.cancelled() || now >= until) {
            outcome = Some(if now >= until {
                Ended::TimedOut
            } else {
                Ended::Cancelled
            });
            let _ = child.0.kill();
            until_eof = now + DRAIN_TIMEOUT;
        }
        if outcome.is_some() && now >= until_eof {
            break;
        }
    }
    lines.finish(on_line);
    // Who closed its output and does not end would hold us here for ever.
    while outcome.is_none() {
        if let Some(status) = child.0.try_wait()? {
            return Ok(Ended::Exited(status));
        }
        if monitor.cancelled() {
            outcome = Some(Ended::Cancelled);
        } else if Instant::now() >= until {
            outcome = Some(Ended::TimedOut);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(outcome.unwrap_or(Ended::Cancelled))
}

fn readable(pipe: &io::PipeReader) -> io::Result<bool> {
    let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(TICK)) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Cuts a stream of bytes into lines; a carriage return ends one too, as in progress bars.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(&str)) {
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' {
                self.finish(on_line);
            } else if self.0.len() < 4096 {
                self.0.push(byte);
            }
        }
    }

    fn finish(&mut self, on_line: &mut dyn FnMut(&str)) {
        let line = String::from_utf8_lossy(&self.0);
        let line = line.trim();
        if !line.is_empty() {
            on_line(line);
        }
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoMonitor;
    use crate::testing::CancelAfter;

    fn shell(script: &str) -> Command {
        let mut command = command("sh");
        command.arg("-c").arg(script);
        command
    }

    #[test]
    fn both_streams_come_as_lines_and_the_status_is_told() {
        let mut lines = Vec::new();
        let ended = run(
            shell("echo one; printf 'two\\rthree' >&2; exit 3"),
            Duration::from_secs(20),
            &NoMonitor,
            &mut |line| lines.push(line.to_owned()),
        );
        assert!(matches!(ended.unwrap(), Ended::Exited(status) if status.code() == Some(3)));
        assert_eq!(lines, ["one", "two", "three"]);
    }

    #[test]
    fn a_tool_is_ended_at_its_deadline_and_when_cancelled() {
        let start = Instant::now();
        let short = Duration::from_millis(50);
        let ended = run(shell("exec sleep 30"), short, &NoMonitor, &mut |_| {});
        assert!(matches!(ended.unwrap(), Ended::TimedOut));
        let long = Duration::from_secs(30);
        let ended = run(
            shell("exec sleep 30"),
            long,
            &CancelAfter::calls(2),
            &mut |_| {},
        );
        assert!(matches!(ended.unwrap(), Ended::Cancelled));
        // Even one that shut its output.
        let deaf = shell("exec sleep 30 >&- 2>&-");
        let ended = run(deaf, short, &NoMonitor, &mut |_| {});
        assert!(matches!(ended.unwrap(), Ended::TimedOut));
        // None of them was waited for to its own end.
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn tools_see_a_clean_environment() {
        let mut lines = Vec::new();
        run(
            shell("env | cut -d= -f1"),
            Duration::from_secs(20),
            &NoMonitor,
            &mut |line| {
                lines.push(line.to_owned());
            },
        )
        .unwrap();
        assert!(
            !lines.iter().any(|name| name.starts_with("CARGO")),
            "{lines:?}"
        );
        assert!(lines.iter().any(|name| name == "LC_ALL"));
    }
}
