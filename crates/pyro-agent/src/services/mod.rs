//! Services: commands that stay when whoever started them has gone.
//!
//! ```text
//!            ready, or needs no sign of it        asked to end
//! starting ──────────────▶ ready ──────────────────▶ ending ──▶ Stopped
//!    │ │ │                   │ its process ended                  (sigterm, sigkill,
//!    │ │ │                   ▼                                     workspace_stopped)
//!    │ │ │                 Exited
//!    │ │ └ asking side gone ▶ ending ▶ Stopped
//!    │ └ out of time ▶ ending ▶ Failed (readiness_timeout)
//!    └ its process ended ▶ Failed (process_exited_before_ready)
//! ```
//!
//! A service is its first process. When that has ended, what is left of its group is ended, too. What
//! is deliberately not here: services are never started again by themselves, and nothing of them is
//! on a disk. Their logs are in this process's memory: there they are bounded whatever the disk and
//! `/run` are used for, cost a flooding service nothing but its own old lines, and never turn up in a
//! diff, an export or a snapshot of the disk.

mod answer;
mod http;
mod log;
mod pump;
mod ready;
mod service;
mod supervise;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::service::{MOST_SERVICES, ServiceStart, ServiceState};

pub(crate) use answer::{Request, serve};
use service::Service;

use crate::lock::lock;

/// Every service that there was, and that nobody took the place of.
#[derive(Default)]
pub(crate) struct Services {
    /// Oldest first.
    table: Mutex<Vec<Arc<Service>>>,
    closed: AtomicBool,
}

impl Services {
    /// Takes a new one into the books, in place of one of the same name that has ended.
    fn admit(&self, request: &ServiceStart) -> Result<Arc<Service>, Fault> {
        let mut table = lock(&self.table);
        if self.closed.load(Ordering::Relaxed) {
            let words = "the guest is ending its services";
            return Err(Fault::new(FaultCode::Refused, words));
        }
        let namesake = table
            .iter()
            .position(|service| service.name == request.name);
        if let Some(at) = namesake {
            if table[at].runs() {
                let words = format!("a service `{}` runs already", request.name);
                return Err(Fault::new(FaultCode::Conflict, words));
            }
            table.remove(at);
        }
        if table.len() >= MOST_SERVICES {
            let Some(at) = table.iter().position(|service| !service.runs()) else {
                let words = format!("{MOST_SERVICES} services run already");
                return Err(Fault::new(FaultCode::Refused, words));
            };
            table.remove(at);
        }
        let service = Arc::new(Service::new(request.name.clone(), request.instance));
        table.push(Arc::clone(&service));
        Ok(service)
    }

    /// Takes one out again that never began.
    fn forget(&self, instance: u64) {
        lock(&self.table).retain(|service| service.instance != instance);
    }

    fn find(&self, instance: u64) -> Option<Arc<Service>> {
        let table = lock(&self.table);
        let found = table.iter().find(|service| service.instance == instance);
        found.map(Arc::clone)
    }

    fn all(&self) -> Vec<Arc<Service>> {
        lock(&self.table).clone()
    }

    fn states(&self) -> Vec<ServiceState> {
        self.all().iter().map(|service| service.state()).collect()
    }

    /// No more services from here on.
    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// How long ago a service ran last: 0 while one does.
    pub(crate) fn last_use_ms(&self) -> Option<u64> {
        let ago = |ended: Option<Instant>| ended.map_or(0, |at| millis(at.elapsed()));
        let all = self.all();
        all.iter().map(|service| ago(service.ended_at())).min()
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
