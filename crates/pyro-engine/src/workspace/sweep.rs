//! Clears away what a killed process left of a workspace.

use pyro_api::Error;
use pyro_api::values::VmState;
use pyro_wire::shim::Stop;

use super::folder::WorkspaceFolder;
use super::layers;
use super::snapshots::merge_folder::remove_abandoned;
use super::stop::stop_vm;
use crate::engine::Engine;
use crate::machine::end;
use crate::machine::folder::VmFolder;
use crate::machine::owner::Owner;
use crate::store::StoredWorkspace;

impl Engine {
    /// Ends VMs and removes layers that the record does not name. The lock is held exclusively.
    pub(crate) async fn sweep_workspace(&self, stored: &StoredWorkspace) -> Result<(), Error> {
        let folder = self.workspace_folder(&stored.record.workspace_id);
        for (generation, vm) in folder.vms() {
            if generation != stored.generation {
                remove_vm(&vm).await?;
            }
        }
        self.remove_unreferenced(stored);
        let _ = std::fs::remove_dir_all(folder.next_tree());
        folder.remove_unknown_logs(stored);
        super::log_files::remove_abandoned(&folder.outputs());
        let store = self.store()?;
        Ok(folder.remove_unknown_jobs(|| store.commands(&stored.record.workspace_id))?)
    }

    /// Removes layers, and copies of files, that no state of the workspace needs. The lock is held
    /// exclusively.
    pub(crate) fn remove_unreferenced(&self, stored: &StoredWorkspace) {
        let folder = self.workspace_folder(&stored.record.workspace_id);
        remove_abandoned(&folder);
        let entries = |folder| std::fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries(folder.disks()) {
            if !is_one(entry.file_name(), |name| stored.needs_layer(name)) {
                let _ = layers::remove(&entry.path());
            }
        }
        for entry in entries(folder.trees()) {
            if !is_one(entry.file_name(), |name| stored.needs_tree(name)) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Removes what is left of workspaces whose making, or whose deletion, was broken off, and ends
    /// VMs that no record knows. What cannot be cleared away stands in nobody's way: the next one
    /// tries again.
    pub(crate) async fn sweep_workspaces(&self) -> Result<(), Error> {
        let store = self.store()?;
        let mut known: Vec<String> = Vec::new();
        for (id, maker) in store.unfinished_workspaces()? {
            if Owner::lives(&self.config().state_dir, &maker) {
                known.push(id);
                continue;
            }
            // It may have been finished since the list was read, and its maker have gone home. What a
            // dead one has not finished stays so.
            if store.is_unfinished(&id)?
                && self
                    .remove_debris(&self.workspace_folder(&id))
                    .await
                    .is_ok()
            {
                store.remove_workspace(&id)?;
            }
        }
        for id in WorkspaceFolder::ids(&self.config().state_dir) {
            let folder = self.workspace_folder(&id);
            if known.contains(&id) {
                continue;
            }
            let _ = match store.has_workspace(&id)? {
                true => match folder.builder() {
                    Some(builder) if !Owner::lives(&self.config().state_dir, &builder) => {
                        self.delete_workspace(&id).await
                    }
                    _ => self.end_orphans(&id).await,
                },
                // The record comes first when one is made, and goes first when one is deleted.
                false if folder.is_debris() => self.remove_debris(&folder).await,
                false => Ok(()),
            };
        }
        Owner::forget_dead(&self.config().state_dir);
        Ok(())
    }

    /// Ends what runs of a workspace and is not in its record, because a process that started it
    /// was killed before it could write that down, or before it could end the last one. Whoever
    /// holds the workspace just now is about to start or end something himself.
    pub(crate) async fn end_orphans(&self, id: &str) -> Result<(), Error> {
        let folder = self.workspace_folder(id);
        let Some(_held) = folder.try_lock() else {
            return Ok(());
        };
        let store = self.store()?;
        let Some(stored) = store.workspace(id)? else {
            return Ok(());
        };
        let Some(stored) = self.reconcile_state(stored)? else {
            return Ok(());
        };
        if folder.has_other_vms(stored.generation) {
            self.sweep_workspace(&stored).await?;
        }
        if stored.record.state != VmState::Started {
            self.end_unrecorded_vm(&stored).await?;
            if store.is_admitted(id)? {
                // Its start came as far as that.
                store.change_workspace(id, |_| ())?;
            }
        }
        Ok(())
    }

    /// Ends the VM of a workspace whose record says that it has stopped: whoever started it was
    /// killed before it could say so. The lock is held exclusively.
    pub(crate) async fn end_unrecorded_vm(&self, stored: &StoredWorkspace) -> Result<(), Error> {
        let vm = self.vm_of(stored);
        match vm.is_alive() {
            true => stop_vm(&stored.record.workspace_id, &vm).await,
            false => Ok(()),
        }
    }

    /// Ends every VM of a folder and removes it.
    pub(crate) async fn remove_debris(&self, folder: &WorkspaceFolder) -> Result<(), Error> {
        for (_, vm) in folder.vms() {
            remove_vm(&vm).await?;
        }
        folder.remove().map_err(|error| {
            crate::error::host_io(
                format!("{} could not be removed", folder.path().display()),
                &error,
            )
        })
    }
}

fn is_one(name: std::ffi::OsString, needed: impl Fn(&str) -> bool) -> bool {
    name.to_str().is_some_and(needed)
}

/// Ends a VM whose disk nobody wants, and removes its folder.
pub(crate) async fn remove_vm(vm: &VmFolder) -> Result<(), Error> {
    if vm.is_alive() {
        let stop = Stop {
            grace_ms: 0,
            remove: false,
            at_once: false,
        };
        end::stop_and_wait(vm, stop, end::STOP_TIMEOUT).await?;
    }
    vm.remove().map_err(|error| {
        crate::error::host_io(
            format!("{} could not be removed", vm.path().display()),
            &error,
        )
    })
}
