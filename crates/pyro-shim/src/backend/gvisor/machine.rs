//! One sandbox: its start, its console, and what its end means.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use pyro_namespace::{Child, IdMap, NamespaceError, Namespaces, Program};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::jail::JailChoice;
use pyro_wire::launch::{DiskLayer, Runs};
use pyro_wire::network::Network;
use pyro_wire::reached;
use pyro_wire::session::Opener;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;

use super::alone::Alone;
use super::beside::Beside;
use super::hold::Held;
use super::limits::allowance::Allowance;
use super::limits::guard::{Guard, Verdict};
use super::limits::{LIMITED, WATCHED, tasks};
use super::link::Link;
use super::passing::{Passage, PassingChannel};
use super::plan::Plan;
use super::sandbox::FAILED;
use crate::THIS_PROGRAM;
use crate::backend::child::{describe, end_of, watch};
use crate::backend::control_group::{ControlGroup, Limits};
use crate::backend::{
    About, BootFailure, Death, DeathKind, FilesServer, Launched, Machine, Merging,
};
use crate::console::{CONSOLE_BYTES, ERROR_BYTES, Tail};

const REASON: &str = "gVisor runs the guest's programs on the host's processors and catches their \
                      system calls";

const FILES_REASON: &str =
    "only the files of the disk are worked on, and nothing of it is executed";

/// What runsc exits with when it fails itself.
const RUNSC_FAILED: i32 = 128;

/// And when it cannot go on.
const RUNSC_PANICKED: i32 = 2;

