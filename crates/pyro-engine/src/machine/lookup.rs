//! From a VM's id to its record, made true first.

use pyro_api::values::{DeleteReason, VmRecord, VmState};
use pyro_api::{Error, ErrorCode};
use pyro_wire::launch::{END_FILE, Ended};

use super::facts::is_waiting;
use super::now;
use crate::engine::Engine;
use crate::store::StoredVm;

/// Whether the time to live of a VM has passed. That is a time of the day, as in the record: a host
/// whose clock is set on ends the VM then, as its shim does, and one that is set back keeps it longer.
pub(crate) fn is_expired(record: &VmRecord, now: f64) -> bool {
    record.expires_at <= now
}

impl Engine {
    /// The record of a VM whose time is not over. One that is over is deleted and refused.
    pub(crate) async fn vm(&self, vm_id: &str) -> Result<StoredVm, Error> {
        let vm = self.store()?.vm(vm_id)?;
        let vm = vm.filter(|vm| !is_waiting(&vm.record));
        let mut vm = vm.ok_or_else(|| unknown(vm_id))?;
        if is_expired(&vm.record, now()) {
            self.end_vm(vm_id, DeleteReason::ExplicitDelete).await?;
            return Err(Error::new(
                ErrorCode::VmExpired,
                format!("VM `{vm_id}` reached the end of its time to live and was deleted"),
            )
            .because(format!("its ttl_seconds was {}", vm.record.ttl_seconds))
            .hint("Create a new one, with a larger `ttl_seconds` if it must live longer"));
        }
        if vm.record.state == VmState::Started && !self.folder(vm_id).is_alive() {
            self.repair(&mut vm)?;
        }
        Ok(vm)
    }

    /// The VM's shim is gone although the record says otherwise.
    fn repair(&self, vm: &mut StoredVm) -> Result<(), Error> {
        self.launched().remove(&vm.record.vm_id);
        let folder = self.folder(&vm.record.vm_id);
        if !folder.path().is_dir() {
            self.store()?.remove_vm(&vm.record.vm_id)?;
            return Err(
                unknown(&vm.record.vm_id).because("it has ended, and its folder has been removed")
            );
        }
        let why = std::fs::read(folder.join(END_FILE))
            .ok()
            .and_then(|text| serde_json::from_slice::<Ended>(&text).ok())
            .map_or_else(
                || "its supervisor was killed".to_owned(),
                |ended| ended.message,
            );
        vm.record.state = VmState::Stopped;
        vm.record.metadata.insert("last_end".to_owned(), why);
        self.store()?.put_vm(vm)?;
        Ok(())
    }
}

fn unknown(vm_id: &str) -> Error {
    Error::new(ErrorCode::UnknownVm, format!("There is no VM `{vm_id}`"))
        .hint("One-shot VMs are deleted after `vm_exec`, `vm_delete` or their time to live")
}
