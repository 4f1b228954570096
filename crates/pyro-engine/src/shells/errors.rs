//! What goes wrong with shells, in words.

use pyro_api::{Error, ErrorCode};
use pyro_wire::fault::{Fault, FaultCode};

const OPEN_ANOTHER: &str = "Open another with `pyro workspace shell open` (`shell_open`)";

/// Every shell ends with its VM.
pub(crate) fn all_gone(workspace: &str, shell: &str, why: Option<&str>) -> Error {
    let error = unknown(workspace, shell).because("shells end when their workspace stops");
    match why {
        Some(why) => error.because(format!("it is stopped: {why}")),
        None => error.because("it is stopped"),
    }
}

pub(crate) fn unknown(workspace: &str, shell: &str) -> Error {
    Error::new(
        ErrorCode::UnknownShell,
        format!("There is no shell `{shell}` in workspace `{workspace}`"),
    )
    .hint(OPEN_ANOTHER)
}

/// What the agent answered to a request about a shell that was open before.
pub(crate) fn refused(workspace: &str, shell: &str, doing: &str, fault: Fault) -> Error {
    let (code, hint) = match fault.code {
        FaultCode::NotFound => {
            return unknown(workspace, shell).because(
                "it was closed, or its workspace was stopped or reset since it was opened",
            );
        }
        FaultCode::Over => (
            ErrorCode::ShellEnded,
            "Its output can still be read with `pyro workspace shell read` (`shell_read`); then \
             close it with `shell close` (`shell_close`)",
        ),
        FaultCode::Conflict => (
            ErrorCode::InvalidArgument,
            "Give a longer prefix of the shell id",
        ),
        FaultCode::LineTooLong => (
            ErrorCode::InvalidArgument,
            "Write it with `pyro workspace file write` (`workspace_file_write`) to a file for the \
             program to read, or type it in shorter lines",
        ),
        FaultCode::Refused => (
            ErrorCode::WrongState,
            "Look at what it shows with `pyro workspace shell read` (`shell_read`), or interrupt it with \
             `shell signal` (`shell_signal`)",
        ),
        _ => (ErrorCode::Internal, OPEN_ANOTHER),
    };
    let mut error = Error::new(
        code,
        format!("Shell `{shell}` of workspace `{workspace}` could not {doing}"),
    )
    .because(fault.message);
    error.causes.extend(fault.detail);
    error.hint(hint)
}

/// A process of the host could do anything that its user can, with every key.
pub(crate) fn only_in_guests(workspace: &str) -> Error {
    Error::new(
        ErrorCode::Unsupported,
        format!("Workspace `{workspace}` has no interactive shells"),
    )
    .because("its commands run on this host and not in a VM")
    .hint(
        "Create a workspace without `--allow-host-compat` (`allow_host_compat`), or use \
         `pyro workspace exec` (`workspace_exec`)",
    )
}

pub(crate) fn no_terminal() -> Error {
    Error::new(
        ErrorCode::InvalidArgument,
        "`shell attach` needs a terminal, but standard input and output are not one",
    )
    .hint("Programs use `shell open`, `shell write` and `shell read`")
}
