//! Shows what a service wrote.

use pyro_api::operations::service_logs::{ServiceLogged, ServiceLogs};
use pyro_api::{Caller, Error, Event, Stream};
use pyro_wire::frame::Kind;

use super::agent::{self, AgentError, Log, Piece};
use super::log_lines::{bounded, count, tail, without_newest};
use crate::answers;
use crate::engine::Engine;
use crate::machine::output::encoded;
use crate::machine::shim_client;
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
        let mut next_skip_lines = None;
        let mut shown = [Vec::new(), Vec::new()];
        let mut record = service.record.clone();
        if asked.follow && service.record.runs() {
            truncated = self.follow(&stored, &service, lines, caller).await?;
            if let Ok((_, service)) = self.find_service(&asked.workspace_id, name).await {
                record = service.record;
            }
        } else {
            // One more, as it tells whether there are older ones.
            let needed =
                lines.map(|lines| lines.saturating_add(asked.skip_lines).saturating_add(1));
            let log = self.log_now(&stored, &service, needed).await?;
            truncated |= log.truncated;
            let most = match (asked.max_bytes, caller.keep_output()) {
                (Some(most), _) => most.get() as usize,
                (None, 0) => usize::MAX,
                // For both streams, as with commands.
                (None, most) => most,
            };
            for (shown, bytes) in shown.iter_mut().zip([&log.stdout, &log.stderr]) {
                let bytes = without_newest(bytes, asked.skip_lines);
                let (bytes, too_many) = tail(bytes, lines);
                let (bytes, too_long) = bounded(bytes, most);
                if too_many || too_long {
                    truncated = true;
                    // Where one stream has longer lines than the other, that one sets the pace.
                    let next = asked.skip_lines.saturating_add(count(bytes));
                    next_skip_lines =
                        Some(next_skip_lines.map_or(next, |other: u64| other.min(next)));
                }
                *shown = bytes.to_vec();
            }
        }
        let [(stdout, stdout_encoding), (stderr, stderr_encoding)] =
            shown.each_ref().map(|bytes| encoded(bytes, asked.encoding));
        Ok(ServiceLogged {
            service: answers::service(caller, record),
            stdout,
            stderr,
            stdout_encoding,
            stderr_encoding,
            tail_lines: (!asked.all).then(|| asked.tail_lines.get()),
            truncated,
            next_skip_lines,
            bytes: shown,
        })
    }

    async fn log_now(
        &self,
        stored: &StoredWorkspace,
        service: &StoredService,
        lines: Option<u64>,
    ) -> Result<Log, Error> {
        if service.record.runs()
            && let Ok(line) = shim_client::agent(&self.vm_of(stored)).await
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
        let line = self.reconnect(stored, doing).await?;
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
                    "{bytes} bytes were skipped here: `{}` wrote them faster than they were read",
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
