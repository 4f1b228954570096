//! A command in the namespaces of a sandbox; this is `pyro shim --enter PIDFD PROGRAM ARGUMENTS`.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::sys::signal::Signal;
use pyro_wire::fault::{Fault, FaultCode};
use tokio::time::timeout;

use super::sandbox::{NAME, RUNSC, STATE};
use crate::backend::child::{Inherit, describe, spawn};

/// How long runsc may take to reach the guest's kernel and to have its answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Has runsc do something to a sandbox that runs: only in there its state is to be seen.
pub(super) async fn runsc(sandbox: BorrowedFd<'_>, verb: &str) -> Result<(), Fault> {
    let failed =
        |words: String| Fault::new(FaultCode::VmmFailed, format!("`runsc {verb}` {words}"));
    let mut command = tokio::process::Command::new("/proc/self/exe");
    command
        .args(["shim", "--enter"])
        .arg(sandbox.as_raw_fd().to_string())
        .args([RUNSC, "--root", STATE, "--ignore-cgroups", verb, NAME])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped());
    let child = spawn(command, &Inherit::SameNumbers(&[sandbox]), Signal::SIGKILL)
        .map_err(|error| failed(format!("could not be started: {error}")))?;
    // Dropping the future kills the child.
    let ended = timeout(TIMEOUT, child.wait_with_output()).await;
    let ended = ended.map_err(|_| failed("did not end in time".into()))?;
    let ended = ended.map_err(|error| failed(format!("was lost: {error}")))?;
    if ended.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&ended.stderr);
    let last = words.trim().lines().last().unwrap_or_default();
    Err(failed(format!("{}: {last}", describe(ended.status))))
}

/// See [`crate::enter_sandbox`].
pub(crate) fn run(pidfd: &OsStr, program: &OsStr, arguments: &[&OsStr]) -> ExitCode {
    match enter_and_run(pidfd, program, arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("the sandbox could not be entered: {error}");
            ExitCode::FAILURE
        }
    }
}

fn enter_and_run(pidfd: &OsStr, program: &OsStr, arguments: &[&OsStr]) -> io::Result<ExitCode> {
    let number = pidfd.to_str().and_then(|number| number.parse().ok());
    let number: i32 = number.ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: whoever started this passed the descriptor, and it stays open until the end.
    let sandbox = unsafe { BorrowedFd::borrow_raw(number) };
    pyro_namespace::enter(sandbox)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    // SAFETY: one system call, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?));
    }
    let status = command.status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
