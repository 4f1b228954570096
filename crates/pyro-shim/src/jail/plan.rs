//! What a jail is, as data: one word of a command line.

use std::os::fd::RawFd;
use std::path::PathBuf;

use pyro_wire::jail::MissingWall;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Files and folders that may be read, each where it is on the host.
    pub(crate) read: Vec<PathBuf>,
    /// Files that the shim opens at the program's request. Without a gate the program opens them itself.
    pub(crate) handed: Vec<PathBuf>,
    /// Descriptors that the program opens a second time, as `/proc/self/fd/N`. There is no `/proc` in a
    /// root folder of one's own, so there it finds a copy by that name.
    pub(crate) reopened: Vec<RawFd>,
    pub(crate) calls: Calls,
    pub(crate) limits: Limits,
    /// The entrance of a control group, which it enters first.
    pub(crate) control_group: Option<RawFd>,
    /// Among memory hogs the kernel should rather take this one than a user's own programs.
    pub(crate) oom_score: Option<u16>,
    /// It is in namespaces, and gets a root folder. Set by whoever starts it.
    pub(crate) own_root: bool,
    /// The caller is root.
    pub(crate) of_root: bool,
    /// The socket for what is to be told to the shim, where the shim listens.
    pub(crate) report: Option<RawFd>,
}

/// Which system calls there are. Any other is one that this kernel does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Calls {
    #[default]
    Vmm,
    /// Those of KVM as well.
    VmmWithKvm,
    /// Sockets of the internet.
    Network,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// How long a file may become that is written to.
    pub(crate) file_bytes: Option<u64>,
    /// Descriptors. None: as many as the caller.
    pub(crate) files: Option<u64>,
    /// Threads.
    pub(crate) tasks: Option<u64>,
}

/// What the process in the jail tells the shim.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// Everything is done but the exec. With a descriptor where there is a gate.
    Walled {
        missing: Vec<MissingWall>,
    },
    Failed {
        step: String,
        errno: i32,
    },
}
