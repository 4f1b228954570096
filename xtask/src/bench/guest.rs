//! A VM of an engine in this process, started for the benchmark, and commands in it while it runs.
//!
//! The contract's `vm_exec` deletes its VM, so repeated commands go the way that every command of
//! the engine goes in the end: a connection to the shim's socket, a stream to the agent, Exec.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pyro_api::operations::vm_create::VmCreate;
use pyro_api::operations::vm_delete::VmDelete;
use pyro_api::operations::vm_start::VmStart;
use pyro_api::values::{MemMib, TtlSeconds, VcpuCount, VmRecord};
use pyro_api::{Caller, Error, Handle};
use pyro_engine::Engine;
use pyro_wire::agent::{AgentRequest, Command, Exec, ExecEvent};
use pyro_wire::frame::{self, Kind};
use pyro_wire::shim::{CONTROL_SOCKET, ShimReply, ShimRequest, Status};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::contender::{Contender, Errand, Goal, League, Turn, Work};
use super::pyro::ENVIRONMENT;

/// A command that takes longer has hung.
const HUNG: Duration = Duration::from_secs(60);

pub(crate) struct Guest {
    engine: Arc<Engine>,
    pub(crate) record: VmRecord,
    folder: PathBuf,
}

impl Guest {
    pub(crate) async fn start(engine: &Arc<Engine>, mem_mib: MemMib) -> Result<Self, Error> {
        let caller = Caller::new();
        let create = VmCreate {
            environment: ENVIRONMENT.to_owned(),
            vcpu_count: VcpuCount::default(),
            mem_mib,
            ttl_seconds: TtlSeconds::new(TtlSeconds::MAX.into()).unwrap_or_default(),
            network: false,
            allow_host_compat: false,
        };
        let created: VmRecord = engine.handle(create, &caller).await?;
        let start = VmStart {
            vm_id: created.vm_id,
        };
        let record: VmRecord = engine.handle(start, &caller).await?;
        let vms = engine.config().state_dir.join("vms");
        Ok(Self {
            engine: Arc::clone(engine),
            folder: vms.join(&record.vm_id),
            record,
        })
    }

    pub(crate) async fn delete(&self) -> Result<(), Error> {
        let vm_id = self.record.vm_id.clone();
        self.engine
            .handle(VmDelete { vm_id }, &Caller::new())
            .await?;
        Ok(())
    }

    /// The processes that keep the VM: shim and QEMU.
    pub(crate) async fn processes(&self) -> Result<Vec<u32>> {
        let (_, reply) = self.ask(&ShimRequest::Status).await?;
        let ShimReply::Status(Status {
            shim_pid, vmm_pid, ..
        }) = reply
        else {
            bail!("the shim answered something else: {reply:?}");
        };
        Ok([Some(shim_pid), vmm_pid].into_iter().flatten().collect())
    }

    async fn exec(&self, command: Command) -> Result<()> {
        let (mut stream, reply) = self.ask(&ShimRequest::Agent).await?;
        ensure!(reply == ShimReply::Bridged, "no stream: {reply:?}");
        let exec = AgentRequest::Exec(Exec {
            command,
            cwd: None,
            env: Vec::new(),
            timeout_ms: u64::try_from(HUNG.as_millis()).ok(),
            input: false,
        });
        frame::write_message(&mut stream, &exec).await?;
        loop {
            let frame = frame::read(&mut stream).await?.context("the VM is gone")?;
            if frame.kind != Kind::Message {
                continue;
            }
            match frame.message()? {
                ExecEvent::Started { .. } => {}
                ExecEvent::Ended(end) => {
                    ensure!(end.exit_code == 0, "the command failed: {end:?}");
                    return Ok(());
                }
                ExecEvent::Failed(fault) => bail!("the agent refused: {fault}"),
            }
        }
    }

    async fn ask(&self, request: &ShimRequest) -> Result<(UnixStream, ShimReply)> {
        // Through the descriptor: a socket's address holds only 108 bytes.
        let folder = File::open(&self.folder)?;
        let socket = format!("/proc/self/fd/{}/{CONTROL_SOCKET}", folder.as_raw_fd());
        let mut stream = UnixStream::connect(socket).await?;
        frame::write_message(&mut stream, request).await?;
        let reply = frame::read_message(&mut stream).await?;
        Ok((stream, reply))
    }
}

pub(crate) fn contenders(guest: &Rc<Guest>) -> Vec<Contender> {
    let contender = |shown: &str, errand, command| {
        let guest = Rc::clone(guest);
        Contender::new(
            format!("engine in process: exec {shown} in a running VM"),
            ExecInGuest { guest, command },
        )
        .league(League::Running(errand))
    };
    let mut contenders = Vec::new();
    for errand in Errand::ALL {
        contenders.push(
            contender(&format!("`{errand}`"), errand, as_typed(errand))
                .goal((errand == Errand::True).then_some(Goal::Milliseconds(15.0))),
        );
    }
    let program = Command::Program(vec![b"true".to_vec().into()]);
    contenders.insert(
        1,
        contender("`true`, without a shell,", Errand::True, program),
    );
    contenders.push(
        Contender::missing(
            "command line: exec `true` in a running VM",
            "no command does it yet; it comes with workspaces",
        )
        .league(League::Running(Errand::True))
        .goal(Some(Goal::Ratio(0.4))),
    );
    contenders
}

/// As the command line reads it: one word is a line for a login shell, several are a program.
fn as_typed(errand: Errand) -> Command {
    match errand.words() {
        [line] => Command::Shell(line.as_bytes().to_vec().into()),
        words => Command::Program(
            words
                .iter()
                .map(|word| word.as_bytes().to_vec().into())
                .collect(),
        ),
    }
}

struct ExecInGuest {
    guest: Rc<Guest>,
    command: Command,
}

impl Work for ExecInGuest {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let started = Instant::now();
            timeout(HUNG, self.guest.exec(self.command.clone()))
                .await
                .context("a command in the VM hung")??;
            Ok(started.elapsed())
        })
    }
}
