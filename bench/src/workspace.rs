//! Workspaces of an engine in this process: commands in one that runs, and a reset.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pyro_api::operations::workspace_create::WorkspaceCreate;
use pyro_api::operations::workspace_delete::WorkspaceDelete;
use pyro_api::operations::workspace_exec::WorkspaceExec;
use pyro_api::operations::workspace_reset::WorkspaceReset;
use pyro_api::values::{
    AllowNet, BASELINE, CommandLine, EnvVars, IdleSeconds, Isolation, Labels, MemMib,
    NetworkPolicy, SecretEnv, Secrets, TimeoutSeconds, TtyArgs, VcpuCount, WorkspaceExecResult,
};
use pyro_api::{Caller, Handle};
use pyro_engine::Engine;
use tokio::time::timeout;

use super::contender::{Contender, Errand, Goal, League, Turn, Work};
use super::process::{self, HUNG};
use super::pyro::{ENVIRONMENT, Pyro};

/// What is made before the rounds may take longer than a turn: under emulation the largest seed
/// keeps a guest busy for minutes.
const PREPARING: Duration = Duration::from_secs(1200);

/// After this without use the VM of a benchmark that was killed ends by itself, in seconds.
const IDLE_SECONDS: i128 = 3600;

/// Enough for what these workspaces print.
const KEPT_OUTPUT: usize = 64 * 1024;

pub(crate) struct Workspace {
    pub(crate) engine: Arc<Engine>,
    pub(crate) id: String,
}

impl Workspace {
    pub(crate) async fn create(engine: &Arc<Engine>, seed: Option<&Path>) -> Result<Self> {
        Self::make(engine, seed, NetworkPolicy::Off, Vec::new()).await
    }

    /// An empty one that reaches something.
    pub(crate) async fn networked(
        engine: &Arc<Engine>,
        network_policy: NetworkPolicy,
        allow_net: Vec<AllowNet>,
    ) -> Result<Self> {
        Self::make(engine, None, network_policy, allow_net).await
    }

    async fn make(
        engine: &Arc<Engine>,
        seed: Option<&Path>,
        network_policy: NetworkPolicy,
        allow_net: Vec<AllowNet>,
    ) -> Result<Self> {
        let create = WorkspaceCreate {
            secrets: Secrets::default(),
            environment: ENVIRONMENT.to_owned(),
            vcpu_count: VcpuCount::default(),
            mem_mib: MemMib::default(),
            ttl_seconds: IdleSeconds::new(IDLE_SECONDS)?,
            network_policy,
            allow_host_compat: false,
            allow_net,
            seed_path: seed.map(Path::to_owned),
            exclude: Vec::new(),
            gitignore: false,
            name: None,
            labels: Labels::default(),
            isolation: Some(Isolation::Vm),
        };
        let record = timeout(PREPARING, engine.handle(create, &Caller::new()))
            .await
            .context("making a workspace hung")??;
        Ok(Self {
            engine: Arc::clone(engine),
            id: record.workspace_id,
        })
    }

    /// Runs what is to be ready before the rounds; what it prints.
    pub(crate) async fn prepare(&self, line: &str) -> Result<String> {
        Ok(self.finish(line.to_owned().into(), PREPARING).await?.stdout)
    }

    /// Runs a command to its end, which must be a good one.
    pub(crate) async fn exec(&self, command: CommandLine) -> Result<WorkspaceExecResult> {
        self.finish(command, HUNG).await
    }

    async fn finish(&self, command: CommandLine, limit: Duration) -> Result<WorkspaceExecResult> {
        let exec = WorkspaceExec {
            secret_env: SecretEnv::default(),
            terminal: TtyArgs::default(),
            wait_seconds: None,
            background: false,
            stdin: None,
            stop: None,
            env: EnvVars::default(),
            cwd: None,
            workspace_id: self.id.clone(),
            command,
            timeout_seconds: TimeoutSeconds::new(limit.as_secs().into())?,
        };
        let caller = Caller::new().keeping_output(KEPT_OUTPUT);
        let result: WorkspaceExecResult = self.engine.handle(exec, &caller).await?;
        ensure!(
            result.exit_code == Some(0),
            "the command failed: {result:?}"
        );
        // It would be timed as what it is not.
        ensure!(!result.workspace_started, "the VM did not run any more");
        Ok(result)
    }

    pub(crate) async fn delete(&self) -> Result<()> {
        let workspace_id = self.id.clone();
        self.engine
            .handle(WorkspaceDelete { workspace_id }, &Caller::new())
            .await?;
        Ok(())
    }
}

/// Commands in a workspace that runs.
pub(crate) fn commands(pyro: &Pyro, workspace: &Rc<Workspace>) -> Vec<Contender> {
    let contender = |shown: &str, errand, command| {
        let workspace = Rc::clone(workspace);
        Contender::new(
            format!("engine in process: exec {shown} in a running VM"),
            Exec { workspace, command },
        )
        .league(League::Running(errand))
    };
    let mut contenders = Vec::new();
    for errand in Errand::ALL {
        contenders.push(
            contender(&format!("`{errand}`"), errand, errand.as_typed())
                .goal((errand == Errand::True).then_some(Goal::Milliseconds(15.0))),
        );
    }
    let program = CommandLine::Program(vec![b"true".to_vec()]);
    contenders.insert(
        1,
        contender("`true`, without a shell,", Errand::True, program),
    );
    let typed = ExecAsTyped {
        pyro: pyro.clone(),
        workspace: Rc::clone(workspace),
    };
    contenders.push(
        Contender::new("`pyro workspace exec ID -- true` in a running VM", typed)
            .league(League::Running(Errand::True))
            .goal(Some(Goal::Ratio(0.4))),
    );
    contenders
}

struct Exec {
    workspace: Rc<Workspace>,
    command: CommandLine,
}

impl Work for Exec {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let command = self.command.clone();
            let started = Instant::now();
            self.workspace.exec(command).await?;
            Ok(started.elapsed())
        })
    }
}

/// The whole command, a process for each.
struct ExecAsTyped {
    pyro: Pyro,
    workspace: Rc<Workspace>,
}

impl Work for ExecAsTyped {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let mut exec = self.pyro.command();
            exec.args(["workspace", "exec", &self.workspace.id, "--"]);
            exec.args(Errand::True.words());
            Ok(process::run(&mut exec).await?.0)
        })
    }
}

/// Back to the first files, of a workspace that nothing else uses.
pub(crate) fn reset(workspace: &Rc<Workspace>) -> Contender {
    let workspace = Rc::clone(workspace);
    Contender::new(
        "engine in process: `workspace_reset`",
        ResetAll { workspace },
    )
    .goal(Some(Goal::Milliseconds(500.0)))
}

struct ResetAll {
    workspace: Rc<Workspace>,
}

impl ResetAll {
    async fn reset(&self) -> Result<Duration> {
        // So that there is something to bring back.
        let line = "rm -r /workspace/*";
        self.workspace.exec(line.to_owned().into()).await?;
        let reset = WorkspaceReset {
            workspace_id: self.workspace.id.clone(),
            snapshot: BASELINE.to_owned(),
        };
        let started = Instant::now();
        timeout(HUNG, self.workspace.engine.handle(reset, &Caller::new()))
            .await
            .context("a reset hung")??;
        Ok(started.elapsed())
    }
}

impl Work for ResetAll {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(self.reset())
    }
}
