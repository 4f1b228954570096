//! Stops the VM of a workspace. Files stay.

use std::time::Duration;

use pyro_api::Error;
use pyro_api::values::VmState;
use pyro_wire::shim::Stop;

use super::errors::{shim_unreachable, unknown};
use super::services::ended::{mark_all_ended, services_left_by};
use crate::engine::Engine;
use crate::machine::folder::VmFolder;
use crate::machine::{end, shim_client};
use crate::store::StoredWorkspace;

/// How long the guest may take to end its processes and flush its disk.
const GRACE: Duration = Duration::from_secs(30);

impl Engine {
    /// Stops a VM that runs and writes that down. The lock is held exclusively.
    pub(crate) async fn stop_workspace(
        &self,
        stored: StoredWorkspace,
        why: &str,
    ) -> Result<StoredWorkspace, Error> {
        self.sweep_workspace(&stored).await?;
        if stored.record.state != VmState::Started {
            self.end_unrecorded_vm(&stored).await?;
            return Ok(stored);
        }
        let id = &stored.record.workspace_id;
        let vm = self.vm_of(&stored);
        stop_vm(id, &vm).await?;
        let left = services_left_by(&vm);
        let stored = self
            .store()?
            .change_workspace(id, |stored| {
                stored.record.state = VmState::Stopped;
                stored.record.stopped_because = Some(why.to_owned());
                stored.record.last_activity_at = crate::machine::now();
                mark_all_ended(stored, &left, crate::machine::now());
            })?
            .ok_or_else(|| unknown(id))?;
        self.workspace_folder(id).take_logs(&vm);
        self.note_event(id, "stopped", why.to_owned())?;
        let stored = self.reconcile_jobs(stored)?;
        self.store()?.sync()?;
        Ok(stored)
    }
}

/// Lets a guest flush its disk, and ends its VM.
pub(crate) async fn stop_vm(id: &str, vm: &VmFolder) -> Result<(), Error> {
    let stop = Stop {
        grace_ms: GRACE.as_millis() as u64,
        remove: false,
        at_once: false,
    };
    if let Err(error) = shim_client::stop(vm, stop).await
        && vm.is_alive()
    {
        return Err(shim_unreachable(id, "stop it", &error));
    }
    end::wait_until_gone(vm, GRACE).await
}
