//! One QEMU process: its start, its console, and what its end means.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use pyro_namespace::Child;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::jail::{JailChoice, MissingWall, Wall};
use pyro_wire::launch::DiskLayer;
use pyro_wire::reached;
use serde_json::json;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::time::{sleep, timeout};

use super::command_line::{CommandLine, Descriptors, Ram};
use super::disk::Disk;
use super::disk_full::{DiskFull, Step};
use super::jail;
use super::network::{self, Peer};
use super::program::QemuProgram;
use super::qmp::{Event, Qmp, QmpError};
use super::stub_kernel;
use crate::backend::child::{describe, end_of, watch};
use crate::backend::control_group::ControlGroup;
use crate::backend::{About, BootFailure, Death, DeathKind, Launched, Machine, Merging};
use crate::console::{CONSOLE_BYTES, ERROR_BYTES, Tail};
use crate::jail::{Gate, JailError, Jailed, Prisoner, gate};

/// How Linux begins what it writes when it panics.
const PANIC: &str = "Kernel panic";

/// How QEMU says that it cannot filter its own system calls.
const NO_SANDBOX: &str = "There is no option group 'sandbox'";

/// And pyro.
pub(super) const NO_FILTERS: &str = "this kernel takes no filters of system calls (it needs CONFIG_SECCOMP_FILTER), \
     or QEMU was built without them, and no VM is started without";

/// How long what QEMU wrote last may take to be read, once it has ended.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(300);

/// How often the console is looked at by whoever waits for words on it.
const CONSOLE_POLL: Duration = Duration::from_millis(2);

/// How a QEMU is started, whatever it is to run.
pub(crate) struct Start<'a> {
    pub(crate) program: &'a QemuProgram,
    pub(crate) jail: JailChoice,
    /// Why this accelerator.
    pub(crate) reason: &'a str,
    pub(crate) lock: Option<&'a OwnedFd>,
}

/// Starts QEMU and waits until it runs the guest, or has refused to.
pub(crate) async fn start(
    start: &Start<'_>,
    command_line: &CommandLine<'_>,
) -> Result<Launched, BootFailure> {
    let (machine, channel) = open(start, command_line).await?;
    Ok(Launched {
        machine: Box::new(machine),
        channel: Box::new(channel),
    })
}

/// Starts QEMU and waits until its monitor answers.
pub(super) async fn open(
    start: &Start<'_>,
    command_line: &CommandLine<'_>,
) -> Result<(QemuMachine, UnixStream), BootFailure> {
    let Spawned {
        mut machine,
        mut gate,
        monitor,
        channel,
    } = spawn_qemu(start, command_line).await?;
    reached!("QEMU started");
    let opened = tokio::select! {
        opened = Qmp::open(monitor) => opened,
        error = gate::serve(&mut gate) => Err(error.into()),
    };
    // From here on it executes nothing, and opens nothing to be written to. No guest has run yet.
    drop(gate);
    match opened {
        Ok(qmp) => {
            machine.about.vmm_version = Some(qmp.version().into());
            machine.qmp = Some(qmp);
            reached!("QEMU answers");
        }
        Err(QmpError::Io { .. }) => {
            machine.kill();
            return Err(machine.death().await.into());
        }
        // It ends because QEMU does; otherwise the caller's deadline ends this.
        Err(_) => return Err(machine.death().await.into()),
    }
    Ok((machine, channel))
}

/// QEMU could not even be executed.
pub(crate) fn not_started(binary: &Path, error: &io::Error) -> Fault {
    let code = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => FaultCode::VmmMissing,
        _ => FaultCode::VmmFailed,
    };
    let binary = binary.display();
    Fault::new(code, format!("QEMU ({binary}) cannot be executed: {error}"))
}

