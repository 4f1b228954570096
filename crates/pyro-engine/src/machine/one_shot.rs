//! A command in a started VM, after which the VM is deleted, whatever happened.

use pyro_api::values::{DeleteReason, ExecResult, ExecutionMode, User, VmRecord, more_memory};
use pyro_api::{Caller, Error, PersonTerminal};

use pyro_wire::reached;

use super::command::{self, CommandError, CommandSpec};
use super::command_tty;
use super::facts::{BOOT_MS, STANDBY};
use super::shim_client;
use crate::answers;
use crate::engine::Engine;
use crate::error::{cancelled, command_refused, shim_failed, vm_died};
use crate::gvisor::lacks::{self, Guest};
use crate::shells::attach;

/// Removes a VM when the operation that it belongs to is dropped half-way.
pub(crate) struct CleanupGuard<'a> {
    engine: &'a Engine,
    vm_id: Option<String>,
}

impl<'a> CleanupGuard<'a> {
    pub(crate) fn new(engine: &'a Engine, vm_id: &str) -> Self {
        Self {
            engine,
            vm_id: Some(vm_id.to_owned()),
        }
    }

    /// The operation took care of the VM itself.
    pub(crate) fn disarm(mut self) {
        self.vm_id = None;
    }
}

impl Drop for CleanupGuard<'_> {
    fn drop(&mut self) {
        let Some(vm_id) = self.vm_id.take() else {
            return;
        };
        // Dropping the launched VM closes its owner pipe: the shim ends it and removes the folder.
        self.engine.launched().remove(&vm_id);
        if self.engine.folder(&vm_id).is_alive() {
            if let Ok(store) = self.engine.store() {
                let _ = store.remove_vm(&vm_id);
            }
        } else {
            self.engine.forget(&vm_id);
        }
    }
}

impl Engine {
    /// Runs the command as the user who was asked for, at a terminal where there is one, and deletes the
    /// VM.
    pub(crate) async fn exec_and_end(
        &self,
        record: &VmRecord,
        spec: &CommandSpec<'_>,
        user: Option<&User>,
        terminal: Option<&dyn PersonTerminal>,
        caller: &Caller,
    ) -> Result<ExecResult, Error> {
        let spec = &spec.in_image_of(record, user);
        let finished = self.exec(record, spec, terminal, caller).await;
        let cleanup = match &finished {
            Ok(_) => DeleteReason::PostExecCleanup,
            Err(_) => DeleteReason::RunVmErrorCleanup,
        };
        let deleted = self.dispose_vm(&record.vm_id, cleanup).await;
        let finished = finished?;
        let deleted = deleted?;

        let (stdout, stderr) = (finished.stdout.into_text(), finished.stderr.into_text());
        let advice = if finished.end.oom_killed {
            Some(more_memory(record.mem_mib))
        } else if record.execution_mode == ExecutionMode::Gvisor {
            lacks::advice(
                Guest::OneShot,
                finished.end.exit_code,
                &finished.last_words.into_text(),
            )
        } else {
            None
        };
        let fact = |key: &str| record.metadata.get(key).cloned().unwrap_or_default();
        Ok(ExecResult {
            vm_id: record.vm_id.clone(),
            environment: record.environment.clone(),
            environment_version: record.environment_version.clone(),
            command: answers::excerpt(caller, spec.command.to_string()),
            stdout: stdout.text,
            stderr: stderr.text,
            exit_code: finished.end.exit_code,
            duration_ms: finished.end.duration_ms,
            execution_mode: record.execution_mode,
            cleanup: deleted,
            signal: finished.end.signal,
            timed_out: finished.end.timed_out,
            oom_killed: finished.end.oom_killed,
            mem_mib: record.mem_mib,
            advice,
            stdout_bytes: stdout.bytes,
            stderr_bytes: stderr.bytes,
            stdout_truncated: stdout.truncated,
            stderr_truncated: stderr.truncated,
            stdout_encoding: stdout.encoding,
            stderr_encoding: stderr.encoding,
            accelerator: record.accelerator.clone().unwrap_or_default(),
            accelerator_reason: fact("accelerator_reason"),
            boot_ms: fact(BOOT_MS).parse().unwrap_or_default(),
            resumed: fact("resumed") == "true",
            boot_attempts: fact("boot_attempts").parse().unwrap_or_default(),
            standby: fact(STANDBY) == "true",
        })
    }

    async fn exec(
        &self,
        record: &VmRecord,
        spec: &CommandSpec<'_>,
        terminal: Option<&dyn PersonTerminal>,
        caller: &Caller,
    ) -> Result<command::Finished, Error> {
        let vm_id = &record.vm_id;
        let stream = match shim_client::agent(&self.folder(vm_id)).await {
            Ok(stream) => stream,
            Err(error) => return Err(self.why_gone(vm_id, shim_failed(vm_id, &error)).await),
        };
        reached!("line to the agent open");
        let ran = match terminal {
            Some(terminal) => {
                let (taken, events) = attach::take(terminal)?;
                command_tty::run(stream, spec, taken, events, caller.keep_output()).await
            }
            None => command::run(stream, spec, caller).await,
        };
        match ran {
            Ok(finished) => Ok(finished),
            Err(CommandError::CallerGone) => Err(cancelled()),
            Err(CommandError::Refused { fault }) => Err(command_refused(vm_id, fault)),
            Err(error) => Err(self.why_gone(vm_id, vm_died(vm_id, &error)).await),
        }
    }

    /// Adds the last words of the VM's shim to an error, when there are any.
    async fn why_gone(&self, vm_id: &str, error: Error) -> Error {
        let launched = self.launched().remove(vm_id);
        let Some(mut launched) = launched else {
            return error;
        };
        match launched.end().await {
            Some(ended) => crate::error::vm_ended(vm_id, ended),
            // Its pipe ended without a word.
            None => crate::error::supervisor_gone(error),
        }
    }
}
