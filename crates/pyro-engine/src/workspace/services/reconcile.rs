//! Records of services, made true by what the agent says.

use pyro_api::values::{ServiceName, ServiceState, StopReason, VmState};
use pyro_api::{Error, ErrorCode};

use super::agent::{self, AgentError, Log};
use super::ended::apply_state;
use crate::engine::Engine;
use crate::machine::{end, now, shim_client};
use crate::store::{LogState, StoredService, StoredWorkspace};
use crate::workspace::errors::{STOP_IT, service_refused};
use crate::workspace::find::tombstone;

/// How long after its record the agent may not know of a service: another process is about to start
/// it.
const BEGINNING_SECONDS: f64 = 30.0;

/// Whether a service that the agent does not know may be about to start. One whose start lies far ahead
/// was begun before the clock was set back, and would block its name until then.
fn may_begin(started_at: f64, now: f64) -> bool {
    (now - started_at).abs() <= BEGINNING_SECONDS
}

impl Engine {
    /// The workspace with the records of its services as they are now. Ends that are noticed here are
    /// written down, and their logs kept. Starts nothing, and fails for no guest that does not answer.
    pub(crate) async fn reconcile_services(
        &self,
        stored: StoredWorkspace,
    ) -> Result<StoredWorkspace, Error> {
        if stored.record.state != VmState::Started || !stored.has_running_services() {
            return Ok(stored);
        }
        let vm = self.vm_of(&stored);
        let seen = match shim_client::agent(&vm).await {
            Ok(line) => agent::list(line).await.ok(),
            Err(_) => None,
        };
        let Some(seen) = seen else {
            // It may just be going.
            let _ = end::wait_until_gone(&vm, end::EXIT_TIMEOUT).await;
            return self.reload_workspace(&stored.record.workspace_id);
        };
        let at = now();
        let mut logs = Vec::new();
        let mut news = false;
        for service in stored.services.values().filter(|one| one.record.runs()) {
            let found = seen.iter().find(|seen| seen.instance == service.instance);
            match found {
                Some(seen) if seen.ended_ms_ago.is_some() => {
                    let log = self.keep_log_of(&stored, service.instance).await;
                    logs.push((service.instance, log));
                    news = true;
                }
                Some(seen) => news |= seen.ready != service.record.ready_at.is_some(),
                None => news |= !may_begin(service.record.started_at, at),
            }
        }
        if !news {
            return Ok(stored);
        }
        let id = &stored.record.workspace_id;
        let generation = stored.generation;
        let changed = self.store()?.change_workspace(id, |stored| {
            // A reset or a stop came in between.
            if stored.generation != generation || stored.record.state != VmState::Started {
                return;
            }
            for seen in &seen {
                let Some(service) = stored.instance(seen.instance) else {
                    continue;
                };
                apply_state(service, seen, at);
                let log = logs.iter().find(|(instance, _)| *instance == seen.instance);
                if let Some((_, log)) = log
                    && service.log == LogState::InGuest
                {
                    service.log = *log;
                }
            }
            stored.change_services(|services| {
                for service in services.values_mut() {
                    let unknown = !seen.iter().any(|seen| seen.instance == service.instance);
                    if service.record.runs() && unknown && !may_begin(service.record.started_at, at)
                    {
                        // Its start was broken off before the agent heard of it.
                        let reason = Some(StopReason::ProcessExitedBeforeReady);
                        service.end(ServiceState::Failed, reason, at);
                    }
                }
            });
        })?;
        Ok(changed.unwrap_or(stored))
    }

    /// Copies the log of a service that has ended out of the guest; says what there is of it then.
    pub(crate) async fn keep_log_of(&self, stored: &StoredWorkspace, instance: u64) -> LogState {
        let Ok(line) = shim_client::agent(&self.vm_of(stored)).await else {
            return LogState::InGuest;
        };
        let Ok(log) = agent::log(line, instance, None).await else {
            return LogState::InGuest;
        };
        let folder = self.workspace_folder(&stored.record.workspace_id);
        match folder.keep_log(instance, &log) {
            Ok(()) if log.truncated => LogState::Cut,
            Ok(()) => LogState::Whole,
            // The agent has it, for a while.
            Err(_) => LogState::InGuest,
        }
    }

    /// The log of a service that does not run, from wherever it is.
    pub(crate) async fn ended_log(
        &self,
        stored: &StoredWorkspace,
        service: &StoredService,
    ) -> Result<Log, Error> {
        let vm = self.vm_of(stored);
        if service.log == LogState::InGuest
            && let Ok(line) = shim_client::agent(&vm).await
            && let Ok(log) = agent::log(line, service.instance, None).await
        {
            return Ok(log);
        }
        let folder = self.workspace_folder(&stored.record.workspace_id);
        let mut log = folder.kept_log(&vm, service.instance).map_err(|error| {
            crate::error::host_io("The log of the service could not be read", &error)
        })?;
        log.truncated = service.log == LogState::Cut;
        Ok(log)
    }

    /// The workspace and its service of that name, as both are now.
    pub(crate) async fn find_service(
        &self,
        reference: &str,
        name: &ServiceName,
    ) -> Result<(StoredWorkspace, StoredService), Error> {
        let stored = self.find_workspace(reference)?;
        let stored = self.reconcile_services(stored).await?;
        match stored.services.get(name.as_str()) {
            Some(service) => {
                let service = service.clone();
                Ok((stored, service))
            }
            None => Err(self.redacted_error(&stored, unknown(&stored, name))),
        }
    }

    /// Why a request about a service failed; `doing` completes "stopped before it could …".
    pub(crate) fn service_failed(
        &self,
        stored: &StoredWorkspace,
        what: String,
        doing: &str,
        error: AgentError,
    ) -> Error {
        let id = &stored.record.workspace_id;
        let error = match error {
            AgentError::Refused { fault } => service_refused(what, fault),
            AgentError::CallerGone => crate::error::cancelled(),
            AgentError::Broken { .. } => self.went_away(id, doing, tombstone(&self.vm_of(stored))),
            AgentError::Silent | AgentError::InvalidReply => Error::new(ErrorCode::VmDied, what)
                .because(error)
                .hint(STOP_IT),
        };
        self.redacted_error(stored, error)
    }
}

fn unknown(stored: &StoredWorkspace, name: &ServiceName) -> Error {
    let id = &stored.record.workspace_id;
    let known: Vec<&str> = stored.services.keys().map(String::as_str).collect();
    let error = Error::new(
        ErrorCode::UnknownService,
        format!("Workspace `{id}` has no service `{name}`"),
    );
    match known.is_empty() {
        true => error.hint("`pyro workspace service start` (`service_start`) starts one"),
        false => error.because(format!("it has {}", known.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_was_broken_off_blocks_no_name_whatever_the_clock_does() {
        let now = 1_000_000.0;
        // A step of a second is no reason to give up what is about to start.
        for step in [0.0, 5.0, 29.0, -1.0] {
            assert!(may_begin(now - step, now), "{step}");
        }
        for step in [31.0, 86_400.0, -86_400.0] {
            assert!(!may_begin(now - step, now), "{step}");
        }
    }
}
