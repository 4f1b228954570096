//! Workspaces of an engine in this process: commands in one that runs, and a reset.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pyro_api::operations::workspace_create::WorkspaceCreate;
use pyro_api::operations::workspace_delete::WorkspaceDelete;
use pyro_api::operations::workspace_exec::WorkspaceExec;
use pyro_api::operations::workspace_file_list::WorkspaceFileList;
use pyro_api::operations::workspace_list::WorkspaceList;
use pyro_api::operations::workspace_reset::WorkspaceReset;
use pyro_api::operations::workspace_start::WorkspaceStart;
use pyro_api::operations::workspace_stop::WorkspaceStop;
use pyro_api::values::{
    AllowNet, BASELINE, CommandLine, EnvVars, IdleSeconds, Isolation, Labels, MemMib,
    NetworkPolicy, SecretEnv, Secrets, TimeoutSeconds, TtyArgs, VcpuCount, WORKSPACE_PATH,
    WorkspaceExecResult,
};
use pyro_api::{Caller, Handle};
use pyro_engine::Engine;
use tokio::time::timeout;

use super::contender::{Contender, Errand, Goal, League, Turn, Work};
use super::guest::noun;
use super::gvisor::Gvisor;
use super::lazy::Lazy;
use super::process::{self, HUNG};
use super::pyro::{ENVIRONMENT, Pyro};
use super::seed::Folder;

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
    pub(crate) isolation: Isolation,
}

/// A workspace of several rows.
pub(crate) type Shared = Rc<Lazy<Workspace>>;

/// Empty, for commands in one that runs.
pub(crate) fn empty(engine: &Arc<Engine>, isolation: Isolation) -> Shared {
    let engine = Arc::clone(engine);
    Lazy::new(move || {
        let engine = Arc::clone(&engine);
        async move { Workspace::create(&engine, isolation, None).await }
    })
}

/// With the files of a folder.
pub(crate) fn seeded(engine: &Arc<Engine>, isolation: Isolation, seed: &Folder) -> Shared {
    let (engine, seed) = (Arc::clone(engine), Rc::clone(seed));
    Lazy::new(move || {
        let (engine, seed) = (Arc::clone(&engine), Rc::clone(&seed));
        async move { Workspace::create(&engine, isolation, Some(seed.get().await?)).await }
    })
}

/// Of all rows.
pub(crate) async fn delete_all(engine: &Arc<Engine>) -> Result<()> {
    loop {
        let listed = engine
            .handle(WorkspaceList { skip: 0 }, &Caller::new())
            .await?;
        if listed.workspaces.is_empty() {
            return Ok(());
        }
        for workspace in listed.workspaces {
            let workspace_id = workspace.workspace_id;
            let delete = WorkspaceDelete { workspace_id };
            engine.handle(delete, &Caller::new()).await?;
        }
    }
}

impl Workspace {
    pub(crate) async fn create(
        engine: &Arc<Engine>,
        isolation: Isolation,
        seed: Option<&Path>,
    ) -> Result<Self> {
        Self::make(engine, isolation, seed, NetworkPolicy::Off, Vec::new()).await
    }

    /// An empty VM that reaches something.
    pub(crate) async fn networked(
        engine: &Arc<Engine>,
        network_policy: NetworkPolicy,
        allow_net: Vec<AllowNet>,
    ) -> Result<Self> {
        Self::make(engine, Isolation::Vm, None, network_policy, allow_net).await
    }

