//! What the agent keeps for as long as it lives, across all sessions. Each part knows the parts
//! that it needs and not the whole; whoever serves a request hands them over.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::backend::Backend;
use crate::clock::Trace;
use crate::files::Files;
use crate::greediest::Victims;
use crate::launcher::Launcher;
use crate::lifecycle::Lifecycle;
use crate::lines::Lines;
use crate::lock::lock;
use crate::reaper::Reaper;
use crate::services::Services;
use crate::shells::Shells;

pub(crate) struct Agent {
    pub(crate) backend: Backend,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) launcher: Arc<Launcher>,
    pub(crate) files: Files,
    pub(crate) lines: Lines,
    pub(crate) services: Services,
    pub(crate) shells: Arc<Shells>,
    pub(crate) victims: Victims,
    trace: Mutex<Trace>,
}

impl Agent {
    pub(crate) fn new(backend: Backend, reaper: Arc<Reaper>, trace: Trace) -> Self {
        Self {
            lifecycle: Lifecycle::new(&backend),
            launcher: Arc::new(Launcher::new(backend.clone(), reaper)),
            files: Files::new(&backend),
            lines: Lines::default(),
            services: Services::default(),
            shells: Arc::default(),
            victims: Victims::default(),
            trace: Mutex::new(trace),
            backend,
        }
    }

    pub(crate) fn trace(&self) -> MutexGuard<'_, Trace> {
        lock(&self.trace)
    }
}
