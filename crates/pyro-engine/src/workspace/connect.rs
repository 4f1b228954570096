//! A line to a workspace, whose VM is started for it when it does not run: to the guest's agent, or to who
//! serves its files.

use pyro_api::values::VmState;
use pyro_api::{Caller, Error, ErrorCode, Event};
use pyro_wire::fault::FaultCode;
use tokio::net::UnixStream;

use super::errors::{STOP_IT, WHAT_IS_THERE, refused, shim_unreachable};
use super::files::FilesError;
use super::find::tombstone;
use super::lock::LockMode;
use crate::engine::Engine;
use crate::error::cancelled;
use crate::machine::end;
use crate::machine::facts::TREE;
use crate::machine::folder::VmFolder;
use crate::machine::shim_client::{self, ShimError};
use crate::store::StoredWorkspace;

/// How often a VM may end between its start and the connection before that is an error.
const TRIES: u32 = 3;

/// Whom a line leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The guest's agent, which executes things.
    Agent,
    /// Who serves files, and nothing else: in a VM the same.
    Files,
}

impl Whom {
    async fn line(self, vm: &VmFolder) -> Result<UnixStream, ShimError> {
        match self {
            Self::Agent => shim_client::agent(vm).await,
            Self::Files => shim_client::files(vm).await,
        }
    }
}

/// A stream to a running workspace.
pub(crate) struct Connected {
    pub(crate) stored: StoredWorkspace,
    pub(crate) stream: UnixStream,
    /// Whether the VM had to be started.
    pub(crate) started: bool,
}

impl Engine {
    /// Connects to the agent of a workspace in order to `doing`, which completes "could not be
    /// reached to …".
    pub(crate) async fn connect(
        &self,
        reference: &str,
        doing: &str,
        caller: &Caller,
    ) -> Result<Connected, Error> {
        self.connect_to(Whom::Agent, reference, doing, caller).await
    }

    /// The same for requests about files, to who serves them.
    pub(crate) async fn connect_files(
        &self,
        reference: &str,
        doing: &str,
        caller: &Caller,
    ) -> Result<Connected, Error> {
        self.connect_to(Whom::Files, reference, doing, caller).await
    }

    async fn connect_to(
        &self,
        whom: Whom,
        reference: &str,
        doing: &str,
        caller: &Caller,
    ) -> Result<Connected, Error> {
        let found = self.find_workspace(reference)?;
        let id = found.record.workspace_id;
        let folder = self.workspace_folder(&id);
        if folder.has_other_vms(found.generation) {
            // Where that fails the next one tries again.
            let _ = self.end_orphans(&id).await;
        }
        let mut started = false;
        let mut last = None;
        for _ in 0..TRIES {
            {
                let _held = folder.lock(&id, LockMode::Shared).await?;
                let stored = self.reload_workspace(&id)?;
                let vm = self.vm_of(&stored);
                if stored.record.state == VmState::Started {
                    match whom.line(&vm).await {
                        Ok(stream) => {
                            return Ok(Connected {
                                stored,
                                stream,
                                started,
                            });
                        }
                        // It may just be stopping for want of use, or was killed and has its
                        // memory still to give back.
                        Err(error) => {
                            if matches!(error, ShimError::Connect { .. } | ShimError::Broken { .. })
                            {
                                let _ = end::wait_until_gone(&vm, end::EXIT_TIMEOUT).await;
                            }
                            last = Some(error);
                        }
                    }
                }
            }
            let _held = folder.lock(&id, LockMode::Exclusive).await?;
            let stored = self.reload_workspace(&id)?;
            if stored.record.state != VmState::Started {
                self.wake_workspace(&stored, caller).await?;
                started = true;
            }
        }
        Err(match last {
            Some(error) => shim_unreachable(&id, doing, &error),
            None => self.went_away(&id, doing, None),
        })
    }

    /// Starts a stopped workspace for something else, and says so. The lock is held exclusively.
    pub(crate) async fn wake_workspace(
        &self,
        stored: &StoredWorkspace,
        caller: &Caller,
    ) -> Result<StoredWorkspace, Error> {
        caller
            .emit(Event::Phase {
                scope: "workspace",
                phase: "start",
                fields: vec![("workspace_id", stored.record.workspace_id.clone())],
            })
            .map_err(|_| cancelled())?;
        self.start_workspace(stored, caller).await
    }

    /// Another line to the agent of the same VM.
    pub(crate) async fn reconnect(
        &self,
        stored: &StoredWorkspace,
        doing: &str,
    ) -> Result<UnixStream, Error> {
        self.line_to(Whom::Agent, stored, doing).await
    }

    /// Another line to who serves the files of the same VM.
    pub(crate) async fn reconnect_files(
        &self,
        stored: &StoredWorkspace,
        doing: &str,
    ) -> Result<UnixStream, Error> {
        self.line_to(Whom::Files, stored, doing).await
    }

    pub(crate) async fn line_to(
        &self,
        whom: Whom,
        stored: &StoredWorkspace,
        doing: &str,
    ) -> Result<UnixStream, Error> {
        whom.line(&self.vm_of(stored))
            .await
            .map_err(|error| shim_unreachable(&stored.record.workspace_id, doing, &error))
    }

    /// Why a request about files failed. `what` is the first line of the error, `doing` completes
    /// "stopped before it could …".
    pub(crate) fn files_failed(
        &self,
        stored: &StoredWorkspace,
        what: &str,
        doing: &str,
        error: FilesError,
    ) -> Error {
        let ended = || {
            let id = &stored.record.workspace_id;
            self.went_away(id, doing, tombstone(&self.vm_of(stored)))
        };
        let error = match error {
            FilesError::Refused { fault } if fault.code == FaultCode::Over => ended(),
            // Not of the kind that was asked for.
            FilesError::Refused { fault } if fault.code == FaultCode::Refused => {
                refused(what.to_owned(), fault).hint(WHAT_IS_THERE)
            }
            // Its disk is as large as the host's.
            FilesError::Refused { fault }
                if fault.code == FaultCode::GuestNoSpace
                    && stored.record.metadata.contains_key(TREE) =>
            {
                Error {
                    code: ErrorCode::NoSpace,
                    ..refused(what.to_owned(), fault)
                }
                .hint("Free space on this host, or remove files in workspaces; nothing was changed")
            }
            FilesError::Refused { fault } => refused(what.to_owned(), fault),
            FilesError::Own(error) => error,
            FilesError::Broken { .. } => ended(),
            FilesError::Silent | FilesError::InvalidReply(_) => {
                Error::new(ErrorCode::VmDied, what.to_owned())
                    .because(error)
                    .hint(STOP_IT)
            }
        };
        self.redacted_error(stored, error)
    }
}
