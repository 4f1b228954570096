//! What happens to the records of services, which are part of their workspace's.

use std::collections::BTreeMap;

use pyro_api::values::{ServiceState, StopReason};

use super::records::{StoredService, StoredWorkspace};

/// How many services have a record; beyond that those are forgotten that ended first.
const MOST: usize = 64;

impl StoredService {
    /// It does not run any more.
    pub(crate) fn end(&mut self, state: ServiceState, reason: Option<StopReason>, at: f64) {
        let record = &mut self.record;
        record.state = state;
        record.stop_reason = reason;
        record.ended_at = Some(at.max(record.started_at));
        record.published_ports.clear();
    }
}

impl StoredWorkspace {
    /// Changes the records of services, and what the workspace's own record says of them.
    pub(crate) fn change_services(
        &mut self,
        change: impl FnOnce(&mut BTreeMap<String, StoredService>),
    ) {
        change(&mut self.services);
        while self.services.len() > MOST {
            let ended = self.services.values().filter(|one| !one.record.runs());
            let oldest = ended.min_by(|one, other| {
                one.record
                    .ended_at
                    .unwrap_or_default()
                    .total_cmp(&other.record.ended_at.unwrap_or_default())
            });
            let Some(name) = oldest.map(|one| one.record.service_name.to_string()) else {
                break;
            };
            self.services.remove(&name);
        }
        let running = self.services.values().filter(|one| one.record.runs());
        self.record.running_service_count = u32::try_from(running.count()).unwrap_or(u32::MAX);
        self.record.service_count = u32::try_from(self.services.len()).unwrap_or(u32::MAX);
    }

    /// The service with this instance, if it still is the one of its name.
    pub(crate) fn instance(&mut self, instance: u64) -> Option<&mut StoredService> {
        let mut all = self.services.values_mut();
        all.find(|service| service.instance == instance)
    }

    pub(crate) fn has_running_services(&self) -> bool {
        self.services.values().any(|service| service.record.runs())
    }
}