    async fn make(
        engine: &Arc<Engine>,
        isolation: Isolation,
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
            isolation: Some(isolation),
        };
        let record = timeout(PREPARING, engine.handle(create, &Caller::new()))
            .await
            .context("making a workspace hung")??;
        Ok(Self {
            engine: Arc::clone(engine),
            id: record.workspace_id,
            isolation,
        })
    }

    /// Starts one that [rests](Self::rest), before what is timed.
    pub(crate) async fn wake(&self) -> Result<()> {
        if self.isolation == Isolation::Gvisor {
            let workspace_id = self.id.clone();
            let start = WorkspaceStart { workspace_id };
            self.engine.handle(start, &Caller::new()).await?;
            // What serves its files on the host is there as well.
            let list = WorkspaceFileList {
                workspace_id: self.id.clone(),
                path: WORKSPACE_PATH.to_owned(),
                recursive: false,
                max_entries: None,
                skip: 0,
            };
            self.engine.handle(list, &Caller::new()).await?;
        }
        Ok(())
    }

    /// Ends a sandbox until its next turn: each that is idle takes a processor's twentieth part, which
    /// others would miss. A VM goes on; idle, it takes next to nothing.
    pub(crate) async fn rest(&self) -> Result<()> {
        if self.isolation == Isolation::Gvisor {
            let workspace_id = self.id.clone();
            let stop = WorkspaceStop { workspace_id };
            self.engine.handle(stop, &Caller::new()).await?;
        }
        Ok(())
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
            user: None,
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
}

/// Commands in a workspace that runs.
pub(crate) fn commands(
    pyro: &Pyro,
    gvisor: &Gvisor,
    isolation: Isolation,
    workspace: &Shared,
) -> Vec<Contender> {
    let running = noun(isolation);
    let contender = |shown: &str, errand, command| {
        let label = format!("engine in process: exec {shown} in a running {running}");
        let row = gvisor.row_of(isolation, label, || Exec {
            workspace: Rc::clone(workspace),
            command,
        });
        row.league(League::Running(errand))
    };
    let mut contenders = Vec::new();
    for errand in Errand::ALL {
        let goal = match isolation {
            Isolation::Gvisor => Goal::Ratio(0.15),
            Isolation::Auto | Isolation::Vm => Goal::Milliseconds(15.0),
        };
        contenders.push(
            contender(&format!("`{errand}`"), errand, errand.as_typed())
                .goal((errand == Errand::True).then_some(goal)),
        );
    }
    let program = CommandLine::Program(vec![b"true".to_vec()]);
    contenders.insert(
        1,
        contender("`true`, without a shell,", Errand::True, program),
    );
    let label = format!("`pyro workspace exec ID -- true` in a running {running}");
    let typed = gvisor.row_of(isolation, label, || ExecAsTyped {
        pyro: pyro.clone(),
        workspace: Rc::clone(workspace),
    });
    contenders.push(
        typed
            .league(League::Running(Errand::True))
            .goal(Some(Goal::Ratio(0.4))),
    );
    contenders
}

struct Exec {
    workspace: Shared,
    command: CommandLine,
}

impl Work for Exec {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let workspace = self.workspace.get().await?;
            let command = self.command.clone();
            let started = Instant::now();
            workspace.exec(command).await?;
            Ok(started.elapsed())
        })
    }
}

/// The whole command, a process for each.
struct ExecAsTyped {
    pyro: Pyro,
    workspace: Shared,
}

impl Work for ExecAsTyped {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let workspace = self.workspace.get().await?;
            let mut exec = self.pyro.command();
            exec.args(["workspace", "exec", &workspace.id, "--"]);
            exec.args(Errand::True.words());
            Ok(process::run(&mut exec).await?.0)
        })
    }
}

/// Back to the first files, of a workspace that nothing else uses.
pub(crate) fn reset(gvisor: &Gvisor, isolation: Isolation, workspace: Shared) -> Contender {
    let label = format!(
        "engine in process: `workspace_reset` of a {}",
        noun(isolation)
    );
    gvisor
        .row_of(isolation, label, || ResetAll { workspace })
        .goal(Some(Goal::Milliseconds(500.0)))
}

struct ResetAll {
    workspace: Shared,
}

impl ResetAll {
    async fn reset(&self) -> Result<Duration> {
        let workspace = self.workspace.get().await?;
        workspace.wake().await?;
        // So that there is something to bring back.
        let line = "rm -r /workspace/*";
        workspace.exec(line.to_owned().into()).await?;
        let reset = WorkspaceReset {
            workspace_id: workspace.id.clone(),
            snapshot: BASELINE.to_owned(),
        };
        let started = Instant::now();
        timeout(HUNG, workspace.engine.handle(reset, &Caller::new()))
            .await
            .context("a reset hung")??;
        let took = started.elapsed();
        workspace.rest().await?;
        Ok(took)
    }
}

impl Work for ResetAll {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(self.reset())
    }
}
