//! Shows what a service wrote.

use pyro_api::operations::service_logs::{ServiceLogged, ServiceLogs};
use pyro_api::{Caller, Error, Event, Stream};
use pyro_wire::frame::Kind;

use super::agent::{self, AgentError, Log, Piece};
use super::kept::{bounded, tail};
use crate::engine::Engine;
use crate::machine::link;
use crate::store::{StoredService, StoredWorkspace};

impl Engine {
    pub(crate) async fn service_logs(
        &self,
        asked: &ServiceLogs,
        caller: &Caller,
    ) -> Result<ServiceLogged, Error> {
        let name = &asked.service_name;
        let (stored, service) = self.find_service(&asked.workspace_id, name).await?;
        self.touch_workspace(&stored.record.workspace_id)?;
        let lines = (!asked.all).then(|| u64::from(asked.tail_lines.get()));
        let mut truncated = false;
        let mut shown = [String::new(), String::new()];
        let mut record = service.record.clone();
        if asked.follow && service.record.runs() {
            truncated = self.follow(&stored, &service, lines, caller).await?;
            if let Ok((_, service)) = self.find_service(&asked.workspace_id, name).await {
                record = service.record;
            }
        } else {
            let log = self.log_now(&stored, &service, lines).await?;
            truncated |= log.truncated;
            let most = match caller.keep_output() {
                0 => usize::MAX,
                // For both streams, as with commands.
                most => most,
            };
            for (text, bytes) in shown.iter_mut().zip([&log.stdout, &log.stderr]) {
                let (bytes, cut) = tail(bytes, lines);
                truncated |= cut;
                let (bytes, cut) = bounded(bytes, most);
                truncated |= cut;
                *text = String::from_utf8_lossy(bytes).into_owned();
            }
        }
        let [stdout, stderr] = shown;
        Ok(ServiceLogged {
            service: record,
            stdout,
            stderr,
            tail_lines: (!asked.all).then(|| asked.tail_lines.get()),
            truncated,
        })
    }

    async fn log_now(
        &self,
        stored: &StoredWorkspace,
        service: &StoredService,
        lines: Option<u64>,
    ) -> Result<Log, Error> {
        if service.record.runs()
            && let Ok(line) = link::agent(&self.vm_of(stored)).await
        {
            match agent::log(line, service.instance, lines).await {
                Ok(log) => return Ok(log),
                // It is about to be started, or its VM has just ended.
                Err(AgentError::Refused { .. } | AgentError::Broken { .. }) => {}
                Err(error) => {
                    let what = "The log of the service could not be read".to_owned();
                    return Err(self.service_failed(stored, what, "show the log", error));
                }
            }
        }
        self.ended_log(stored, service).await
    }

    async fn follow(
        &self,
        stored: &StoredWorkspace,
        service: &StoredService,
        lines: Option<u64>,
        caller: &Caller,
    ) -> Result<bool, Error> {
        let doing = "follow the log";
        let line = self.another_line(stored, doing).await?;
        let followed = agent::follow(line, service.instance, lines, |piece| {
            let event = match piece {
                Piece::Bytes(kind, bytes) => Event::Output {
                    stream: match kind {
                        Kind::Output => Stream::Stdout,
                        _ => Stream::Stderr,
                    },
                    bytes,
                },
                Piece::Lost(bytes) => Event::Note(format!(
                    "{bytes} bytes are left out here: `{}` wrote them faster than they were read",
                    service.record.service_name
                )),
            };
            caller.emit(event).map_err(|_| AgentError::CallerGone)
        });
        match followed.await {
            Ok(truncated) => Ok(truncated),
            // Its VM has ended, and with it the service and what was not sent yet.
            Err(AgentError::Broken { .. }) => Ok(true),
            Err(error) => {
                let what = "The log of the service could not be followed".to_owned();
                Err(self.service_failed(stored, what, doing, error))
            }
        }
    }
}
