//! A folder with a launch file, shims started on it, and a client for them.

#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

pub(crate) mod example;
pub(crate) mod guest;
pub(crate) mod json_session;
pub(crate) mod sandbox;
pub(crate) mod template;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub(crate) use example::example;
use futures::FutureExt;
use futures::io::AllowStdIo;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use pyro_wire::agent::AgentRequest;
use pyro_wire::exec::Exec;
use pyro_wire::fault::Fault;
use pyro_wire::frame::{self, Frame, Kind};
use pyro_wire::launch::{
    DiskLayer, END_FILE, Ended, Gvisor, LAUNCH_FILE, LaunchEvent, LaunchSpec, Machine, Process,
    Qemu, Running,
};
use pyro_wire::shim::{CONTROL_SOCKET, LIVENESS_LOCK, ShimReply, ShimRequest, Status, Stop};
use tokio_util::compat::FuturesAsyncReadCompatExt;

/// Longer than anything here takes on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same for a shim's next word: it may give a full disk half a minute, or boot a VM twice.
const EVENT_PATIENCE: Duration = Duration::from_secs(300);

/// Says why a test is not played, and fails where all of them must be.
#[track_caller]
pub(crate) fn not_played(why: &str) {
    let must = std::env::var_os("PYRO_TESTS_PLAY_ALL").is_some_and(|value| !value.is_empty());
    assert!(
        !must,
        "not played although PYRO_TESTS_PLAY_ALL is set: {why}"
    );
    eprintln!("NOT PLAYED: {why}");
}

pub(crate) struct Harness {
    outer: tempfile::TempDir,
    folder: PathBuf,
    spec: LaunchSpec,
    behavior: String,
}

