//! How far a guest has come, and what may be asked of it by then.

use pyro_wire::fault::{Fault, FaultCode};
use tokio::sync::watch;

use crate::backend::Backend;

/// It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nobody's yet. A virtual machine is in its initramfs, its root not mounted.
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

/// The stage, for those who ask and those who wait.
pub(crate) struct Lifecycle(watch::Sender<Stage>);

impl Lifecycle {
    pub(crate) fn new(backend: &Backend) -> Self {
        Self(watch::Sender::new(match backend {
            Backend::Vm | Backend::Sandbox | Backend::Files => Stage::Waiting,
            // Nothing needs to be set up here.
            Backend::Process { .. } => Stage::Ready,
        }))
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.0.borrow()
    }

    pub(crate) fn set(&self, stage: Stage) {
        self.0.send_replace(stage);
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

    /// Waits until the agent is shutting down.
    pub(crate) async fn closing(&self) {
        let mut stage = self.0.subscribe();
        // The sender lives as long as this does.
        let _ = stage.wait_for(|stage| *stage == Stage::Closing).await;
    }
}
