//! What goes wrong with workspaces, in words.

use pyro_api::{Error, ErrorCode};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::launch::{EndReason, Ended};

use crate::engine::Engine;
use crate::error::WHICH_USERS;
use crate::machine::shim_client::ShimError;

const START_AGAIN: &str = "Its files are kept; the next use starts it again";

const AFTER_AN_END: &str = "Its disk is kept, unless it was reset; what a command wrote in the \
                            last seconds may be missing. The next use starts it again";

pub(crate) const WHAT_IS_THERE: &str =
    "`pyro workspace file list` (`workspace_file_list`) shows what is there";

/// Of a guest that does not answer as it should.
pub(crate) const STOP_IT: &str =
    "Stop it with `pyro workspace stop` (`workspace_stop`) and use it again: its files are kept";

pub(crate) fn unknown(reference: &str) -> Error {
    Error::new(
        ErrorCode::UnknownWorkspace,
        format!("There is no workspace `{reference}`"),
    )
    .hint("`pyro workspace list` (`workspace_list`) shows those that exist")
}

pub(crate) fn ambiguous(reference: &str, ids: &[String]) -> Error {
    Error::new(
        ErrorCode::AmbiguousWorkspace,
        format!("`{reference}` matches {} workspaces", ids.len()),
    )
    .because(ids.join(", "))
    .hint(
        "Give the id, or a longer prefix of it; `pyro workspace update ID --name NAME` \
         (`workspace_update`) renames one of them",
    )
}

/// The VM did not answer, or went away, while it was asked for something.
pub(crate) fn shim_unreachable(id: &str, doing: &str, error: &ShimError) -> Error {
    Error::new(
        ErrorCode::VmDied,
        format!("Workspace `{id}` could not be reached to {doing}"),
    )
    .caused_by(error)
    .hint(START_AGAIN)
}

/// Of a history with so many commands.
pub(crate) fn unknown_command(id: &str, sequence: u32, total: usize) -> Error {
    Error::invalid(format!("Workspace `{id}` has no command {sequence}"))
        .because(format!("its history has {total} commands"))
        .hint("`pyro workspace logs` (`workspace_logs`) without `sequence` shows them all")
}

impl Engine {
    /// The VM of a workspace went away under a request; perhaps with the workspace.
    pub(crate) fn went_away(&self, id: &str, doing: &str, ended: Option<Ended>) -> Error {
        self.if_deleted(id, doing)
            .unwrap_or_else(|| vm_went_away(id, doing, ended))
    }

    /// Why something of a workspace is missing, when somebody has deleted it meanwhile.
    pub(crate) fn if_deleted(&self, id: &str, doing: &str) -> Option<Error> {
        // A record goes before its VM and its files do.
        let is_there = self.store().and_then(|store| Ok(store.has_workspace(id)?));
        let deleted = Error::new(
            ErrorCode::VmDied,
            format!("Workspace `{id}` was deleted before it could {doing}"),
        )
        .hint("Its files are gone; `pyro workspace create` (`workspace_create`) creates another");
        matches!(is_there, Ok(false)).then_some(deleted)
    }
}

pub(crate) fn vm_went_away(id: &str, doing: &str, ended: Option<Ended>) -> Error {
    let (reason, why) = match ended {
        None => (
            EndReason::Unknown,
            "it was stopped or reset in the meantime, or its supervisor was killed".to_owned(),
        ),
        Some(ended) => (ended.reason, ended.message),
    };
    let (code, hint) = match reason {
        EndReason::NoSpace => (
            ErrorCode::NoSpace,
            "Free space on this host; the next use starts it again".to_owned(),
        ),
        EndReason::OutOfMemory => (
            ErrorCode::VmDied,
            format!(
                "{AFTER_AN_END}; have the command use less, or create a workspace with more \
                 `--mem-mib` (`mem_mib`)"
            ),
        ),
        _ => (ErrorCode::VmDied, AFTER_AN_END.to_owned()),
    };
    Error::new(
        code,
        format!("Workspace `{id}` stopped before it could {doing}"),
    )
    .because(why)
    .hint(hint)
}

/// What the agent answered to a request about a service.
pub(crate) fn service_refused(what: String, fault: Fault) -> Error {
    let (code, hint) = match fault.code {
        FaultCode::NotFound => (
            ErrorCode::InvalidArgument,
            "Check that its folder exists and that the workspace has the secrets",
        ),
        FaultCode::Conflict => (
            ErrorCode::Conflict,
            "Stop it first with `pyro workspace service stop` (`service_stop`), or use another name",
        ),
        FaultCode::Refused => (ErrorCode::InvalidArgument, "Nothing was started"),
        FaultCode::UnknownUser => (ErrorCode::InvalidArgument, WHICH_USERS),
        _ => (ErrorCode::Internal, "Nothing was started"),
    };
    let mut error = Error::new(code, what).because(fault.message);
    error.causes.extend(fault.detail);
    error.hint(hint)
}

/// What the agent answered to a request about files.
pub(crate) fn refused(what: String, fault: Fault) -> Error {
    let (code, hint) = match fault.code {
        FaultCode::NotFound => (ErrorCode::UnknownFile, WHAT_IS_THERE),
        FaultCode::BadPath => (
            ErrorCode::BadPath,
            "Give a path below `/workspace`; links are followed as long as they stay inside",
        ),
        FaultCode::Conflict => (ErrorCode::Conflict, "Look at what is there, then try again"),
        FaultCode::GuestNoSpace => (
            ErrorCode::GuestNoSpace,
            "Remove files in the workspace that are not needed; nothing was changed",
        ),
        FaultCode::GuestIo => (ErrorCode::GuestIo, "Nothing was changed"),
        FaultCode::Refused => (ErrorCode::InvalidArgument, "Nothing was changed"),
        FaultCode::UnknownUser => (ErrorCode::InvalidArgument, WHICH_USERS),
        FaultCode::TooMany => (
            ErrorCode::InvalidArgument,
            "`pyro workspace status` (`workspace_status`) lists the running commands, `exec` with \
             `stop` ends one",
        ),
        // Stopped, reset or deleted by somebody else meanwhile.
        FaultCode::Over => (ErrorCode::VmDied, AFTER_AN_END),
        _ => (ErrorCode::Internal, "Nothing was changed"),
    };
    let mut error = Error::new(code, what).because(fault.message);
    error.causes.extend(fault.detail);
    error.hint(hint)
}