/// That QEMU did not come into its jail.
pub(super) fn not_jailed(binary: &Path, error: &JailError) -> BootFailure {
    let fault = match error {
        JailError::Exec { source } | JailError::Io { source } => not_started(binary, source),
        JailError::Strict { .. } => Fault::new(
            FaultCode::Refused,
            format!("the guest was not started: {error}"),
        ),
        _ => Fault::new(
            FaultCode::VmmFailed,
            format!("QEMU could not be started: {error}"),
        ),
    };
    BootFailure {
        fault,
        // Somebody killed it.
        lasting: !matches!(error, JailError::Ended),
    }
}

struct Spawned {
    machine: QemuMachine,
    gate: Option<Gate>,
    monitor: UnixStream,
    channel: UnixStream,
}

async fn spawn_qemu(
    start: &Start<'_>,
    command_line: &CommandLine<'_>,
) -> Result<Spawned, BootFailure> {
    let binary = &start.program.binary;
    let failed = |error: io::Error| BootFailure::lasting(not_started(binary, &error));
    let (prisoner, ends) = prepare(start, command_line).map_err(failed)?;
    let jailed = prisoner.start().await;
    let Jailed {
        child,
        mut walls,
        gate,
    } = jailed.map_err(|error| not_jailed(binary, &error))?;
    let group = match ends.group {
        Ok(group) => Some(group),
        Err(reason) => {
            walls.lack(no_group(reason));
            None
        }
    };
    let about = About {
        backend: "qemu",
        accelerator: command_line.accelerator.name(),
        accelerator_reason: start.reason.into(),
        vmm_version: None,
        resumed: matches!(command_line.ram, Ram::Resumed(_)),
        walls: Some(walls),
    };
    let errors = Receiver::from_owned_fd(ends.errors.into()).map_err(failed)?;
    let machine = QemuMachine {
        about,
        child: watch(child).map_err(failed)?,
        qmp: None,
        console: Tail::follow(ends.console, CONSOLE_BYTES),
        errors: Tail::follow(errors, ERROR_BYTES),
        _peer: ends.peer,
        disk: command_line.disk.clone(),
        disk_full: None,
        shutdown: None,
        verdict: None,
        group,
    };
    Ok(Spawned {
        machine,
        gate,
        monitor: ends.monitor,
        channel: ends.channel,
    })
}

/// Our ends of what QEMU is connected with.
struct Ends {
    channel: UnixStream,
    console: UnixStream,
    monitor: UnixStream,
    errors: io::PipeReader,
    peer: Option<Peer>,
    /// Or why there is none.
    group: Result<ControlGroup, &'static str>,
}

/// That no control group limits a QEMU.
pub(super) fn no_group(reason: &str) -> MissingWall {
    MissingWall {
        wall: Wall::ControlGroup,
        reason: reason.to_owned(),
        fix: None,
    }
}

fn prepare(start: &Start<'_>, command_line: &CommandLine<'_>) -> io::Result<(Prisoner, Ends)> {
    let (channel, agent_end) = pair()?;
    let (console, console_end) = pair()?;
    let (monitor, monitor_end) = pair()?;
    let (errors, errors_end) = io::pipe()?;
    let stub_kernel = stub_kernel::create(command_line.kernel)?;
    let netdev = command_line
        .network
        .map(|network| network::connect(network, command_line.ram))
        .transpose()?;
    let (peer, netdev) = match netdev {
        Some(netdev) => (Some(netdev.peer), Some(netdev.socket)),
        None => (None, None),
    };
    let disk_files = command_line.disk.open()?;
    let arguments = command_line.arguments(&Descriptors {
        agent: agent_end.as_raw_fd(),
        console: console_end.as_raw_fd(),
        monitor: monitor_end.as_raw_fd(),
        stub_kernel: stub_kernel.as_raw_fd(),
        netdev: netdev.as_ref().map(AsRawFd::as_raw_fd),
        disk: &disk_files,
    });
    let mut plan = jail::plan(start.program, command_line);
    let is_resumed = matches!(command_line.ram, Ram::Resumed(_));
    if is_resumed {
        plan.reopened.push(stub_kernel.as_raw_fd());
    }
    let group = ControlGroup::make(&jail::group_limits(command_line));
    let entrance = group
        .as_ref()
        .ok()
        .map(ControlGroup::entrance)
        .transpose()?;
    plan.control_group = entrance.as_ref().map(AsRawFd::as_raw_fd);
    let mut prisoner = jail::prisoner(start, plan, arguments);
    prisoner.handed = jail::handed(command_line)?;
    let program = &mut prisoner.program;
    if let Some(entrance) = entrance {
        program.keep(entrance);
    }
    program.stderr(errors_end);
    program.keep(agent_end).keep(console_end).keep(monitor_end);
    if is_resumed {
        program.keep(stub_kernel);
    }
    if let Some(netdev) = netdev {
        program.keep(netdev);
    }
    for file in disk_files {
        program.keep(file.file);
    }
    if let Some(lock) = start.lock {
        program.keep(lock.try_clone()?);
    }
    let ends = Ends {
        channel,
        console,
        monitor,
        errors,
        peer,
        group,
    };
    Ok((prisoner, ends))
}

