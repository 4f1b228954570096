//! How a machine is made. Nothing above this folder may assume disk formats, a monitor protocol
//! or a kind of channel.
//!
//! What a backend *is* travels as data ([`About`]). That a machine was resumed and not booted is a
//! backend's own affair, up to the fallback: it says how long to wait, and what it will do instead.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, LocalBoxFuture};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::jail::Walls;
use pyro_wire::launch::{DiskLayer, EndReason};
use pyro_wire::session::{Opener, Stream};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::events::Events;

use self::control_group::ControlGroup;
use self::gvisor::passing::Passage;

mod child;
pub(crate) mod control_group;
pub(crate) mod descendants;
pub(crate) mod gvisor;
mod probe_cache;
pub(crate) mod process;
pub(crate) mod qemu;
mod router;

/// The byte channel to the agent.
pub(crate) trait Pipe: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Pipe for T {}
pub(crate) type Channel = Box<dyn Pipe>;

/// Makes machines of one kind from one launch file.
pub(crate) trait Backend {
    /// Decides what needs deciding once, such as the accelerator. Takes the time it takes: the
    /// boot's deadline starts afterwards.
    fn prepare<'a>(&'a mut self, events: &'a Events) -> LocalBoxFuture<'a, Result<(), Fault>>;

    /// Starts a machine. Dropping the future kills what it started.
    fn launch(&mut self) -> LocalBoxFuture<'_, Result<Launched, BootFailure>>;

    /// How long the next machine may take to answer, where that is less than a boot may.
    fn launch_limit(&self) -> Option<Duration> {
        None
    }

    /// What the machine launched last boots, where it boots a kernel
    /// ([`Running::booted_kernel`](pyro_wire::launch::Running::booted_kernel)).
    fn booted_kernel(&self) -> Option<String> {
        None
    }

    /// Hears that the machine launched last came to nothing.
    fn boot_failed(&mut self, failure: &BootFailure) -> Next;
}

/// What a backend does after a machine that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same again.
    Same,
    /// A machine made differently, which is worth a try whatever the failure was.
    Different,
    /// The first attempt was a shortcut, and these words tell people so. Now comes the first boot.
    Boot(String),
}

pub(crate) struct Launched {
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) channel: Channel,
}

/// A machine that runs. Dropping it kills it, without waiting for its end.
pub(crate) trait Machine {
    fn about(&self) -> &About;

    /// Hears of its guest's agent once that answers, whose help some machines need.
    fn greeted(&mut self, _agent: Opener) {}

    /// The VMM's process.
    fn pid(&self) -> Option<u32>;

    /// The end of the guest's console, cleaned for people.
    fn console_tail(&self) -> Vec<String>;

    /// The root disk as it is now, bottom layer first.
    fn disk(&self) -> &[DiskLayer];

    /// Why the guest stands still for a while, when it does.
    fn standstill(&self) -> Option<&str>;

    /// Why it does, or did until a moment ago. What it writes may still be unwritten.
    fn lack_of_space(&self) -> Option<&str>;

    /// Puts an empty layer on top of the root disk. A refusal leaves everything as it was; whoever
    /// drops the future cannot know what the disk is, and must end the machine.
    fn add_layer<'a>(&'a mut self, layer: &'a DiskLayer) -> LocalBoxFuture<'a, Result<(), Fault>>;

    /// Begins to take a layer out of the root disk, with what it holds going to the one above it.
    fn merge_layer<'a>(&'a mut self, layer: &'a Path) -> LocalBoxFuture<'a, Result<(), Fault>>;

    /// What came of the last [`Machine::merge_layer`], until it has come to a good end.
    fn merging(&self) -> Option<&Merging>;

    /// Resolves when the machine is over and its process has ended. May be dropped and asked
    /// again, but not after it has answered.
    fn ended(&mut self) -> LocalBoxFuture<'_, Death>;

    /// Who serves its files, where that is not its guest's agent.
    fn files(&self) -> Option<Arc<dyn FilesServer>> {
        None
    }

    /// What the kernel holds it to, where that is by a control group.
    fn control_group(&self) -> Option<&ControlGroup> {
        None
    }

    /// Writes what is the host's by now, and was changed on a disk that is kept, from the host's memory to
    /// its disk. For a guest that has flushed.
    fn flush(&self) -> LocalBoxFuture<'static, io::Result<()>> {
        async { Ok(()) }.boxed_local()
    }

    /// Ends the VMM in an orderly way, with all that it held back on the disk. As
    /// [`Machine::ended`], once it is over.
    fn quit(&mut self) -> LocalBoxFuture<'_, Death>;

    /// Stops the guest's processors.
    fn pause(&mut self) -> LocalBoxFuture<'_, Result<(), Fault>>;

    /// Lets a paused guest go on.
    fn unpause(&mut self) -> LocalBoxFuture<'_, Result<(), Fault>>;

    /// Ends the VMM by SIGKILL. [`Machine::ended`] tells when it has happened.
    fn kill(&mut self);
}

