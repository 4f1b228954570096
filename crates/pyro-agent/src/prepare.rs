//! Brings a waiting guest as far as it can come without being a particular one: root disk mounted,
//! page cache filled with what first commands read.
//!
//! The guest is then frozen and copied many times, together with its disk. So nothing may run any
//! more, nothing may wait to be written, and nothing that tells two guests apart may be there: no
//! host name, no machine id.

use pyro_wire::agent::{Prepare, WARM_UP_LIMIT};
use pyro_wire::exec::{Command, Exec};
use pyro_wire::fault::{Fault, FaultCode};
use tokio::time::timeout;

use crate::agent::Agent;
use crate::backend::Backend;
use crate::clock::Laps;
use crate::files::layout;
use crate::launcher::Process;
use crate::lifecycle::Stage;
use crate::output::Outputs;
use crate::setup::{self, SetUpError};
use crate::{identity, mounts, shutdown, workspace};

/// Prepares a waiting guest, once in its life.
pub(crate) async fn prepare(agent: &Agent, request: &Prepare) -> Result<(), Fault> {
    if agent.backend != Backend::Vm {
        let words = "only a virtual machine can be prepared";
        return Err(Fault::new(FaultCode::Refused, words));
    }
    prepare_guest(agent, request)
        .await
        .inspect_err(setup::report_broken)
        .map_err(|error| error.fault())
}

async fn prepare_guest(agent: &Agent, request: &Prepare) -> Result<(), SetUpError> {
    may_prepare(agent)?;
    mounts::await_root_device().await?;
    // Another stream may have been faster.
    may_prepare(agent)?;
    agent.lifecycle.set(Stage::Preparing);
    mount_root().inspect_err(|_| agent.lifecycle.set(Stage::Broken))?;
    for command in &request.warm_up {
        warm_up(agent, command).await;
    }
    shutdown::end_processes().await;
    nix::unistd::sync();
    agent.lifecycle.set(Stage::Prepared);
    Ok(())
}

fn may_prepare(agent: &Agent) -> Result<(), SetUpError> {
    match agent.lifecycle.stage() {
        Stage::Waiting => Ok(()),
        other => Err(setup::wrong_stage(other)),
    }
}

fn mount_root() -> Result<(), SetUpError> {
    mounts::switch_root()?;
    layout::forget_others();
    workspace::make()?;
    identity::replace_boot_id().map_err(setup::step("replace the boot id"))
}

/// Runs one command for what it leaves in the page cache. Whether it exists and what it says is
/// nobody's business here.
async fn warm_up(agent: &Agent, command: &Command) {
    let request = Exec::new(command.clone());
    let Ok((pipes, process)) = agent.launcher.start(&request, &mut Laps::begin(false)) else {
        return;
    };
    let Process { group, exit, .. } = process;
    Outputs::new(pipes.stdout, pipes.stderr, &agent.launcher.secrets).discard();
    let _ = timeout(WARM_UP_LIMIT, exit).await;
    // Nothing of it lives on: the group kills as it drops.
    drop(group);
}