/// Our end for the runtime, the other for QEMU.
pub(super) fn pair() -> io::Result<(UnixStream, StdUnixStream)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs))
}

pub(super) struct QemuMachine {
    about: About,
    child: AsyncFd<Child>,
    /// None before QEMU's greeting and after it has closed the monitor.
    qmp: Option<Qmp>,
    console: Tail,
    errors: Tail,
    /// What is at the other end of the guest's network device; dropping it ends it.
    _peer: Option<Peer>,
    disk: Disk,
    /// The guest stands still, or did a moment ago, because the host's disk is full.
    disk_full: Option<DiskFull>,
    /// Why QEMU said that it is about to end.
    shutdown: Option<String>,
    /// Why it had to be killed.
    verdict: Option<(DeathKind, String)>,
    /// After the child, whose end it needs.
    group: Option<ControlGroup>,
}

impl QemuMachine {
    /// The monitor, while QEMU has it open.
    pub(super) fn monitor(&mut self) -> Result<&mut Qmp, QmpError> {
        self.qmp.as_mut().ok_or(QmpError::Ended)
    }

    /// Resolves when the guest has written this to its console.
    pub(super) async fn wait_for_console(&self, words: &str) {
        while self.console.last_with(words).is_none() {
            sleep(CONSOLE_POLL).await;
        }
    }

    /// What came of a conversation with the monitor that failed: mostly that QEMU is ending.
    pub(super) async fn monitor_failed(&mut self, error: QmpError) -> BootFailure {
        if let QmpError::Refused { .. } = error {
            self.kill();
            self.death().await;
            return BootFailure::lasting(Fault::new(FaultCode::VmmFailed, error.to_string()));
        }
        self.death().await.into()
    }

    async fn command(&mut self, name: &str) -> Result<(), Fault> {
        let asked = async { self.monitor()?.ask(name, json!({})).await };
        let failed = |error: QmpError| Fault::new(FaultCode::VmmFailed, error.to_string());
        asked.await.map(drop).map_err(failed)
    }

    async fn death(&mut self) -> Death {
        loop {
            let event = match &mut self.qmp {
                Some(qmp) => qmp.event().left_future(),
                None => std::future::pending().right_future(),
            };
            let disk_full = match &mut self.disk_full {
                Some(disk_full) => disk_full.step().left_future(),
                None => std::future::pending().right_future(),
            };
            tokio::select! {
                status = end_of(&mut self.child) => return self.explain(status).await,
                event = event => match event {
                    // The end of the process is waited for like any other; who asks for it may
                    // go away meanwhile and come again, so the reason is kept.
                    Ok(Event::JobOver { job, error }) => self.merged(&job, error).await,
                    Ok(event) => if let Some(reason) = self.on_event(event) {
                        self.verdict.get_or_insert(reason);
                        self.kill();
                    },
                    Err(_) => self.qmp = None,
                },
                step = disk_full => match step {
                    Step::Retry => self.unpause().await,
                    Step::Resolved => self.disk_full = None,
                }
            }
        }
    }

