//! Returns a workspace to its baseline or to a snapshot: a fresh VM on that state of the disk.

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use pyro_api::values::VmState;
use pyro_api::{Caller, Error};

use super::create::copy_tree;
use super::errors::unknown;
use super::layers::new_layer;
use super::lock::WorkspaceLock;
use super::snapshots::Target;
use super::sweep::remove_vm;
use crate::engine::Engine;
use crate::error::host_io;
use crate::machine::create::Base;
use crate::machine::now;
use crate::store::StoredWorkspace;

/// A chain of folders with more layers than this is made shorter before another one comes on top. What
/// the kernel mounts has about 500.
const DEEP: usize = 64;

impl Engine {
    /// Makes the disk that a workspace is to go back to shorter, if it has grown deep by states that
    /// nobody needs any more. Those of a sandbox become one only when that has ended, which it is about
    /// to anyway.
    pub(crate) async fn shallow(
        &self,
        (held, stored): (WorkspaceLock, StoredWorkspace),
        target: &str,
        caller: &Caller,
    ) -> Result<(WorkspaceLock, StoredWorkspace), Error> {
        let id = stored.record.workspace_id.clone();
        let depth = Target::find(&stored, target)?.layers(&stored).len();
        if !stored.is_on_folders() || depth <= DEEP || stored.mergeable().is_empty() {
            return Ok((held, stored));
        }
        self.stop_workspace(stored, "its disk was made shorter for a reset")
            .await?;
        drop(held);
        self.free_layers(&id, "deleted snapshots", caller).await?;
        self.lock_settled(&id).await
    }

    /// Starts the new VM first and then switches: a failure leaves the old state. The lock is held
    /// exclusively.
    pub(crate) async fn reset_workspace(
        &self,
        stored: StoredWorkspace,
        target: &Target,
        caller: &Caller,
    ) -> Result<StoredWorkspace, Error> {
        let id = stored.record.workspace_id.clone();
        self.sweep_workspace(&stored).await?;
        let old = self.vm_of(&stored);
        let mut next = stored.clone();
        next.generation += 1;
        let folder = self.workspace_folder(&id);
        let failed =
            |error: std::io::Error| host_io(format!("Workspace `{id}` could not be reset"), &error);
        let base = self.restored_base(&stored, caller).await?;
        match &base {
            Base::Image(_) | Base::Tree(_) => {
                next.layers = target.layers(&stored);
                let layer = new_layer(&folder, &base).map_err(failed)?;
                next.layers.extend(layer);
            }
            // Both would work in the one folder: here the old one ends first.
            Base::HostProcess => {
                remove_vm(&old).await?;
                let fresh = folder.next_tree();
                copy_tree(&target.tree(&folder), &fresh).await?;
                // In one step, so that a kill leaves the one or the other.
                renameat2(
                    AT_FDCWD,
                    &fresh,
                    AT_FDCWD,
                    &folder.tree(),
                    RenameFlags::RENAME_EXCHANGE,
                )
                .map_err(|errno| failed(errno.into()))?;
                std::fs::remove_dir_all(&fresh).map_err(failed)?;
            }
        }
        if stored.record.state != VmState::Started {
            self.admit(&id, stored.record.mem_mib, false).await?;
        }
        let started = match self.launch_workspace(&next, false, caller).await {
            Ok(started) => started,
            Err(error) => {
                self.store()?.change_workspace(&id, |_| ())?;
                self.sweep_workspace(&stored).await?;
                return Err(error);
            }
        };
        let switched = self
            .store()?
            .change_workspace(&id, |stored| {
                stored.generation = next.generation;
                stored.layers = next.layers;
                started.write_into(stored);
                let record = &mut stored.record;
                record.reset_count += 1;
                record.last_reset_at = Some(now());
                record.command_count = 0;
                record.last_command = None;
                stored.change_services(|services| services.clear());
            })?
            .ok_or_else(|| unknown(&id))?;
        self.note_event(&id, "reset", target.words())?;
        self.store()?.sync()?;
        // The old VM and its layers.
        self.sweep_workspace(&switched).await?;
        self.reconcile_jobs(switched)
    }
}
