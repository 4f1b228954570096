//! The main job: a fresh VM, one command, no VM.

use pyro_api::operations::vm_run::VmRun;
use pyro_api::values::{CommandLine, DeleteReason, ExecResult};
use pyro_api::{Caller, Error, Event};

use super::command::CommandSpec;
use super::create::VmRequest;
use super::one_shot::CleanupGuard;
use super::sweep;
use crate::engine::Engine;
use crate::error::cancelled;
use crate::image_config;

/// What a VM needs beyond its command's timeout to start and to be deleted, in seconds.
const AROUND_THE_COMMAND: u32 = 120;

/// How long a VM lives whose command has no timeout, in seconds: longer than anybody sits there.
const WITH_A_PERSON: u32 = 30 * 24 * 60 * 60;

impl Engine {
    pub(crate) async fn run_once(&self, run: &VmRun, caller: &Caller) -> Result<ExecResult, Error> {
        let phase = |phase, key, value: &str| {
            let fields = vec![(key, value.to_owned())];
            caller
                .emit(Event::Phase {
                    scope: "run",
                    phase,
                    fields,
                })
                .map_err(|_| cancelled())
        };
        let terminal = run.terminal.wanted(caller)?;
        // Without one the VM ends with whoever sits there.
        let limit = run.terminal.limit(terminal, run.timeout_seconds);
        let of_image;
        let command = match run.command.is_none() {
            true => {
                of_image = self.command_of_image(&run.environment, caller).await?;
                &of_image
            }
            false => &run.command,
        };
        let spec = CommandSpec::of(command, run.cwd.as_deref(), &run.env, limit)?;
        let user = run.user.as_ref();
        phase("create", "environment", &run.environment)?;
        let request = VmRequest {
            environment: &run.environment,
            vcpu_count: run.vcpu_count,
            mem_mib: run.mem_mib,
            ttl_seconds: run.ttl_seconds,
            min_lifetime_seconds: limit.map_or(WITH_A_PERSON, |limit| {
                limit.get().saturating_add(AROUND_THE_COMMAND)
            }),
            network: run.network,
            allow_net: &run.allow_net,
            allow_host_compat: run.allow_host_compat,
            isolation: run.isolation,
            may_restart: false,
        };
        if let Some(record) = self.take_standby(&request, caller).await {
            // Its place is filled when the command, however it went, needs the processors no more.
            let _filled = WakeKeeperOnDrop(self);
            let cleanup = CleanupGuard::new(self, &record.vm_id);
            phase("execute", "vm_id", &record.vm_id)?;
            let result = self
                .exec_and_end(&record, &spec, user, terminal, caller)
                .await;
            cleanup.disarm();
            return result;
        }
        let (mut record, base) = self.create_vm(&request, caller).await?;
        let vm_id = record.vm_id.clone();
        let cleanup = CleanupGuard::new(self, &vm_id);
        self.sweep_beside()?;

        phase("start", "vm_id", &vm_id)?;
        match self.start_vm(&mut record, &base, caller).await {
            Ok(launched) => self.launched().insert(vm_id.clone(), launched),
            Err(error) => {
                cleanup.disarm();
                // The first error is the one to tell; a sweep gets what this leaves.
                let _ = self.end_vm(&vm_id, DeleteReason::RunVmErrorCleanup).await;
                return Err(error);
            }
        };
        phase("execute", "vm_id", &vm_id)?;
        let result = self
            .exec_and_end(&record, &spec, user, terminal, caller)
            .await;
        cleanup.disarm();
        // It found none that waited; perhaps one can be made now.
        self.standby_pool().wake_keeper();
        result
    }

    /// What the image runs that an environment is made of. Nothing is pulled for one that has none.
    async fn command_of_image(&self, name: &str, caller: &Caller) -> Result<CommandLine, Error> {
        let spec = self.named(name, caller).await?;
        if !spec.is_image() && !spec.is_kept() {
            // Says what to give.
            CommandLine::default().check()?;
        }
        let installed = self.ensure(spec, caller).await?;
        let command = installed.image.as_ref().map(image_config::command);
        let command = command.unwrap_or_default();
        if command.is_empty() {
            return Err(Error::invalid("No command was given")
                .because(format!("image `{name}` has neither `Entrypoint` nor `Cmd`"))
                .hint(format!(
                    "Give one after `--` (`command`), such as `pyro run {name} -- ls /`"
                )));
        }
        command.check()?;
        Ok(command)
    }

    /// Clears away the debris of crashes while a VM boots.
    fn sweep_beside(&self) -> Result<(), Error> {
        let state_dir = self.config().state_dir.clone();
        let store = std::sync::Arc::clone(self.store()?);
        tokio::task::spawn_blocking(move || {
            // The next one tries again.
            let _ = sweep::sweep(&state_dir, &store);
        });
        Ok(())
    }
}

/// Lets the keeper of the VMs that wait look when it is dropped.
struct WakeKeeperOnDrop<'a>(&'a Engine);

impl Drop for WakeKeeperOnDrop<'_> {
    fn drop(&mut self) {
        self.0.standby_pool().wake_keeper();
    }
}
