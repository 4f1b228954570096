//! Makes one layer of two, where nobody needs the lower one by itself.
//!
//! In the disk of a running VM the shim does it: what the lower layer holds moves into the upper
//! one. Elsewhere a third layer is made of both, and takes their place in the record.

use std::time::Duration;

use pyro_api::values::VmState;
use pyro_api::{Caller, Error, ErrorCode};
use pyro_wire::shim::Status;
use tokio::time::{Instant, sleep};

use crate::engine::Engine;
use crate::error::{broke, host_io};
use crate::machine::create::random_hex;
use crate::machine::{disk, link};
use crate::store::StoredWorkspace;
use crate::workspace::errors::{link_broken, unknown};
use crate::workspace::layers::{self, Watch, layers_failed};
use crate::workspace::lock::Hold;

/// How long a VM may take to move what a layer holds: a full disk, from a slow one to a slow one.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long others wait for a move that somebody began and did not see the end of.
const OTHERS: Duration = Duration::from_secs(120);

const LOOK_AGAIN: Duration = Duration::from_millis(10);

const DOING: &str = "put layers of its disk together";

/// What the next step of a merge is.
enum Next {
    /// The VM moves something.
    Wait,
    /// There is nothing more to be done.
    Over,
}

impl Engine {
    /// Merges what can be merged. While a VM moves data, others may use the workspace.
    pub(crate) async fn merge_superfluous(&self, id: &str, caller: &Caller) -> Result<(), Error> {
        let folder = self.workspace_folder(id);
        loop {
            let held = folder.hold(id, Hold::Exclusive).await?;
            let stored = self.reload_workspace(id)?;
            let stored = self.settled(stored).await?;
            self.remove_unneeded(&stored);
            let next = self.merge_one(&stored, caller).await?;
            drop(held);
            match next {
                Some(Next::Wait) => {
                    let status = self.wait_for_merge(&stored, PATIENCE).await?;
                    if let Some(why) = status.and_then(|status| status.merge_failed) {
                        return Err(Error::new(
                            ErrorCode::HostIo,
                            format!(
                                "Layers of the disk of workspace `{id}` could not be put together"
                            ),
                        )
                        .because(why));
                    }
                }
                Some(Next::Over) => return Ok(()),
                None => {}
            }
        }
    }

    /// The record with what a running VM has for a disk; waits for moves that are under way. The
    /// lock is held exclusively.
    pub(crate) async fn settled(&self, stored: StoredWorkspace) -> Result<StoredWorkspace, Error> {
        if stored.record.state != VmState::Started {
            return Ok(stored);
        }
        let Some(status) = self.wait_for_merge(&stored, OTHERS).await? else {
            return Ok(stored);
        };
        let actual = self.own_layers(&stored, &status);
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
        store.settle()?;
        Ok(stored)
    }

    async fn merge_one(
        &self,
        stored: &StoredWorkspace,
        caller: &Caller,
    ) -> Result<Option<Next>, Error> {
        let id = &stored.record.workspace_id;
        let folder = self.workspace_folder(id);
        let actual = match stored.record.state {
            VmState::Started => self
                .disk_status(stored)
                .await?
                .map(|status| self.own_layers(stored, &status)),
            _ => None,
        };
        for (lower, upper) in stored.superfluous() {
            let in_use = stored.layers.contains(&lower);
            match &actual {
                Some(actual) if in_use => {
                    // One that was not added yet, by somebody who was killed in the middle.
                    if !actual.contains(&lower) || !actual.contains(&upper) {
                        continue;
                    }
                    link::merge_layer(&self.vm_of(stored), folder.layer(&lower))
                        .await
                        .map_err(|error| link_broken(id, DOING, &error))?;
                    return Ok(Some(Next::Wait));
                }
                _ => {
                    self.merge_apart(stored, &lower, &upper, caller).await?;
                    return Ok(None);
                }
            }
        }
        Ok(Some(Next::Over))
    }

    /// Makes one layer of two that no VM writes to.
    async fn merge_apart(
        &self,
        stored: &StoredWorkspace,
        lower: &str,
        upper: &str,
        caller: &Caller,
    ) -> Result<(), Error> {
        let id = &stored.record.workspace_id;
        let folder = self.workspace_folder(id);
        let what = format!("Layers of the disk of workspace `{id}` could not be put together");
        let random = random_hex(6).map_err(|error| host_io(&what, &error))?;
        let merged = format!("{random}.qcow2");
        let path = folder.layer(&merged);
        let (below, above) = (folder.layer(lower), folder.layer(upper));
        let (_watching, mut watch) = Watch::new(caller, "giving space back");
        let to = path.clone();
        let done = tokio::task::spawn_blocking(move || {
            layers::merge(&disk::layer(&below), &disk::layer(&above), &to, &mut watch)
        })
        .await
        .map_err(|error| broke(&error))?;
        if let Err(error) = done {
            let _ = std::fs::remove_file(&path);
            return Err(layers_failed(what, &error));
        }
        let store = self.store()?;
        let stored = store
            .change_workspace(id, |stored| stored.replace(lower, upper, &merged))?
            .ok_or_else(|| unknown(id))?;
        store.settle()?;
        self.remove_unneeded(&stored);
        Ok(())
    }

    /// Waits until nothing moves any more. `None`: the VM has ended meanwhile, and its disk is
    /// right as it is.
    async fn wait_for_merge(
        &self,
        stored: &StoredWorkspace,
        patience: Duration,
    ) -> Result<Option<Status>, Error> {
        let id = &stored.record.workspace_id;
        let deadline = Instant::now() + patience;
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
                    format!("Workspace `{id}` still puts layers of its disk together"),
                )
                .hint("Try again in a while"));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// `None`: the VM has ended.
    async fn disk_status(&self, stored: &StoredWorkspace) -> Result<Option<Status>, Error> {
        match link::status(&self.vm_of(stored)).await {
            Ok(status) => Ok(Some(status)),
            Err(_) if !self.vm_of(stored).is_alive() => Ok(None),
            Err(error) => Err(link_broken(&stored.record.workspace_id, DOING, &error)),
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