impl Harness {
    pub(crate) fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        let workspace = outer.path().join("workspace");
        let spec = LaunchSpec {
            env: Vec::new(),
            user: None,
            new_disk: false,
            protocol: pyro_wire::PROTOCOL,
            vm_id: "test".into(),
            hostname: "box".into(),
            machine: Machine::Process(Process {
                agent: example("fake_agent"),
                workspace: workspace.clone(),
            }),
            folders: vec![outer.path().to_owned()],
            // Nothing here waits for it to pass, and a busy host may be slow.
            boot_deadline_ms: 120_000,
            expires_at_ms: None,
            idle_ms: None,
            bound_to_owner: false,
            bound_until_released: false,
            remove_when_over: false,
            timings: false,
        };
        std::fs::create_dir_all(workspace).unwrap();
        let harness = Self {
            // Longer than a socket's address may be.
            folder: outer.path().join("long".repeat(30)),
            outer,
            spec,
            behavior: String::new(),
        };
        std::fs::create_dir_all(harness.path()).unwrap();
        harness.write();
        harness
    }

    /// A harness for virtual machines; none where there is no QEMU or no kernel to run.
    pub(crate) fn qemu() -> Self {
        let harness = Self::new();
        let qemu = guest::spec(harness.outer.path());
        harness.edit(|spec| spec.machine = Machine::Qemu(qemu))
    }

    /// A harness for virtual machines with the real agent.
    pub(crate) fn real() -> Self {
        let harness = Self::new();
        let qemu = guest::real(harness.outer.path());
        harness.edit(|spec| spec.machine = Machine::Qemu(qemu))
    }

    /// A harness for sandboxes; none where there is no runsc.
    pub(crate) fn gvisor() -> Option<Self> {
        let harness = Self::new();
        let gvisor = sandbox::spec(harness.outer.path())?;
        Some(harness.edit(|spec| spec.machine = Machine::Gvisor(gvisor)))
    }

    /// A harness for sandboxes with the real agent.
    pub(crate) fn real_gvisor() -> Option<Self> {
        let harness = Self::gvisor()?;
        Some(harness.edit_gvisor(|gvisor| gvisor.agent = example::agent()))
    }

    /// A harness for machines that serve the files of a sandbox's disk, and nothing else.
    pub(crate) fn files() -> Self {
        let harness = Self::new();
        let gvisor = sandbox::files(harness.outer.path());
        harness.edit(|spec| spec.machine = Machine::Gvisor(gvisor))
    }

    /// What the folder that a sandbox's disk is written to holds.
    pub(crate) fn top(&self) -> PathBuf {
        self.disk().last().unwrap().path.join("upper")
    }

    pub(crate) fn edit_gvisor(self, edit: impl FnOnce(&mut Gvisor)) -> Self {
        self.edit(|spec| match &mut spec.machine {
            Machine::Gvisor(gvisor) => edit(gvisor),
            Machine::Qemu(_) | Machine::Process(_) => panic!("not a sandbox"),
        })
    }

    pub(crate) fn edit_qemu(self, edit: impl FnOnce(&mut Qemu)) -> Self {
        self.edit(|spec| match &mut spec.machine {
            Machine::Qemu(qemu) => edit(qemu),
            Machine::Gvisor(_) | Machine::Process(_) => panic!("not a virtual machine"),
        })
    }

    pub(crate) fn edit(mut self, edit: impl FnOnce(&mut LaunchSpec)) -> Self {
        edit(&mut self.spec);
        self.write();
        self
    }

    pub(crate) fn behavior(mut self, behavior: &str) -> Self {
        self.behavior = behavior.into();
        self
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// The disk as the launch file has it, bottom layer first.
    pub(crate) fn disk(&self) -> Vec<DiskLayer> {
        match &self.spec.machine {
            Machine::Qemu(qemu) => qemu.disk.clone(),
            Machine::Gvisor(gvisor) => gvisor.disk.clone(),
            Machine::Process(_) => Vec::new(),
        }
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.outer.path().join("workspace")
    }

    fn write(&self) {
        let text = serde_json::to_vec(&self.spec).unwrap();
        std::fs::write(self.path().join(LAUNCH_FILE), text).unwrap();
    }

    pub(crate) fn start(&self) -> Shim {
        Shim::from(self.command().stdout(Stdio::piped()).spawn().unwrap())
    }

    /// A time for a boot that is much more than one takes on this host right now, and not shorter
    /// than `least`: what must have happened when it is over, has happened.
    pub(crate) fn ample_boot_ms(&self, least: u64) -> u64 {
        let mut shim = self.start();
        let running = shim.ready();
        self.stop(0, false);
        least.max(10 * running.boot_ms)
    }

    /// Has the fake agent say that something in the guest is in use, or that nothing is.
    pub(crate) fn guest_is_busy(&self, busy: bool) {
        let file = self.workspace().join("busy");
        if busy {
            std::fs::write(file, "").unwrap();
        } else {
            std::fs::remove_file(file).unwrap();
        }
    }

    /// With an event pipe that takes nothing.
    pub(crate) fn start_with_full_pipe(&self) -> Shim {
        let (reader, mut writer) = std::io::pipe().unwrap();
        nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        writer.write_all(&[0; 4096]).unwrap();
        let mut shim = Shim::from(self.command().stdout(writer).spawn().unwrap());
        shim.keeps = Some(reader.into());
        shim
    }

    /// With one descriptor too many.
    pub(crate) fn start_with_leak(&self, leak: UnixStream) -> Shim {
        let fd = leak.as_raw_fd();
        let mut command = self.command();
        // SAFETY: sets a flag, which is async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                nix::libc::fcntl(fd, nix::libc::F_SETFD, 0);
                Ok(())
            });
        }
        Shim::from(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// With few descriptors, also for its agent.
    pub(crate) fn start_with_files(&self, files: u64) -> Shim {
        let mut command = self.command();
        // SAFETY: sets a limit, which is async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                let limit = nix::sys::resource::Resource::RLIMIT_NOFILE;
                Ok(nix::sys::resource::setrlimit(limit, files, files)?)
            });
        }
        Shim::from(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(example("shim"));
        command
            .arg("run")
            .arg(self.path())
            .env("FAKE_AGENT", &self.behavior)
            .stdin(Stdio::piped());
        command
    }

    pub(crate) fn connect(&self) -> UnixStream {
        connect(self.path())
    }

    pub(crate) fn request(&self, request: &ShimRequest) -> ShimReply {
        ask(self.path(), request)
    }

    pub(crate) fn stop(&self, grace_ms: u64, remove: bool) -> ShimReply {
        stop(self.path(), grace_ms, remove)
    }

    pub(crate) fn status(&self) -> Status {
        match self.request(&ShimRequest::Status) {
            ShimReply::Status(status) => *status,
            other => panic!("no status but {other:?}"),
        }
    }

    pub(crate) fn add_layer(&self, layer: &DiskLayer) -> ShimReply {
        self.request(&ShimRequest::AddLayer(layer.clone()))
    }

    /// A connection to the agent.
    pub(crate) fn agent(&self) -> UnixStream {
        self.line(&ShimRequest::Agent)
    }

    /// A connection to who serves files.
    pub(crate) fn files_line(&self) -> UnixStream {
        self.line(&ShimRequest::Files)
    }

    fn line(&self, to: &ShimRequest) -> UnixStream {
        let mut line = self.connect();
        send(&mut line, to);
        let reply: ShimReply = receive(&mut line).unwrap().message().unwrap();
        assert_eq!(reply, ShimReply::Bridged);
        line
    }

    pub(crate) fn end_file(&self) -> Ended {
        let text = std::fs::read(self.path().join(END_FILE)).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

pub(crate) struct Shim {
    child: Child,
    keeps: Option<OwnedFd>,
}

impl From<Child> for Shim {
    fn from(child: Child) -> Self {
        Self { child, keeps: None }
    }
}

impl Shim {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn event(&mut self) -> LaunchEvent {
        let pipe = self.child.stdout.as_mut().unwrap();
        let mut ready = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(EVENT_PATIENCE).unwrap();
        assert_eq!(poll(&mut ready, patience), Ok(1), "the shim says nothing");
        receive(pipe).expect("an event").message().unwrap()
    }

    /// The next event that is not a note.
    fn outcome(&mut self) -> LaunchEvent {
        loop {
            match self.event() {
                LaunchEvent::Note(_) => {}
                event => return event,
            }
        }
    }

    pub(crate) fn ready(&mut self) -> Running {
        match self.outcome() {
            LaunchEvent::Ready(running) => running,
            other => panic!("not ready but {other:?}"),
        }
    }

    pub(crate) fn failed(&mut self) -> Fault {
        match self.outcome() {
            LaunchEvent::Failed(fault) => fault,
            other => panic!("not failed but {other:?}"),
        }
    }

    pub(crate) fn end(&mut self) -> Ended {
        match self.outcome() {
            LaunchEvent::Ended(ended) => ended,
            other => panic!("not ended but {other:?}"),
        }
    }

    pub(crate) fn exit(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the shim does not end");
    }

    pub(crate) fn owner_says(&mut self, words: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(words).unwrap();
    }

    pub(crate) fn owner_leaves(&mut self) {
        self.child.stdin = None;
    }

    pub(crate) fn nobody_reads(&mut self) {
        self.child.stdout = None;
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(dir: &Path) -> UnixStream {
    try_connect(dir).unwrap()
}

pub(crate) fn try_connect(dir: &Path) -> std::io::Result<UnixStream> {
    let folder = File::open(dir)?;
    let path = format!("/proc/self/fd/{}/{CONTROL_SOCKET}", folder.as_raw_fd());
    let socket = UnixStream::connect(path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

pub(crate) fn ask(dir: &Path, request: &ShimRequest) -> ShimReply {
    let mut socket = connect(dir);
    send(&mut socket, request);
    receive(&mut socket).expect("a reply").message().unwrap()
}

pub(crate) fn stop(dir: &Path, grace_ms: u64, remove: bool) -> ShimReply {
    ask(
        dir,
        &ShimRequest::Stop(Stop {
            grace_ms,
            remove,
            at_once: false,
        }),
    )
}

pub(crate) fn exec(agent: &mut UnixStream, command: &str) {
    let exec = Exec {
        input: true,
        ..Exec::new(pyro_wire::exec::Command::Shell(
            command.as_bytes().to_vec().into(),
        ))
    };
    send(agent, &AgentRequest::Exec(exec));
}

pub(crate) fn input(agent: &mut UnixStream, data: &[u8]) {
    let mut bytes = Vec::new();
    let written = frame::write_data(&mut bytes, Kind::Input, data).now_or_never();
    written.unwrap().unwrap();
    agent.write_all(&bytes).unwrap();
}

/// Blocking reads and writes: with them every future is ready at once.
pub(crate) fn receive(from: &mut impl Read) -> Option<Frame> {
    let mut from = AllowStdIo::new(from).compat();
    frame::read(&mut from)
        .now_or_never()
        .unwrap()
        .ok()
        .flatten()
}

pub(crate) fn send(to: &mut impl Write, message: &impl serde::Serialize) {
    let mut bytes = Vec::new();
    let written = frame::write_message(&mut bytes, message).now_or_never();
    written.unwrap().unwrap();
    to.write_all(&bytes).unwrap();
}

pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "it did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process is there and not merely waiting to be collected.
pub(crate) fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    matches!(stat.rsplit_once(") "), Some((_, rest)) if !rest.starts_with('Z'))
}

pub(crate) fn lock_is_free(dir: &Path) -> bool {
    let file = File::open(dir.join(LIVENESS_LOCK)).unwrap();
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock).is_ok()
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    nix::sys::signal::kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

pub(crate) fn kill(pid: u32) {
    signal(pid, Signal::SIGKILL);
}
