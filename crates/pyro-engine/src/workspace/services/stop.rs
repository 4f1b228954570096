//! Stops a service.

use pyro_api::Error;
use pyro_api::operations::service_stop::ServiceStop;
use pyro_api::values::ServiceRecord;
use pyro_wire::fault::FaultCode;

use super::agent::{self, AgentError};
use super::ended::apply_state;
use crate::engine::Engine;
use crate::machine::now;
use crate::store::LogState;
use crate::workspace::errors::unknown;

impl Engine {
    pub(crate) async fn stop_service(&self, asked: &ServiceStop) -> Result<ServiceRecord, Error> {
        let doing = "stop the service";
        let name = &asked.service_name;
        let (stored, service) = self.find_service(&asked.workspace_id, name).await?;
        if !service.record.runs() {
            return Ok(service.record);
        }
        let id = &stored.record.workspace_id;
        let instance = service.instance;
        let line = self.reconnect(&stored, doing).await?;
        let seen = match agent::stop(line, instance).await {
            Ok(seen) => seen,
            // Somebody else is about to start it.
            Err(AgentError::Refused { fault }) if fault.code == FaultCode::NotFound => {
                return Ok(service.record);
            }
            Err(error) => {
                let what = format!("Service `{name}` could not be stopped in workspace `{id}`");
                return Err(self.service_failed(&stored, what, doing, error));
            }
        };
        self.unpublish(&stored, instance).await;
        let log = self.keep_log_of(&stored, instance).await;
        let at = now();
        let changed = self.store()?.change_workspace(id, |stored| {
            stored.record.last_activity_at = at;
            if let Some(service) = stored.instance(instance) {
                apply_state(service, &seen, at);
                if service.log == LogState::InGuest {
                    service.log = log;
                }
            }
            stored.change_services(|_| ());
        })?;
        let mut stored = changed.ok_or_else(|| unknown(id))?;
        let now_so = stored.instance(instance).map(|one| one.record.clone());
        Ok(now_so.unwrap_or(service.record))
    }
}