    async fn unpause(&mut self) {
        if let Some(qmp) = &mut self.qmp {
            // A monitor that fails is on its end, which the next events tell.
            let _ = qmp.command("cont").await;
        }
    }

    /// What an event of the monitor means; some are the end, though QEMU would go on waiting.
    fn on_event(&mut self, event: Event) -> Option<(DeathKind, String)> {
        match event {
            Event::Shutdown { reason } => {
                self.shutdown = Some(reason);
                None
            }
            Event::WriteFailed { no_space: true, .. } => {
                self.no_space("the host's disk is full: the VM could not write to its disk".into())
            }
            Event::WriteFailed { reason, .. } if reason.contains("quota") => {
                self.no_space(format!("the host's disk quota is used up: {reason}"))
            }
            Event::WriteFailed { reason, .. } => Some((
                DeathKind::Vmm,
                format!("the host could not write to the VM's disk: {reason}"),
            )),
            Event::Stopped { status } if status == "internal-error" => Some((
                DeathKind::Vmm,
                "the accelerator could not run the guest (internal error)".into(),
            )),
            Event::Stopped { .. } | Event::JobOver { .. } => None,
        }
    }

    /// What there is to do when a layer is out of the disk, or stays in it.
    async fn merged(&mut self, job: &str, error: Option<String>) {
        if let Some((node, set)) = self.disk.merged(job, error)
            && let Some(qmp) = &mut self.qmp
        {
            // Closes the layer's file. Those that QEMU has had from its start close by themselves,
            // and their refusal means nothing.
            let _ = qmp.tell("blockdev-del", json!({ "node-name": node })).await;
            let _ = qmp.tell("remove-fd", json!({ "fdset-id": set })).await;
        }
    }

    /// The end of a VM whose disk is thrown away; any other gets some time for its writes.
    fn no_space(&mut self, message: String) -> Option<(DeathKind, String)> {
        let within_limit = match &mut self.disk_full {
            _ if self.disk.is_disposable() => false,
            Some(disk_full) => disk_full.within_limit(),
            None => {
                self.disk_full = Some(DiskFull::new(message.clone()));
                true
            }
        };
        (!within_limit).then_some((DeathKind::NoSpace, message))
    }

    async fn explain(&mut self, status: io::Result<ExitStatus>) -> Death {
        self.console.drain().await;
        self.errors.drain().await;
        if let Some(mut qmp) = self.qmp.take() {
            let drain = async {
                while let Ok(event) = qmp.event().await {
                    if let Event::Shutdown { reason } = event {
                        self.shutdown = Some(reason);
                    }
                }
            };
            let _ = timeout(DRAIN_TIMEOUT, drain).await;
        }
        let vmm_log = self.errors.lines();
        let (kind, message) = match (self.verdict.take(), status) {
            (Some(verdict), _) => verdict,
            (None, Ok(status)) if status.success() => self.explain_orderly(),
            (None, Ok(_)) if self.group.as_ref().is_some_and(ControlGroup::oom_killed) => (
                DeathKind::OutOfMemory,
                "the host's kernel killed QEMU, which took more memory than its control group may"
                    .into(),
            ),
            (None, Ok(status)) => explain_failure(status, &vmm_log),
            (None, Err(error)) => (DeathKind::Vmm, format!("QEMU is gone: {error}")),
        };
        Death {
            kind,
            message,
            vmm_log,
        }
    }

