//! What the agent knows for as long as it lives, across all sessions.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use pyro_wire::fault::{Fault, FaultCode};
use tokio::sync::watch;

use crate::clock::Trace;
use crate::files::{Freezer, Places};
use crate::group::Groups;
use crate::lock::lock;
use crate::reaper::Reaper;
use crate::secrets::Secrets;
use crate::services::Services;
use crate::shells::Shells;

/// Where the agent runs, which decides what it may touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// PID 1 of a guest: everything is ours.
    Guest,
    /// An ordinary process: only `folder`, which stands in for `/workspace`.
    Host { folder: PathBuf },
}

/// How far a guest has come. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In the initramfs, root not mounted.
    Waiting,
    /// On the way to `Prepared`, or left there by a host that has gone.
    Preparing,
    /// Root mounted, but nobody in particular.
    Prepared,
    /// Set up: commands may run.
    Ready,
    /// Set-up failed half-way; only a new boot helps.
    Broken,
    /// Shutting down: nothing new may start.
    Closing,
}

pub(crate) struct Agent {
    pub(crate) place: Place,
    pub(crate) reaper: Arc<Reaper>,
    pub(crate) groups: Groups,
    pub(crate) places: Places,
    /// Held by the one change of the workspace that is under way, and while the disk is frozen.
    pub(crate) changes: Arc<tokio::sync::Mutex<()>>,
    pub(crate) freezer: Freezer,
    pub(crate) services: Services,
    /// What commands may ask for, and must not be seen to say.
    pub(crate) secrets: Secrets,
    pub(crate) shells: Shells,
    stage: watch::Sender<Stage>,
    trace: Mutex<Trace>,
}

impl Agent {
    pub(crate) fn new(place: Place, reaper: Arc<Reaper>, trace: Trace) -> Self {
        let stage = match place {
            Place::Guest => Stage::Waiting,
            // Nothing needs to be set up here.
            Place::Host { .. } => Stage::Ready,
        };
        Self {
            places: Places::of(&place),
            place,
            reaper,
            groups: Groups::default(),
            changes: Arc::default(),
            freezer: Freezer::default(),
            services: Services::default(),
            secrets: Secrets::default(),
            shells: Shells::default(),
            stage: watch::Sender::new(stage),
            trace: Mutex::new(trace),
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Refuses what only a guest that is set up, and not yet shutting down, can do.
    pub(crate) fn ready_for(&self, what: &str) -> Result<(), Fault> {
        match self.stage() {
            Stage::Ready => Ok(()),
            Stage::Closing => Err(Fault::new(FaultCode::Over, "the guest is shutting down")),
            _ => Err(Fault::new(
                FaultCode::Refused,
                format!("the guest is not ready for {what}"),
            )),
        }
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    /// Waits until the agent is shutting down.
    pub(crate) async fn closing(&self) {
        let mut stage = self.stage.subscribe();
        // The sender lives as long as this does.
        let _ = stage.wait_for(|stage| *stage == Stage::Closing).await;
    }

    pub(crate) fn trace(&self) -> MutexGuard<'_, Trace> {
        lock(&self.trace)
    }
}
