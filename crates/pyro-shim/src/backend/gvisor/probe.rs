//! Do sandboxes run here? A program that is there is not an answer; an agent that answered in one is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyro_wire::launch::{Runs, SandboxProbe};
use pyro_wire::session;
use tokio::time::timeout;

use super::limits;
use super::machine::{self, StartError};
use super::plan::Plan;
use super::version::version;
use crate::backend::Machine as _;
use crate::backend::probe_cache::{ProbeCache, ProbeResult};

/// Ten times what a sandbox takes on a busy host.
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(10);

/// Plenty for an agent that only answers.
const MEM_MIB: u32 = 256;

/// Where the probe's world is put together, beside the answer: an empty folder that stays.
const PLACE: &str = "sandbox-probe";

/// See [`crate::probe_sandbox`].
pub(crate) fn run(runsc: &Path, agent: &Path, cache: &Path, fresh: bool) -> SandboxProbe {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(report(runsc, agent, cache, fresh)),
        Err(error) => refusal(format!("the runtime could not be started: {error}"), None),
    }
}

fn refusal(reason: String, fix: Option<String>) -> SandboxProbe {
    SandboxProbe {
        runs: false,
        reason,
        fix,
        version: None,
    }
}

async fn report(runsc: &Path, agent: &Path, path: &Path, fresh: bool) -> SandboxProbe {
    let version = match version(runsc).await {
        Ok(version) => Some(version),
        Err(reason) => return refusal(reason, None),
    };
    let cache = ProbeCache::at(path);
    let cached = || if fresh { None } else { cache.get(&[runsc]) };
    let answer = |result: ProbeResult| SandboxProbe {
        runs: result.runs_guests,
        reason: format!("{}; {}", result.reason, limits::how()),
        fix: None,
        version: version.clone(),
    };
    if let Some(result) = cached() {
        return answer(result);
    }
    let _lock = cache.lock().await;
    // Another process may have tried while this one waited.
    if let Some(result) = cached() {
        return answer(result);
    }
    match try_sandbox(runsc, version.as_deref().unwrap_or_default(), agent, path).await {
        Ok(()) => {
            let result = ProbeResult {
                runs_guests: true,
                reason: "gVisor ran a probe sandbox".into(),
            };
            cache.put(&[runsc], &result);
            answer(result)
        }
        // Not remembered: what it lacks may be there a minute later, and it is known at once.
        Err(ProbeFailure { reason, fix }) => SandboxProbe {
            version,
            ..refusal(reason, fix)
        },
    }
}

struct ProbeFailure {
    reason: String,
    fix: Option<String>,
}

impl From<StartError> for ProbeFailure {
    fn from(error: StartError) -> Self {
        Self {
            reason: error.to_string(),
            fix: error.fix().map(str::to_owned),
        }
    }
}

impl From<String> for ProbeFailure {
    fn from(reason: String) -> Self {
        Self { reason, fix: None }
    }
}

async fn try_sandbox(
    runsc: &Path,
    version: &str,
    agent: &Path,
    cache: &Path,
) -> Result<(), ProbeFailure> {
    let place =
        make_place(cache).map_err(|error| format!("a sandbox could not be tried: {error}"))?;
    let plan = Plan {
        runs: Runs::Sandbox,
        runsc: runsc.to_owned(),
        agent: agent.to_owned(),
        place,
        layers: None,
        changes: None,
        hostname: "probe".into(),
        processors: u32::MAX,
        mem_mib: MEM_MIB,
        control_group: None,
        link: None,
        hide_attributes: false,
        log: 0,
    };
    let (mut machine, mut channel) =
        machine::start(plan, version, Vec::new(), None, Duration::ZERO, None)?;
    let answered = tokio::select! {
        biased;
        greeted = timeout(SANDBOX_TIMEOUT, session::handshake(&mut channel)) => greeted.ok(),
        death = machine.ended() => {
            return Err(format!("a probe sandbox did not run: {}", death.message).into());
        }
    };
    // Whoever closed the channel without a greeting is about to end, and says why.
    if let Some(Err(_)) = answered
        && let Ok(death) = timeout(SANDBOX_TIMEOUT, machine.ended()).await
    {
        return Err(format!("a probe sandbox did not run: {}", death.message).into());
    }
    machine.kill();
    let death = timeout(SANDBOX_TIMEOUT, machine.ended()).await;
    let trouble = match answered {
        Some(Ok(())) => return Ok(()),
        Some(Err(error)) => error.to_string(),
        None => format!("no answer within {} s", SANDBOX_TIMEOUT.as_secs()),
    };
    let said = death.ok().and_then(|death| death.vmm_log.last().cloned());
    let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
    Err(format!("a probe sandbox did not run: {trouble}{said}").into())
}

fn make_place(cache: &Path) -> io::Result<PathBuf> {
    let folder = cache.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let place = folder.join(PLACE);
    fs::create_dir_all(&place)?;
    fs::canonicalize(place)
}
