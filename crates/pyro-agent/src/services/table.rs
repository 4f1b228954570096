//! The services of this guest, running or ended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::service::{MAX_SERVICES, ServiceStart, ServiceState};

use super::service::{Service, millis};
use crate::lock::lock;

/// Every service that there was, until another takes its place.
#[derive(Default)]
pub(crate) struct Services {
    /// Oldest first.
    table: Mutex<Vec<Arc<Service>>>,
    closed: AtomicBool,
}

impl Services {
    /// Adds a new one, in place of one of the same name that has ended.
    pub(super) fn admit(&self, request: &ServiceStart) -> Result<Arc<Service>, Fault> {
        let mut table = lock(&self.table);
        if self.closed.load(Ordering::Relaxed) {
            let words = "the guest is ending its services";
            return Err(Fault::new(FaultCode::Refused, words));
        }
        let namesake = table
            .iter()
            .position(|service| service.name == request.name);
        if let Some(at) = namesake {
            if table[at].is_running() {
                let words = format!("service `{}` is already running", request.name);
                return Err(Fault::new(FaultCode::Conflict, words));
            }
            table.remove(at);
        }
        if table.len() >= MAX_SERVICES {
            let Some(at) = table.iter().position(|service| !service.is_running()) else {
                let words = format!("{MAX_SERVICES} services are already running");
                return Err(Fault::new(FaultCode::Refused, words));
            };
            table.remove(at);
        }
        let service = Arc::new(Service::new(request.name.clone(), request.instance));
        table.push(Arc::clone(&service));
        Ok(service)
    }

    /// Removes one that never started.
    pub(super) fn remove(&self, instance: u64) {
        lock(&self.table).retain(|service| service.instance != instance);
    }

    pub(super) fn find(&self, instance: u64) -> Option<Arc<Service>> {
        let table = lock(&self.table);
        let found = table.iter().find(|service| service.instance == instance);
        found.map(Arc::clone)
    }

    pub(super) fn all(&self) -> Vec<Arc<Service>> {
        lock(&self.table).clone()
    }

    pub(super) fn states(&self) -> Vec<ServiceState> {
        self.all().iter().map(|service| service.state()).collect()
    }

    /// No more services from here on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// How long ago a service ran last: 0 while one does.
    pub(crate) fn last_use_ms(&self) -> Option<u64> {
        let ago = |ended: Option<Instant>| ended.map_or(0, |at| millis(at.elapsed()));
        let all = self.all();
        all.iter().map(|service| ago(service.ended_at())).min()
    }
}
