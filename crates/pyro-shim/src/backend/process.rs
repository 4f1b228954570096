//! The agent as an ordinary process of the host, without isolation: explicit, for hosts where
//! nothing else runs, and for tests in milliseconds.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::process::Stdio;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use nix::sys::signal::Signal as ProcessSignal;
use nix::unistd::Pid;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::launch::{DiskLayer, Process};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::child::{Inherit, describe, spawn};
use super::descendants::reap_orphans;
use super::{About, Backend, BootFailure, Death, DeathKind, Launched, Machine, Merging, Next};
use crate::console::{CONSOLE_BYTES, Tail};
use crate::events::Events;

pub(crate) struct ProcessBackend {
    spec: Process,
}

impl ProcessBackend {
    pub(crate) fn new(spec: Process) -> Self {
        Self { spec }
    }

    fn start(&self) -> io::Result<Launched> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        // One pipe for both, so that the lines keep their order.
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(&self.spec.agent);
        command
            .arg("--process")
            .arg(&self.spec.workspace)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        // The lock is not passed on: a daemon that a command leaves behind would inherit it from
        // the agent and keep a dead VM alive.
        // SIGTERM, and not SIGKILL: when the shim was killed, only the agent is left to end what
        // its commands started, and on this signal it does.
        let child = spawn(
            command,
            &Inherit::AsDescriptor3(theirs.as_fd()),
            ProcessSignal::SIGTERM,
        )?;
        Ok(Launched {
            channel: Box::new(UnixStream::from_std(ours)?),
            machine: Box::new(ProcessMachine {
                about: About {
                    backend: "process",
                    accelerator: "none",
                    accelerator_reason: "the agent runs on the host itself, without isolation"
                        .into(),
                    vmm_version: None,
                    resumed: false,
                    walls: None,
                },
                output: Tail::follow(Receiver::from_owned_fd(reader.into())?, CONSOLE_BYTES),
                orphans: signal(SignalKind::child())?,
                child,
            }),
        })
    }
}

impl Backend for ProcessBackend {
    fn prepare<'a>(&'a mut self, _: &'a Events) -> LocalBoxFuture<'a, Result<(), Fault>> {
        async { Ok(()) }.boxed_local()
    }

    fn launch(&mut self) -> LocalBoxFuture<'_, Result<Launched, BootFailure>> {
        let launched = self.start().map_err(|error| {
            let agent = self.spec.agent.display();
            BootFailure::lasting(Fault::new(
                FaultCode::HostIo,
                format!("the agent {agent} could not be started: {error}"),
            ))
        });
        async { launched }.boxed_local()
    }

    fn boot_failed(&mut self, _: &BootFailure) -> Next {
        Next::Same
    }
}

struct ProcessMachine {
    about: About,
    child: Child,
    /// Standard output and error of the agent stand in for a console.
    output: Tail,
    orphans: Signal,
}

impl ProcessMachine {
    async fn death(&mut self) -> Death {
        let status = loop {
            let pid = self.pid();
            tokio::select! {
                status = self.child.wait() => break status,
                _ = self.orphans.recv() => {
                    // Daemons that commands left behind end as our children.
                    if let Some(pid) = pid.and_then(|pid| pid.try_into().ok()) {
                        reap_orphans(Pid::from_raw(pid));
                    }
                }
            }
        };
        self.output.drain().await;
        let end = status.map_or_else(|error| error.to_string(), describe);
        Death {
            kind: DeathKind::Crash,
            message: format!("the agent {end}"),
            vmm_log: Vec::new(),
        }
    }
}

impl Machine for ProcessMachine {
    fn about(&self) -> &About {
        &self.about
    }

    fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    fn console_tail(&self) -> Vec<String> {
        self.output.lines()
    }

    fn disk(&self) -> &[DiskLayer] {
        &[]
    }

    fn standstill(&self) -> Option<&str> {
        None
    }

    fn lack_of_space(&self) -> Option<&str> {
        None
    }

    fn add_layer<'a>(&'a mut self, _: &'a DiskLayer) -> LocalBoxFuture<'a, Result<(), Fault>> {
        let words = "commands run on the host itself here: there is no disk to add a layer to";
        async move { Err(Fault::new(FaultCode::Refused, words)) }.boxed_local()
    }

    fn merge_layer<'a>(&'a mut self, _: &'a Path) -> LocalBoxFuture<'a, Result<(), Fault>> {
        let words = "commands run on the host itself here: there is no disk to remove a layer from";
        async move { Err(Fault::new(FaultCode::Refused, words)) }.boxed_local()
    }

    fn merging(&self) -> Option<&Merging> {
        None
    }

    fn ended(&mut self) -> LocalBoxFuture<'_, Death> {
        self.death().boxed_local()
    }

    /// The agent holds nothing back: what its commands wrote is the host's.
    fn quit(&mut self) -> LocalBoxFuture<'_, Death> {
        self.kill();
        self.ended()
    }

    fn pause(&mut self) -> LocalBoxFuture<'_, Result<(), Fault>> {
        async { Err(no_machine()) }.boxed_local()
    }

    fn unpause(&mut self) -> LocalBoxFuture<'_, Result<(), Fault>> {
        async { Err(no_machine()) }.boxed_local()
    }

    fn kill(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.start_kill();
    }
}

fn no_machine() -> Fault {
    Fault::new(FaultCode::Refused, "processes of the host cannot be frozen")
}
