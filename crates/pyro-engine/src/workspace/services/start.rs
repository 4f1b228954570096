//! Starts a service.
//!
//! ```text
//! ports bound ─▶ record written ─▶ agent starts it, waits until it is ready ─▶ record as it came out
//! ```
//!
//! Whoever is killed in between leaves a record that says "running". The next one who looks asks the
//! agent, which has ended what was not ready; and the ports go with the service.

use pyro_api::operations::service_start::{ServiceStart, ServiceStarted};
use pyro_api::values::{ExecutionMode, ServiceRecord, ServiceState};
use pyro_api::{Caller, Error, ErrorCode};
use pyro_wire::service::ServiceStart as Request;

use super::agent;
use super::ended::apply_state;
use super::log_lines::tail;
use super::ports::may_publish;
use super::readiness::understood;
use crate::answers;
use crate::engine::Engine;
use crate::gvisor::lacks::{self, Guest};
use crate::image_config;
use crate::machine::command::{self, env_to_wire};
use crate::machine::now;
use crate::random::random_number;
use crate::store::{LogState, StoredService};
use crate::workspace::connect::Connected;
use crate::workspace::errors::unknown;
use crate::workspace::paths::GuestPath;

/// How much of each stream a failure shows.
const SHOWN_LINES: u64 = 20;
const SHOWN_BYTES: usize = 4 * 1024;

impl Engine {
    pub(crate) async fn start_service(
        &self,
        asked: &ServiceStart,
        caller: &Caller,
    ) -> Result<ServiceStarted, Error> {
        let name = asked.service_name.as_str();
        let doing = "start the service";
        // Nothing is started for what is refused.
        let found = self.find_workspace(&asked.workspace_id)?;
        let redactor = self.redactor(&found)?;
        let silent = |error| redactor.redact_error(error);
        redactor.check_name("service's name", name)?;
        let cwd = GuestPath::parse_folder("folder", &asked.cwd).map_err(silent)?;
        let (readiness, wanted) = asked.readiness().and_then(understood).map_err(silent)?;
        may_publish(&found, &asked.published_ports, caller)?;
        self.check_secret_env(&found, &asked.secret_env)?;
        let Connected {
            stored,
            stream,
            started,
        } = self.connect(&asked.workspace_id, doing, caller).await?;
        let stored = self.reconcile_services(stored).await?;
        let id = stored.record.workspace_id.clone();
        let runs_already = || {
            Error::new(
                ErrorCode::Conflict,
                format!("Service `{name}` is already running in workspace `{id}`"),
            )
            .hint("Stop it first with `pyro workspace service stop` (`service_stop`), or use another name")
        };
        if stored
            .services
            .get(name)
            .is_some_and(|one| one.record.runs())
        {
            return Err(runs_already());
        }

        let instance = random_number()?;
        let published_ports = self
            .publish(&stored, instance, &asked.published_ports)
            .await?;
        let service = StoredService {
            record: ServiceRecord {
                workspace_id: id.clone(),
                service_name: asked.service_name.clone(),
                state: ServiceState::Running,
                command: redactor.redact_command(&asked.command),
                cwd: redactor.redact(cwd.absolute()),
                started_at: now(),
                ended_at: None,
                exit_code: None,
                pid: None,
                execution_mode: stored.record.execution_mode,
                readiness: readiness.map(|readiness| redactor.redact_readiness(readiness)),
                ready_at: None,
                not_ready: None,
                stop_reason: None,
                oom_killed: false,
                mem_mib: stored.record.mem_mib,
                advice: None,
                published_ports,
            },
            instance,
            log: LogState::InGuest,
        };
        let mut before = None;
        let mut taken = false;
        let changed = self.store()?.change_workspace(&id, |stored| {
            stored.record.last_activity_at = now();
            stored.change_services(|services| {
                taken = services.get(name).is_some_and(|one| one.record.runs());
                if !taken {
                    before = services.insert(name.to_owned(), service);
                }
            });
        })?;
        if changed.is_none() || taken {
            self.unpublish(&stored, instance).await;
            return Err(if taken { runs_already() } else { unknown(&id) });
        }

        let request = Request {
            name: name.to_owned(),
            instance,
            command: command::to_wire(&asked.command),
            cwd: Some(cwd.bytes()),
            env: env_to_wire(&asked.env),
            secret_env: asked.secret_env.pairs().to_vec(),
            user: image_config::user_to_wire(asked.user.as_ref(), &stored.record.metadata),
            readiness: wanted,
            ready_timeout_ms: u64::from(asked.ready_timeout_seconds.get()) * 1000,
            ready_interval_ms: asked.ready_interval_ms.get().into(),
        };
        let seen = match agent::start(stream, request).await {
            Ok(seen) => seen,
            Err(error) => {
                if matches!(error, agent::AgentError::Refused { .. }) {
                    // There never was one: what was there before is there again.
                    self.store()?.change_workspace(&id, |stored| {
                        if stored.instance(instance).is_none() {
                            return;
                        }
                        stored.change_services(|services| {
                            services.remove(name);
                            services.extend(before.map(|one| (name.to_owned(), one)));
                        });
                    })?;
                    self.unpublish(&stored, instance).await;
                }
                let what = format!("Service `{name}` could not be started in workspace `{id}`");
                return Err(self.service_failed(&stored, what, doing, error));
            }
        };

        let ended = seen.ended_ms_ago.is_some();
        let log = match ended {
            true => {
                self.unpublish(&stored, instance).await;
                self.keep_log_of(&stored, instance).await
            }
            false => LogState::InGuest,
        };
        let at = now();
        let changed = self.store()?.change_workspace(&id, |stored| {
            stored.record.last_activity_at = at;
            if let Some(service) = stored.instance(instance) {
                apply_state(service, &seen, at);
                if ended && service.log == LogState::InGuest {
                    service.log = log;
                }
            }
            // What they come to is counted here.
            stored.change_services(|_| ());
        })?;
        let stored = changed.ok_or_else(|| unknown(&id))?;
        let folder = self.workspace_folder(&id);
        folder.remove_unknown_logs(&stored);
        let service = stored
            .services
            .get(name)
            .filter(|one| one.instance == instance);
        let Some(service) = service else {
            return Err(Error::new(
                ErrorCode::Conflict,
                format!("Service `{name}` was replaced or reset while it was starting"),
            ));
        };
        let mut record = service.record.clone();
        let log_tail = match record.state == ServiceState::Failed {
            true => Some(last_lines(&self.ended_log(&stored, service).await?)),
            false => None,
        };
        if record.execution_mode == ExecutionMode::Gvisor
            && let (None, Some(exit_code), Some(log)) =
                (&record.advice, record.exit_code, &log_tail)
        {
            record.advice = lacks::advice(Guest::Workspace, exit_code, log);
        }
        Ok(ServiceStarted {
            service: answers::service(caller, record),
            log_tail,
            workspace_started: started,
        })
    }
}

/// The end of both streams, errors last.
fn last_lines(log: &agent::Log) -> String {
    let end = |bytes| {
        let (lines, _) = tail(bytes, Some(SHOWN_LINES));
        let (lines, _) = super::log_lines::bounded(lines, SHOWN_BYTES);
        String::from_utf8_lossy(lines).into_owned()
    };
    let (mut text, errors) = (end(&log.stdout), end(&log.stderr));
    if !text.is_empty() && !text.ends_with('\n') && !errors.is_empty() {
        text.push('\n');
    }
    text + &errors
}