    /// QEMU ended well, which says nothing of the guest.
    fn explain_orderly(&self) -> (DeathKind, String) {
        // A long trace may have pushed it out of the tail that people see.
        let panic = || {
            let line = self.console.last_with(PANIC)?;
            let (_, text) = line.split_once(PANIC)?;
            Some(format!("the guest's kernel crashed: {PANIC}{text}"))
        };
        match self.shutdown.as_deref() {
            Some("guest-reset" | "guest-panic") => match panic() {
                Some(message) => (DeathKind::Crash, message),
                None => (DeathKind::Off, "the guest rebooted".into()),
            },
            Some("guest-shutdown") => (DeathKind::Off, "the guest powered off".into()),
            Some("host-signal") => (DeathKind::Vmm, "QEMU was ended by a signal".into()),
            _ => (DeathKind::Vmm, "QEMU exited by itself".into()),
        }
    }
}

pub(super) fn explain_failure(status: ExitStatus, errors: &[String]) -> (DeathKind, String) {
    if errors.iter().any(|line| line.contains(NO_SANDBOX)) {
        return (DeathKind::Refused, NO_FILTERS.into());
    }
    // "qemu-system-x86_64: -blockdev {…}: Could not open …": the words after the option.
    let last = errors.last().map(String::as_str).unwrap_or_default();
    let words = last.split_once(": ").map_or(last, |(_, words)| words);
    let words = match words.rsplit_once("}: ") {
        Some((_, words)) => words,
        None => words,
    };
    let end = describe(status);
    let message = if words.is_empty() {
        format!("QEMU {end}")
    } else {
        format!("QEMU {end}: {words}")
    };
    let full = errors
        .iter()
        .any(|line| line.contains("No space left on device"));
    let kind = match status.code() {
        _ if full => DeathKind::NoSpace,
        Some(_) => DeathKind::Refused,
        None => DeathKind::Vmm,
    };
    (kind, message)
}

impl Machine for QemuMachine {
    fn about(&self) -> &About {
        &self.about
    }

    fn pid(&self) -> Option<u32> {
        Some(self.child.get_ref().id())
    }

    fn console_tail(&self) -> Vec<String> {
        self.console.lines()
    }

    fn control_group(&self) -> Option<&ControlGroup> {
        self.group.as_ref()
    }

    fn disk(&self) -> &[DiskLayer] {
        self.disk.layers()
    }

    fn standstill(&self) -> Option<&str> {
        let disk_full = self.disk_full.as_ref()?;
        disk_full.stands_still().then_some(&disk_full.message)
    }

    fn lack_of_space(&self) -> Option<&str> {
        Some(&self.disk_full.as_ref()?.message)
    }

    fn add_layer<'a>(&'a mut self, layer: &'a DiskLayer) -> LocalBoxFuture<'a, Result<(), Fault>> {
        async {
            match &mut self.qmp {
                Some(qmp) => Ok(self.disk.add(layer, qmp).await?),
                None => Err(Fault::new(FaultCode::GuestDied, "QEMU is ending")),
            }
        }
        .boxed_local()
    }

    fn merge_layer<'a>(&'a mut self, layer: &'a Path) -> LocalBoxFuture<'a, Result<(), Fault>> {
        async {
            match &mut self.qmp {
                Some(qmp) => Ok(self.disk.merge(layer, qmp).await?),
                None => Err(Fault::new(FaultCode::GuestDied, "QEMU is ending")),
            }
        }
        .boxed_local()
    }

    fn merging(&self) -> Option<&Merging> {
        self.disk.merging()
    }

    fn ended(&mut self) -> LocalBoxFuture<'_, Death> {
        self.death().boxed_local()
    }

    fn quit(&mut self) -> LocalBoxFuture<'_, Death> {
        async {
            if let Some(qmp) = &mut self.qmp {
                // The answer may get lost with QEMU.
                let _ = qmp.command("quit").await;
            }
            self.death().await
        }
        .boxed_local()
    }

    fn pause(&mut self) -> LocalBoxFuture<'_, Result<(), Fault>> {
        self.command("stop").boxed_local()
    }

    fn unpause(&mut self) -> LocalBoxFuture<'_, Result<(), Fault>> {
        self.command("cont").boxed_local()
    }

    fn kill(&mut self) {
        self.child.get_ref().kill();
    }
}
