//! A command in the namespaces of a sandbox; this is `pyro shim --enter PIDFD PROGRAM ARGUMENTS`.

use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::signal::Signal;

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
