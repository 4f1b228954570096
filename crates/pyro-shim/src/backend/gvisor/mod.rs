//! Sandboxes of gVisor: the guest's kernel is `runsc`, a process without rights on the host, and its
//! disk is folders of the host.
//!
//! ```text
//! shim ──▶ pyro shim --sandbox PLAN   the first process of new namespaces: mounts the disk, and
//!          │                          makes a world with nothing else in it
//!          ▼ exec
//!          runsc run ──▶ sentry (the guest's kernel), gofer (the guest's files), the guest's programs
//!            0: the byte channel, which is the agent's descriptor 0
//!            1, 2: the console
//! ```
//!
//! | module | subject |
//! |---|---|
//! | `machine` | one sandbox: its start, and what its end means |
//! | `plan` | what the first process is told |
//! | `sandbox` | the first process, until it becomes somebody else |
//! | `limits` | what it may take of the host |
//! | `link` | the guest's network interface, and the router at its other end |
//! | `bundle` | what runsc is told of the sandbox |
//! | `passing` | the connections of those who ask, passed to that agent |
//! | `files` | the agent in runsc's place, where only files are served |
//! | `alone` | that agent as the server of the files |
//! | `beside`, `join` | that agent beside a sandbox that runs |
//! | `attributes` | no extended attributes, where gVisor errs about them |
//! | `hold` | a sandbox that stands still |
//! | `probe`, `version` | whether sandboxes run here, and of which runsc |

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::launch::{DiskFormat, DiskLayer, Gvisor, Runs};

use self::plan::{Plan, layers};
use self::version::has_bad_attributes;
use super::{Backend, BootFailure, Launched, Next};
use crate::events::Events;

mod alone;
mod attributes;
mod beside;
mod bundle;
mod files;
mod hold;
pub(crate) mod join;
mod limits;
mod link;
mod machine;
pub(crate) mod passing;
mod plan;
pub(crate) mod probe;
pub(crate) mod sandbox;
mod version;

/// Where the world of a sandbox is put together, in the VM's folder: empty for everybody else.
const PLACE: &str = "sandbox";

/// Where runsc keeps what a guest changes that has no layer: in a file without a name.
const CHANGES: &str = "changes";

pub(crate) struct GvisorBackend {
    spec: Gvisor,
    hostname: String,
    /// Inherited by runsc, so that the VM counts as alive for as long as runsc lives.
    lock: Option<std::os::fd::OwnedFd>,
    /// The disk is thrown away at the end.
    disposable: bool,
}

impl GvisorBackend {
    pub(crate) fn new(
        spec: Gvisor,
        hostname: String,
        lock: Option<std::os::fd::OwnedFd>,
        disposable: bool,
    ) -> Self {
        Self {
            spec,
            hostname,
            lock,
            disposable,
        }
    }

    fn plan(&self) -> Result<Plan, BootFailure> {
        let place = in_folder(PLACE)?;
        let layers = layers(&self.spec.disk, self.disposable)?;
        let changes = match &layers.top {
            Some(_) => None,
            None => Some(in_folder(CHANGES)?),
        };
        Ok(Plan {
            runs: self.spec.runs,
            runsc: self.spec.runsc.clone(),
            agent: self.spec.agent.clone(),
            place,
            layers: Some(layers),
            changes,
            hostname: self.hostname.clone(),
            processors: self.spec.vcpu_count,
            mem_mib: self.spec.mem_mib,
            control_group: None,
            link: None,
            hide_attributes: has_bad_attributes(&self.spec.version),
            log: 0,
        })
    }

    fn start(&self) -> Result<Launched, BootFailure> {
        match self.spec.runs {
            Runs::Sandbox => executable(&self.spec.runsc)?,
            Runs::Files => {}
        }
        usable(&self.spec.agent, "the agent")?;
        for layer in &self.spec.disk {
            folder(layer)?;
        }
        let disk = self.spec.disk.clone();
        let plan = self.plan()?;
        let (version, network) = (&self.spec.version, self.spec.network.as_ref());
        let network = network.map(|network| (network, self.spec.jail));
        let files_idle = Duration::from_millis(self.spec.files_idle_ms);
        let lock = self.lock.as_ref();
        let started = machine::start(plan, version, disk, network, files_idle, lock)?;
        Ok(started.into())
    }
}

impl Backend for GvisorBackend {
    fn prepare<'a>(&'a mut self, _: &'a Events) -> LocalBoxFuture<'a, Result<(), Fault>> {
        async { Ok(()) }.boxed_local()
    }

    fn launch(&mut self) -> LocalBoxFuture<'_, Result<Launched, BootFailure>> {
        async { self.start() }.boxed_local()
    }

    fn boot_failed(&mut self, _: &BootFailure) -> Next {
        Next::Same
    }
}

/// A folder in the current one, which is the VM's, as everybody sees it.
fn in_folder(name: &str) -> Result<PathBuf, BootFailure> {
    let made = match fs::create_dir(name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::canonicalize(name),
    };
    made.map_err(|error| {
        let words = format!("the VM's folder cannot hold a sandbox: {error}");
        BootFailure::lasting(Fault::new(FaultCode::of_io(&error), words))
    })
}

fn executable(runsc: &Path) -> Result<(), BootFailure> {
    nix::unistd::access(runsc, nix::unistd::AccessFlags::X_OK).map_err(|error| {
        let words = format!("runsc ({}) cannot be executed: {error}", runsc.display());
        BootFailure::lasting(Fault::new(FaultCode::VmmMissing, words))
    })
}

fn usable(path: &Path, what: &str) -> Result<(), BootFailure> {
    File::open(path).map(drop).map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => FaultCode::NotFound,
            _ => FaultCode::HostIo,
        };
        let words = format!("{what} {} cannot be opened: {error}", path.display());
        BootFailure::lasting(Fault::new(code, words))
    })
}

fn folder(layer: &DiskLayer) -> Result<(), BootFailure> {
    usable(&layer.path, "the disk layer")?;
    if layer.format == DiskFormat::Folder && layer.path.is_dir() {
        return Ok(());
    }
    let words = format!("the disk layer {} is no folder", layer.path.display());
    Err(BootFailure::lasting(Fault::new(FaultCode::Refused, words)))
}
