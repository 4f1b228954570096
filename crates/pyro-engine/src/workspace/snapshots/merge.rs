//! Makes one layer of two, where nobody needs the lower one by itself.
//!
//! In the disk of a running VM the shim does it: what the lower layer holds moves into the upper
//! one. The layers of a running sandbox stay as they are until it has ended. Elsewhere a third layer is made of both, and takes their place in the record. Neither keeps
//! others from the workspace, except for a third layer in place of the one that a VM would write to.

#[cfg(test)]
mod tests;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyro_api::values::VmState;
use pyro_api::{Caller, Error, ErrorCode};
use pyro_disk::layers::{Layer, merge};
use pyro_namespace::overlay;
use pyro_wire::shim::Status;
use tokio::time::{Instant, sleep};

use super::merge_folder::MergeFolder;
use crate::engine::Engine;
use crate::error::{broke, host_io};
use crate::gvisor;
use crate::machine::shim_client;
use crate::owned_files::{Helper, OnOwnThread, Watch};
use crate::store::StoredWorkspace;
use crate::workspace::at_rest::layers_failed;
use crate::workspace::errors::{shim_unreachable, unknown};
use crate::workspace::layers;
use crate::workspace::lock::{LockMode, WorkspaceLock};
use crate::workspace::progress::report_progress;

/// How long a VM may take to move what a layer holds: a full disk, from a slow one to a slow one.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long others wait for a move that somebody began and did not see the end of.
const OTHERS_PATIENCE: Duration = Duration::from_secs(120);

const POLL: Duration = Duration::from_millis(10);

const MERGING: &str = "freeing space";

const DOING: &str = "merge layers of its disk";

/// What can be merged next.
enum Next {
    /// The VM has begun to move something.
    Live,
    /// Two layers that no VM has for a disk.
    Offline { lower: String, upper: String },
}

impl Engine {
    /// Merges what can be merged. Others may use the workspace meanwhile, if it runs.
    pub(crate) async fn merge_layers(&self, id: &str, caller: &Caller) -> Result<(), Error> {
        loop {
            let (held, stored) = self.lock_settled(id).await?;
            self.remove_unreferenced(&stored);
            match self.next_merge(&stored).await? {
                None => return Ok(()),
                Some(Next::Live) => {
                    drop(held);
                    let deadline = Instant::now() + PATIENCE;
                    let status = self.wait_for_merge(&stored, deadline).await?;
                    if let Some(why) = status.and_then(|status| status.merge_failed) {
                        return Err(Error::new(
                            ErrorCode::HostIo,
                            format!("Disk layers of workspace `{id}` could not be merged"),
                        )
                        .because(why));
                    }
                }
                Some(Next::Offline { lower, upper }) => {
                    self.merge_offline(held, &stored, lower, upper, caller)
                        .await?;
                }
            }
        }
    }

    /// Holds a workspace exclusively, at a moment at which its VM moves nothing, and gives the
    /// record with what that VM has for a disk. While one moves, others may hold it.
    pub(crate) async fn lock_settled(
        &self,
        id: &str,
    ) -> Result<(WorkspaceLock, StoredWorkspace), Error> {
        let folder = self.workspace_folder(id);
        let deadline = Instant::now() + OTHERS_PATIENCE;
        loop {
            let held = folder.lock(id, LockMode::Exclusive).await?;
            let stored = self.reload_workspace(id)?;
            if stored.record.state != VmState::Started {
                self.end_unrecorded_vm(&stored).await?;
                return Ok((held, stored));
            }
            let Some(status) = self.disk_status(&stored).await? else {
                return Ok((held, stored));
            };
            if status.merging.is_none() {
                return Ok((held, self.adopted(stored, &status)?));
            }
            drop(held);
            self.wait_for_merge(&stored, deadline).await?;
        }
    }

    /// The record with what a running VM has for a disk. The lock is held exclusively.
    fn adopted(&self, stored: StoredWorkspace, status: &Status) -> Result<StoredWorkspace, Error> {
        let actual = self.own_layers(&stored, status);
        if !stored.clone().adopt(&actual) {
            return Ok(stored);
        }
        let id = &stored.record.workspace_id;
        let store = self.store()?;
        let stored = store
            .change_workspace(id, |stored| {
                stored.adopt(&actual);
            })?
            .ok_or_else(|| unknown(id))?;
        store.sync()?;
        Ok(stored)
    }

    async fn next_merge(&self, stored: &StoredWorkspace) -> Result<Option<Next>, Error> {
        let id = &stored.record.workspace_id;
        let folder = self.workspace_folder(id);
        let is_running = stored.record.state == VmState::Started;
        let actual = match stored.record.state {
            VmState::Started if !stored.is_on_folders() => self
                .disk_status(stored)
                .await?
                .map(|status| self.own_layers(stored, &status)),
            _ => None,
        };
        for (lower, upper) in stored.mergeable() {
            // What an environment was made of stays as it is, and no space is freed where that keeps it.
            if [&lower, &upper]
                .into_iter()
                .any(|name| is_kept(&folder.layer(name)))
            {
                continue;
            }
            let is_own = stored.layers.contains(&lower);
            if stored.is_on_folders() && is_running && is_own {
                // Its sandbox has them mounted. They are merged when that has ended.
                continue;
            }
            match &actual {
                Some(actual) if is_own => {
                    // One that was not added yet, by somebody who was killed in the middle.
                    if !actual.contains(&lower) || !actual.contains(&upper) {
                        continue;
                    }
                    shim_client::merge_layer(&self.vm_of(stored), folder.layer(&lower))
                        .await
                        .map_err(|error| shim_unreachable(id, DOING, &error))?;
                    return Ok(Some(Next::Live));
                }
                _ => return Ok(Some(Next::Offline { lower, upper })),
            }
        }
        Ok(None)
    }

