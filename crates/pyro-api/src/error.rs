//! An error as every surface shows it: what failed, why, and how to fix it.

use std::fmt;

use crate::report::escape_controls;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A failed operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema, thiserror::Error)]
#[error("{error}")]
pub struct Error {
    /// What failed, with the name of the thing.
    pub error: String,
    /// A stable code for programs.
    pub code: ErrorCode,
    /// Why, nearest cause first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// How to fix it: something one can type or do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Error {
    pub fn new(code: ErrorCode, error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            code,
            causes: Vec::new(),
            hint: None,
        }
    }

    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Adds an error and everything behind it as causes.
    pub fn caused_by(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            let words = cause.to_string();
            if self.causes.last() != Some(&words) {
                self.causes.push(words);
            }
            next = cause.source();
        }
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What failed, why, and how to fix it, each on lines of its own.
    pub fn in_words(&self) -> String {
        let mut lines = format!("{}\n", self.error);
        for cause in &self.causes {
            lines.push_str(&format!("  cause: {}\n", cause.replace('\n', "\n    ")));
        }
        if let Some(hint) = &self.hint {
            lines.push_str(&format!("hint: {hint}\n"));
        }
        // A guest may have chosen some of the words.
        escape_controls(&lines).into_owned()
    }

    /// A value that was given breaks a rule.
    pub fn invalid(error: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidArgument, error)
    }

    /// A result that JSON has no form for.
    pub fn not_json(error: serde_json::Error) -> Self {
        Self::new(ErrorCode::Internal, "The result cannot be written as JSON").caused_by(&error)
    }
}

/// Stable names for what can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The command line could not be understood.
    Usage,
    /// An argument breaks a rule.
    InvalidArgument,
    /// There is no such environment.
    UnknownEnvironment,
    /// There is no such VM.
    UnknownVm,
    /// There is no such workspace.
    UnknownWorkspace,
    /// Several workspaces are called so.
    AmbiguousWorkspace,
    /// There is no such file in the workspace, or it is not of the kind that was asked for.
    UnknownFile,
    /// There is no such snapshot.
    UnknownSnapshot,
    /// There is no such shell, or not any more.
    UnknownShell,
    /// The shell has ended.
    ShellEnded,
    /// The workspace has no such service.
    UnknownService,
    /// A path leads out of the workspace.
    BadPath,
    /// Something is in the way, or changed meanwhile.
    Conflict,
    /// A patch does not fit the files.
    PatchFailed,
    /// A seed or another archive cannot be taken.
    BadSeed,
    /// No space is left on the guest's disk.
    GuestNoSpace,
    /// The guest's file system refused.
    GuestIo,
    /// The VM's time to live is over; it was deleted.
    VmExpired,
    /// The VM is in a state that does not allow this.
    WrongState,
    /// The running VMs use all the memory that pyro may use.
    MemoryLimit,
    /// A program that pyro needs is not installed.
    ToolMissing,
    /// This host cannot run a VM, and host execution was not allowed.
    VmUnavailable,
    /// The guest did not answer in time.
    BootTimeout,
    /// The guest started and gave up.
    BootFailed,
    /// The VM went away while it was in use.
    VmDied,
    /// An environment could not be built.
    PullFailed,
    /// A step of a build failed.
    BuildFailed,
    /// An installed environment is not what its manifest says.
    Damaged,
    /// No space is left on a disk of the host.
    NoSpace,
    /// A file or folder of the host could not be used.
    HostIo,
    /// The configuration of a program that starts pyro cannot be understood.
    BadHostConfig,
    /// The state folder was written by a newer pyro.
    NewerState,
    /// Not offered here.
    Unsupported,
    /// The caller cancelled the call, or went away.
    Cancelled,
    /// A fault of pyro itself.
    Internal,
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(to)
    }
}
