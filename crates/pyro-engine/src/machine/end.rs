//! Ends VMs: the shim, the folder, the record.

use std::time::Duration;

use pyro_api::values::{DeleteReason, VmDeleted};
use pyro_api::{Error, ErrorCode};
use pyro_wire::reached;
use pyro_wire::shim::Stop;
use tokio::time::{Instant, sleep, timeout};

use super::folder::VmFolder;
use super::shim_client;
use crate::engine::Engine;
use crate::error::host_io;

/// How long a VM may take to be gone once its shim was told.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// After this a shim that could not be told is told again.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// How long one that does not answer any more may take to be gone altogether.
pub(crate) const EXIT_TIMEOUT: Duration = Duration::from_secs(3);

impl Engine {
    /// Deletes a VM in whatever state it is.
    pub(crate) async fn end_vm(
        &self,
        vm_id: &str,
        reason: DeleteReason,
    ) -> Result<VmDeleted, Error> {
        self.halt_vm(vm_id, Duration::ZERO, true).await?;
        reached!("VM ended");
        let folder = self.folder(vm_id);
        folder.remove().map_err(|error| {
            host_io(
                format!("The folder of VM `{vm_id}` could not be removed"),
                &error,
            )
        })?;
        self.store()?.remove_vm(vm_id)?;
        reached!("record removed");
        Ok(deleted(vm_id, reason))
    }

    /// Deletes a VM whose command has ended: when this returns no instruction of it runs any more and
    /// no record is left of it. Collecting its processes and removing its folder is its supervisor's
    /// work, which goes on; should that be killed, a sweep does the rest.
    pub(crate) async fn dispose_vm(
        &self,
        vm_id: &str,
        reason: DeleteReason,
    ) -> Result<VmDeleted, Error> {
        let stop = Stop {
            grace_ms: 0,
            remove: true,
            at_once: true,
        };
        if shim_client::stop(&self.folder(vm_id), stop).await.is_err() {
            // Nobody there to do it.
            return self.end_vm(vm_id, reason).await;
        }
        reached!("VM killed");
        self.launched().remove(vm_id);
        if self.store()?.remove_vm(vm_id).is_err() {
            // A guest may have filled this disk, and what its folder holds makes room again.
            wait_until_gone(&self.folder(vm_id), STOP_TIMEOUT).await?;
            return self.end_vm(vm_id, reason).await;
        }
        reached!("record removed");
        Ok(deleted(vm_id, reason))
    }

    /// Ends the VM's processes, if there are any.
    pub(crate) async fn halt_vm(
        &self,
        vm_id: &str,
        grace: Duration,
        remove: bool,
    ) -> Result<(), Error> {
        let folder = self.folder(vm_id);
        let launched = self.launched().remove(vm_id);
        if folder.is_alive() {
            let stop = Stop {
                grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
                remove,
                at_once: false,
            };
            // A shim that does not answer still ends when its owner's pipe closes.
            let _ = shim_client::stop(&folder, stop).await;
            reached!("supervisor told to end the VM");
            drop(launched);
            return stop_and_wait(&folder, stop, STOP_TIMEOUT).await;
        }
        Ok(())
    }
}

/// Tells a VM to end and waits until neither shim nor VMM hold the folder.
///
/// A shim that has just begun holds it before anybody can tell it something, and one that is ending
/// answers nobody any more: it is told until it has heard, and what counts is that the lock is free.
pub(crate) async fn stop_and_wait(
    folder: &VmFolder,
    stop: Stop,
    patience: Duration,
) -> Result<(), Error> {
    let telling = async {
        while folder.is_alive() && shim_client::stop(folder, stop).await.is_err() {
            sleep(RETRY_AFTER).await;
        }
    };
    let _ = timeout(patience, telling).await;
    wait_until_gone(folder, patience).await
}

/// Waits until neither shim nor VMM hold the folder.
pub(crate) async fn wait_until_gone(folder: &VmFolder, patience: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + patience;
    while folder.is_alive() {
        if Instant::now() >= deadline {
            return Err(Error::new(
                ErrorCode::Internal,
                format!("A VM did not end within {} s", patience.as_secs()),
            )
            .hint(format!(
                "Find the process `pyro shim {}` and kill it",
                folder.path().display()
            )));
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn deleted(vm_id: &str, reason: DeleteReason) -> VmDeleted {
    VmDeleted {
        vm_id: vm_id.to_owned(),
        deleted: true,
        reason,
    }
}