    /// Makes one layer of two that no VM writes to, if nothing comes between.
    async fn merge_offline(
        &self,
        held: WorkspaceLock,
        stored: &StoredWorkspace,
        lower: String,
        upper: String,
        caller: &Caller,
    ) -> Result<(), Error> {
        let id = &stored.record.workspace_id;
        let folder = self.workspace_folder(id);
        let what = format!("Disk layers of workspace `{id}` could not be merged");
        let failed = |error: std::io::Error| host_io(&what, &error);
        let name = layers::new_name(stored.is_on_folders()).map_err(failed)?;
        let bench = MergeFolder::new(&folder, name).map_err(failed)?;
        // A VM that is started writes to the last layer of its disk, and to no other: those stay as
        // they are for as long as they are needed.
        let held = (stored.layers.last() == Some(&upper)).then_some(held);
        let pair = [folder.layer(&lower), folder.layer(&upper)];
        let done = match stored.is_on_folders() {
            true => self.merge_folders(pair, bench, &what, caller).await,
            false => merge_images(pair, bench, &what, caller).await,
        };
        let _held = match held {
            Some(held) => held,
            None => folder.lock(id, LockMode::Exclusive).await?,
        };
        let now = self.reload_workspace(id)?;
        let in_use = now.record.state == VmState::Started && now.layers.contains(&lower);
        let pair = (lower, upper);
        if in_use || !now.mergeable().contains(&pair) {
            // Somebody went back to it, deleted it, or was faster.
            return Ok(());
        }
        let merged = done?.hand_over(&folder).map_err(failed)?;
        let store = self.store()?;
        let stored = store
            .change_workspace(id, |stored| stored.replace(&pair.0, &pair.1, &merged))?
            .ok_or_else(|| unknown(id))?;
        store.sync()?;
        self.remove_unreferenced(&stored);
        Ok(())
    }

    /// The same of two folders. Their files get other names in the third, so nobody may write to the two
    /// any more: nobody does, as that one is in their place, or in nobody's.
    async fn merge_folders(
        &self,
        pair: [PathBuf; 2],
        bench: MergeFolder,
        what: &str,
        caller: &Caller,
    ) -> Result<MergeFolder, Error> {
        let failed = |error: std::io::Error| host_io(what, &error);
        gvisor::create_layer(&bench.path()).map_err(failed)?;
        let busy = bench.busy().map_err(failed)?;
        let [lower, upper, to] =
            [&pair[0], &pair[1], &bench.path()].map(|path| overlay::upper(path));
        let helper = Helper::new(self.config().pyro()?, what.to_owned())?;
        let work = move |watch: &Watch| {
            helper.merge(&lower, &upper, &to, busy, watch)?;
            Ok(bench)
        };
        OnOwnThread::start(work).finish(MERGING, caller).await
    }

    /// Waits until nothing moves any more. `None`: the VM has ended meanwhile, and its disk is
    /// right as it is.
    async fn wait_for_merge(
        &self,
        stored: &StoredWorkspace,
        deadline: Instant,
    ) -> Result<Option<Status>, Error> {
        let id = &stored.record.workspace_id;
        loop {
            let Some(status) = self.disk_status(stored).await? else {
                return Ok(None);
            };
            if status.merging.is_none() {
                return Ok(Some(status));
            }
            if Instant::now() > deadline {
                return Err(Error::new(
                    ErrorCode::Conflict,
                    format!("Workspace `{id}` is still merging layers of its disk"),
                )
                .hint("Try again later"));
            }
            sleep(POLL).await;
        }
    }

    /// `None`: the VM has ended.
    async fn disk_status(&self, stored: &StoredWorkspace) -> Result<Option<Status>, Error> {
        match shim_client::status(&self.vm_of(stored)).await {
            Ok(status) => Ok(Some(status)),
            Err(_) if !self.vm_of(stored).is_alive() => Ok(None),
            Err(error) => Err(shim_unreachable(&stored.record.workspace_id, DOING, &error)),
        }
    }

    /// The workspace's own layers in the disk of its running VM, bottom first.
    fn own_layers(&self, stored: &StoredWorkspace, status: &Status) -> Vec<String> {
        let disks = self.workspace_folder(&stored.record.workspace_id).disks();
        let own = status
            .disk
            .iter()
            .filter(|layer| layer.path.parent() == Some(&disks));
        own.filter_map(|layer| Some(layer.path.file_name()?.to_str()?.to_owned()))
            .collect()
    }
}

/// Whether a layer has another name: somebody else stands on it.
fn is_kept(layer: &Path) -> bool {
    std::fs::symlink_metadata(layer).is_ok_and(|found| found.is_file() && found.nlink() > 1)
}

/// Makes a third image of two.
async fn merge_images(
    [lower, upper]: [PathBuf; 2],
    bench: MergeFolder,
    what: &str,
    caller: &Caller,
) -> Result<MergeFolder, Error> {
    let (_cancel, mut progress) = report_progress(caller, MERGING);
    let what = what.to_owned();
    tokio::task::spawn_blocking(move || {
        let (lower, upper) = (Layer::qcow2(&lower), Layer::qcow2(&upper));
        merge(&lower, &upper, &bench.path(), &mut progress)
            .map_err(|error| layers_failed(what, &error))?;
        Ok(bench)
    })
    .await
    .map_err(|error| broke(&error))?
}