/// Serves the files of a machine's disk beside its guest.
pub(crate) trait FilesServer: Send + Sync {
    /// One more line to it. It is started where it does not run.
    fn open(self: Arc<Self>) -> BoxFuture<'static, Result<Line, Fault>>;

    /// Ends it when what is under way has come to an end, for good.
    fn close(self: Arc<Self>) -> BoxFuture<'static, ()>;
}

/// A stream to an agent.
pub(crate) struct Line {
    pub(crate) stream: Stream,
    /// Shows that somebody uses it.
    _held: Arc<()>,
    /// How a client's own connection gets to the agent, which then serves it in this one's place.
    pub(crate) passage: Option<Passage>,
}

impl Line {
    pub(crate) fn new(stream: Stream, held: Arc<()>) -> Self {
        Self {
            stream,
            _held: held,
            passage: None,
        }
    }

    pub(crate) fn passed_through(mut self, passage: Passage) -> Self {
        self.passage = Some(passage);
        self
    }
}

impl From<Stream> for Line {
    fn from(stream: Stream) -> Self {
        Self::new(stream, Arc::default())
    }
}

/// A layer on its way out of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Merging {
    UnderWay(PathBuf),
    Failed(String),
}

impl Merging {
    pub(crate) fn layer(&self) -> Option<PathBuf> {
        match self {
            Self::UnderWay(layer) => Some(layer.clone()),
            Self::Failed(_) => None,
        }
    }

    pub(crate) fn failure(&self) -> Option<String> {
        match self {
            Self::UnderWay(_) => None,
            Self::Failed(why) => Some(why.clone()),
        }
    }
}

/// What a machine is made of.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) backend: &'static str,
    pub(crate) accelerator: &'static str,
    pub(crate) accelerator_reason: String,
    pub(crate) vmm_version: Option<String>,
    /// It was not booted but came out of a template.
    pub(crate) resumed: bool,
    /// What stands around its VMM, where that is in a jail of pyro's.
    pub(crate) walls: Option<Walls>,
}

/// How a machine ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Death {
    pub(crate) kind: DeathKind,
    /// One line, such as "QEMU was killed by signal 9 (SIGKILL)".
    pub(crate) message: String,
    /// What the VMM wrote to its standard error.
    pub(crate) vmm_log: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeathKind {
    /// The guest switched itself off or restarted.
    Off,
    /// The guest's kernel gave up.
    Crash,
    /// The VMM was killed, or crashed.
    Vmm,
    /// The VMM ended with an error of its own, which it will repeat.
    Refused,
    /// The host has no space left for the disk.
    NoSpace,
    /// It used more of the host's memory than it may, or needed more of that or of processes than it got.
    OutOfMemory,
}

impl Death {
    pub(crate) fn end_reason(&self) -> EndReason {
        match self.kind {
            DeathKind::Off => EndReason::GuestOff,
            DeathKind::NoSpace => EndReason::NoSpace,
            DeathKind::OutOfMemory => EndReason::OutOfMemory,
            DeathKind::Crash | DeathKind::Vmm | DeathKind::Refused => EndReason::Died,
        }
    }
}

/// Why a boot came to nothing.
#[derive(Debug)]
pub(crate) struct BootFailure {
    pub(crate) fault: Fault,
    /// A second try would end the same way.
    pub(crate) lasting: bool,
}

impl BootFailure {
    pub(crate) fn lasting(fault: Fault) -> Self {
        Self {
            fault,
            lasting: true,
        }
    }

    pub(crate) fn passing(fault: Fault) -> Self {
        Self {
            fault,
            lasting: false,
        }
    }
}

impl From<Death> for BootFailure {
    fn from(death: Death) -> Self {
        let (code, lasting) = match death.kind {
            DeathKind::Off | DeathKind::Crash => (FaultCode::BootFailed, false),
            DeathKind::Vmm | DeathKind::OutOfMemory => (FaultCode::VmmFailed, false),
            DeathKind::Refused => (FaultCode::VmmFailed, true),
            DeathKind::NoSpace => (FaultCode::NoSpace, true),
        };
        Self {
            fault: Fault::new(code, death.message).with_detail(death.vmm_log),
            lasting,
        }
    }
}
