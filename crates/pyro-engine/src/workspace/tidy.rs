//! Clears away what a killed process left of a workspace.

use pyro_api::Error;
use pyro_wire::shim::Stop;

use super::folder::WorkspaceFolder;
use crate::engine::Engine;
use crate::machine::end;
use crate::machine::folder::VmFolder;
use crate::machine::owner::Owner;
use crate::store::StoredWorkspace;

impl Engine {
    /// Ends VMs and removes layers that the record does not name. The lock is held exclusively.
    pub(crate) async fn tidy_workspace(&self, stored: &StoredWorkspace) -> Result<(), Error> {
        let folder = self.workspace_folder(&stored.record.workspace_id);
        for (generation, vm) in folder.vms() {
            if generation != stored.generation {
                remove_vm(&vm).await?;
            }
        }
        self.remove_unneeded(stored);
        let _ = std::fs::remove_dir_all(folder.next_tree());
        folder.remove_unknown_logs(stored);
        super::log_files::remove_abandoned(&folder.outputs());
        Ok(())
    }

    /// Removes layers, and copies of files, that no state of the workspace needs. The lock is held
    /// exclusively.
    pub(crate) fn remove_unneeded(&self, stored: &StoredWorkspace) {
        let folder = self.workspace_folder(&stored.record.workspace_id);
        let entries = |folder| std::fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries(folder.disks()) {
            if !is_one(entry.file_name(), |name| stored.needs_layer(name)) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        for entry in entries(folder.trees()) {
            if !is_one(entry.file_name(), |name| stored.needs_tree(name)) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Removes what is left of workspaces whose making, or whose deletion, was broken off.
    pub(crate) async fn sweep_workspaces(&self) -> Result<(), Error> {
        let store = self.store()?;
        let mut known: Vec<String> = Vec::new();
        for (id, maker) in store.unfinished_workspaces()? {
            if Owner::lives(&self.config().state_dir, &maker) {
                known.push(id);
            } else {
                self.remove_remains(&self.workspace_folder(&id)).await?;
                store.remove_workspace(&id)?;
            }
        }
        for id in WorkspaceFolder::ids(&self.config().state_dir) {
            let folder = self.workspace_folder(&id);
            // The record comes first when one is made, and goes first when one is deleted.
            if folder.is_debris() && !known.contains(&id) && !store.has_workspace(&id)? {
                self.remove_remains(&folder).await?;
            }
        }
        Owner::forget_dead(&self.config().state_dir);
        Ok(())
    }

    /// Ends every VM of a folder and removes it.
    pub(crate) async fn remove_remains(&self, folder: &WorkspaceFolder) -> Result<(), Error> {
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
        end::stop_and_wait(vm, stop, end::GONE).await?;
    }
    vm.remove().map_err(|error| {
        crate::error::host_io(
            format!("{} could not be removed", vm.path().display()),
            &error,
        )
    })
}