/// As a shell tells SIGKILL.
const KERNEL_KILLED: i32 = 137;

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("a sandbox cannot be started: {0}")]
    Namespaces(#[from] NamespaceError),
    #[error("a sandbox could not be started: {0}")]
    Io(#[from] io::Error),
}

impl StartError {
    /// What a person can do about it, where that is known.
    pub(super) fn fix(&self) -> Option<&str> {
        match self {
            Self::Namespaces(error) => error.fix(),
            Self::Io(_) => None,
        }
    }
}

impl From<StartError> for BootFailure {
    fn from(error: StartError) -> Self {
        let code = match &error {
            StartError::Namespaces(_) => FaultCode::VmmFailed,
            StartError::Io(source) => FaultCode::of_io(source),
        };
        let mut words = error.to_string();
        if let Some(fix) = error.fix() {
            words.push_str("; what helps: ");
            words.push_str(fix);
        }
        Self::lasting(Fault::new(code, words))
    }
}

/// Starts a sandbox. Its agent answers later, or the machine ends and says why.
pub(super) fn start(
    plan: Plan,
    version: &str,
    disk: Vec<DiskLayer>,
    network: Option<(&Network, JailChoice)>,
    files_idle: Duration,
    lock: Option<&OwnedFd>,
) -> Result<(GvisorMachine, PassingChannel), StartError> {
    let map = IdMap::of_caller()?;
    let allowance = Allowance::new(plan.mem_mib, plan.processors);
    let group = match plan.runs {
        Runs::Sandbox => ControlGroup::make(&Limits {
            memory: allowance.all,
            tasks: tasks::most_tasks(plan.mem_mib),
            processors: plan.processors,
        })
        .ok(),
        Runs::Files => None,
    };
    let network = network.filter(|_| plan.runs == Runs::Sandbox);
    let (program, ends) = prepare(plan, network.is_some(), lock, group)?;
    let child = program.start(&map)?;
    // It holds the other ends.
    drop(program);
    reached!("sandbox started");
    Ok(ends.into_machine(child, version, disk, network, files_idle, allowance)?)
}

impl From<(GvisorMachine, PassingChannel)> for Launched {
    fn from((machine, channel): (GvisorMachine, PassingChannel)) -> Self {
        Self {
            machine: Box::new(machine),
            channel: Box::new(channel),
        }
    }
}

/// Our ends of what a sandbox is connected with.
struct Ends {
    runs: Runs,
    mem_mib: u32,
    /// The folder of the layer that is written to.
    top: Option<PathBuf>,
    channel: StdUnixStream,
    console: io::PipeReader,
    log: io::PipeReader,
    /// Where the guest's interface comes out.
    link: Option<StdUnixStream>,
    group: Option<ControlGroup>,
    /// A folder on the file system of the host that the guest's changes lie on.
    written_to: Option<PathBuf>,
}

fn prepare(
    mut plan: Plan,
    has_network: bool,
    lock: Option<&OwnedFd>,
    group: Option<ControlGroup>,
) -> io::Result<(Program, Ends)> {
    let (channel, agent_end) = StdUnixStream::pair()?;
    channel.set_nonblocking(true)?;
    // A file in its place would be written at runsc's own offset. One pipe for both, so that lines
    // keep their order.
    let (console, console_end) = io::pipe()?;
    let (log, log_end) = io::pipe()?;
    plan.log = log_end.as_raw_fd();
    let mut program = Program::new(THIS_PROGRAM, Namespaces::All);
    let mut link = None;
    if has_network {
        let (ours, theirs) = StdUnixStream::pair()?;
        plan.link = Some(theirs.as_raw_fd());
        program.keep(theirs);
        link = Some(ours);
    }
    if let Some(group) = &group {
        let entrance = group.entrance()?;
        plan.control_group = Some(entrance.as_raw_fd());
        program.keep(entrance);
    }
    if let Some(lock) = lock {
        program.keep(lock.try_clone()?);
    }
    program
        .args(["shim", "--sandbox"])
        .arg(serde_json::to_string(&plan)?)
        .stdin(agent_end)
        .stdout(console_end.try_clone()?)
        .stderr(console_end)
        .keep(log_end);
    let ends = Ends {
        runs: plan.runs,
        mem_mib: plan.mem_mib,
        top: plan.layers.as_ref().and_then(|layers| layers.top.clone()),
        channel,
        console,
        log,
        link,
        group,
        written_to: plan.written_to().map(Path::to_owned),
    };
    Ok((program, ends))
}

impl Ends {
    fn into_machine(
        self,
        child: Child,
        version: &str,
        disk: Vec<DiskLayer>,
        network: Option<(&Network, JailChoice)>,
        files_idle: Duration,
        allowance: Allowance,
    ) -> io::Result<(GvisorMachine, PassingChannel)> {
        let link = match (network, self.link) {
            (Some((network, jail)), Some(link)) => {
                Some(Link::serve(network.clone(), jail, link, child.killer()?)?)
            }
            _ => None,
        };
        let files: Option<Arc<dyn FilesServer>> = match self.runs {
            Runs::Sandbox => Some(Beside::new(&child, self.mem_mib, files_idle)?),
            // Its own agent, once that answers.
            Runs::Files => None,
        };
        let channel = PassingChannel::new(UnixStream::from_std(self.channel)?);
        let guard = Guard::watch(child.id(), child.killer()?, allowance, self.written_to);
        let child = watch(child)?;
        let machine = GvisorMachine {
            about: about(self.runs, version),
            runs: self.runs,
            top: self.top,
            child,
            console: Tail::follow(Receiver::from_owned_fd(self.console.into())?, CONSOLE_BYTES),
            log: Tail::follow(Receiver::from_owned_fd(self.log.into())?, ERROR_BYTES),
            disk,
            guard,
            group: self.group,
            held: None,
            files,
            passage: channel.passage(),
            link,
        };
        Ok((machine, channel))
    }
}

fn about(runs: Runs, version: &str) -> About {
    let (accelerator, reason) = match runs {
        Runs::Sandbox => ("systrap", REASON),
        Runs::Files => ("none", FILES_REASON),
    };
    About {
        backend: "gvisor",
        accelerator,
        accelerator_reason: reason.into(),
        vmm_version: (runs == Runs::Sandbox).then(|| version.to_owned()),
        resumed: false,
        walls: None,
    }
}

pub(super) struct GvisorMachine {
    about: About,
    runs: Runs,
    /// The folder of the layer that is written to.
    top: Option<PathBuf>,
    /// The first process of the namespaces: its end is everybody's.
    child: AsyncFd<Child>,
    console: Tail,
    /// What runsc says itself.
    log: Tail,
    disk: Vec<DiskLayer>,
    guard: Guard,
    /// After the child, whose end it needs.
    group: Option<ControlGroup>,
    /// While the sandbox is paused.
    held: Option<Held>,
    /// Who serves its files.
    files: Option<Arc<dyn FilesServer>>,
    passage: Passage,
    link: Option<Link>,
}

impl GvisorMachine {
    async fn death(&mut self) -> Death {
        let status = end_of(&mut self.child).await;
        self.console.drain().await;
        self.log.drain().await;
        let mut vmm_log: Vec<String> = self.log.lines().iter().map(|line| words(line)).collect();
        if let Some(Verdict { kind, message }) = self.guard.verdict().cloned() {
            return Death {
                kind,
                message,
                vmm_log,
            };
        }
        if let Some(why) = self.link.as_ref().and_then(Link::refused) {
            return Death {
                kind: DeathKind::Refused,
                message: format!("the guest's network was not started: {why}"),
                vmm_log: Vec::new(),
            };
        }
        let (kind, message) = match status {
            Ok(_) if self.group.as_ref().is_some_and(ControlGroup::oom_killed) => (
                DeathKind::OutOfMemory,
                "the host's kernel killed the sandbox, which took more memory than its control \
                 group may"
                    .into(),
            ),
            Ok(status) => match self.runs {
                Runs::Sandbox => explain(status, &vmm_log),
                Runs::Files => explain_files(status, &vmm_log),
            },
            Err(error) => (DeathKind::Vmm, format!("runsc is gone: {error}")),
        };
        // Nothing is told twice.
        vmm_log.pop_if(|last| message.ends_with(last.as_str()));
        Death {
            kind,
            message,
            vmm_log,
        }
    }
}

/// What runsc says of itself is an object of JSON in each line, in which few words matter.
fn words(line: &str) -> String {
    let told: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let words = told.as_ref().and_then(|told| told.get("msg")?.as_str());
    words.unwrap_or(line).to_owned()
}

/// `runsc run` ends as the guest's first process does, or with a status and words of its own.
fn explain(status: ExitStatus, log: &[String]) -> (DeathKind, String) {
    let last = log.last().map(String::as_str).unwrap_or_default();
    match status.code() {
        Some(0) => (DeathKind::Off, "the guest powered off".into()),
        Some(code) if code == i32::from(FAILED) => (refusal(last), last.to_owned()),
        Some(RUNSC_FAILED) => (refusal(last), format!("runsc failed: {last}")),
        // What runsc tells of a kernel that is gone, or of a first process: root in the guest may kill
        // that one, unlike on Linux.
        Some(KERNEL_KILLED) => (
            DeathKind::Vmm,
            "the guest's kernel was killed, as the host does when its memory is used up, or the \
             guest killed its first process"
                .into(),
        ),
        // A program in Go that panics. The agent has no such status.
        Some(RUNSC_PANICKED) => (
            DeathKind::OutOfMemory,
            "the guest's kernel gave up, as it does when it gets no more processes or memory of the \
             host's"
                .into(),
        ),
        Some(code) => (
            DeathKind::Crash,
            format!("the guest's first process exited with status {code}"),
        ),
        None => (DeathKind::Vmm, format!("runsc {}", describe(status))),
    }
}

/// Where the agent is in runsc's place.
fn explain_files(status: ExitStatus, log: &[String]) -> (DeathKind, String) {
    let last = log.last().map(String::as_str).unwrap_or_default();
    match status.code() {
        Some(code) if code == i32::from(FAILED) => (refusal(last), last.to_owned()),
        Some(_) | None => (
            DeathKind::Crash,
            format!("the agent of the files {}", describe(status)),
        ),
    }
}

/// What kind of refusal these words tell of: all of them are those of ENOSPC, in Rust or in Go.
fn refusal(words: &str) -> DeathKind {
    let words = words.to_lowercase();
    match words.contains("no space left on device") {
        true => DeathKind::NoSpace,
        false => DeathKind::Refused,
    }
}

impl Machine for GvisorMachine {
    fn about(&self) -> &About {
        &self.about
    }

    fn greeted(&mut self, agent: Opener) {
        if self.runs == Runs::Files {
            let passage = self.passage.clone();
            self.files = Some(Arc::new(Alone { agent, passage }));
            return;
        }
        let limited = self.group.as_ref().is_some_and(ControlGroup::is_entered);
        let how = if limited { LIMITED } else { WATCHED };
        self.about.accelerator_reason = format!("{REASON}; {how}");
        self.guard.greeted(agent);
    }

    fn pid(&self) -> Option<u32> {
        Some(self.child.get_ref().id())
    }

    fn console_tail(&self) -> Vec<String> {
        self.console.lines()
    }

    fn disk(&self) -> &[DiskLayer] {
        &self.disk
    }

    /// A full disk of the host is an error to the guest's programs, and nothing waits.
    fn standstill(&self) -> Option<&str> {
        None
    }

    fn lack_of_space(&self) -> Option<&str> {
        None
    }

    fn add_layer<'a>(&'a mut self, _: &'a DiskLayer) -> LocalBoxFuture<'a, Result<(), Fault>> {
        let words = "a sandbox that runs cannot get another disk layer yet: stop it first";
        async move { Err(Fault::new(FaultCode::Refused, words)) }.boxed_local()
    }

    fn merge_layer<'a>(&'a mut self, _: &'a Path) -> LocalBoxFuture<'a, Result<(), Fault>> {
        let words = "a sandbox that runs cannot give up a disk layer yet: stop it first";
        async move { Err(Fault::new(FaultCode::Refused, words)) }.boxed_local()
    }

    fn merging(&self) -> Option<&Merging> {
        None
    }

    fn ended(&mut self) -> LocalBoxFuture<'_, Death> {
        self.death().boxed_local()
    }

    fn files(&self) -> Option<Arc<dyn FilesServer>> {
        self.files.clone()
    }

    /// The whole file system that the layer is on: what was changed is in many files of it. Whoever has
    /// a disk filled does that alone, beside what it does next.
    fn flush(&self) -> LocalBoxFuture<'static, io::Result<()>> {
        let top = self.top.clone().filter(|_| self.runs == Runs::Sandbox);
        async {
            let Some(top) = top else { return Ok(()) };
            let flush = move || Ok(nix::unistd::syncfs(File::open(top)?)?);
            tokio::task::spawn_blocking(flush).await?
        }
        .boxed_local()
    }

    /// What the guest's kernel holds back it writes when its agent asks for it; what is written is
    /// the host's.
    fn quit(&mut self) -> LocalBoxFuture<'_, Death> {
        self.kill();
        self.ended()
    }

    fn pause(&mut self) -> LocalBoxFuture<'_, Result<(), Fault>> {
        async {
            let held = Held::all_below(self.child.get_ref().id()).await;
            self.held = Some(held.map_err(|error| {
                let words = format!("the sandbox could not be stopped: {error}");
                Fault::new(FaultCode::VmmFailed, words)
            })?);
            Ok(())
        }
        .boxed_local()
    }

    fn unpause(&mut self) -> LocalBoxFuture<'_, Result<(), Fault>> {
        self.held = None;
        async { Ok(()) }.boxed_local()
    }

    fn kill(&mut self) {
        self.child.get_ref().kill();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn an_agent_in_runscs_place_ends_as_itself() {
        let end = |wait_status, log: &[&str]| {
            let log: Vec<String> = log.iter().map(|line| words(line)).collect();
            explain_files(ExitStatus::from_raw(wait_status), &log)
        };
        let full = "the sandbox could not be made: making its folders: No space left on device";
        assert_eq!(end(125 << 8, &[full]), (DeathKind::NoSpace, full.into()));
        let ended = "the agent of the files exited with status 1";
        assert_eq!(end(1 << 8, &[]), (DeathKind::Crash, ended.into()));
        let (_, killed) = end(9, &[]);
        assert!(
            killed.ends_with("was killed by signal 9 (SIGKILL)"),
            "{killed}"
        );
    }

    #[test]
    fn each_end_says_whose_it_was() {
        let end = |wait_status, log: &[&str]| {
            let log: Vec<String> = log.iter().map(|line| words(line)).collect();
            explain(ExitStatus::from_raw(wait_status), &log)
        };
        assert_eq!(end(0, &[]).0, DeathKind::Off);
        assert_eq!(end(2 << 8, &[]).0, DeathKind::OutOfMemory);
        assert_eq!(end(7 << 8, &[]).0, DeathKind::Crash);
        assert_eq!(end(137 << 8, &[]).0, DeathKind::Vmm);
        assert_eq!(
            end(125 << 8, &["the sandbox could not be made: here"]),
            (
                DeathKind::Refused,
                "the sandbox could not be made: here".into()
            )
        );
        assert_eq!(
            end(
                128 << 8,
                &["noise", r#"{"msg":"no such thing","level":"error"}"#]
            ),
            (DeathKind::Refused, "runsc failed: no such thing".into())
        );
        let full = r#"{"msg":"creating container: open /changes/x: no space left on device"}"#;
        assert_eq!(end(128 << 8, &[full]).0, DeathKind::NoSpace);
        assert_eq!(
            end(9, &[]),
            (
                DeathKind::Vmm,
                "runsc was killed by signal 9 (SIGKILL)".into()
            )
        );
    }
}
