//! Keeps the present state of a workspace.

use std::time::Duration;

use pyro_api::values::VmState;
use pyro_api::{Caller, Error, ErrorCode};
use pyro_disk::{Count, Tree};
use pyro_namespace::overlay;

use super::MOST;
use super::merge_folder::MergeFolder;
use crate::engine::Engine;
use crate::error::{broke, host_io};
use crate::machine::create::Base;
use crate::machine::shim_client::{self, ShimError};
use crate::machine::{disk, now};
use crate::random::random_hex;
use crate::store::{StoredSnapshot, StoredWorkspace};
use crate::workspace::at_rest::reader_gone;
use crate::workspace::connect::Whom;
use crate::workspace::create::copy_tree;
use crate::workspace::errors::{shim_unreachable, unknown};
use crate::workspace::files::{self, FilesError};
use crate::workspace::layers::{self, new_layer, new_name};

use pyro_api::values::WORKSPACE_PATH;
use pyro_wire::fault::FaultCode;
use tokio::time::sleep;

/// After this the guest writes again by itself, should this process be killed in between.
const FREEZE: Duration = Duration::from_secs(5);

/// The same where what is kept is copied meanwhile. It is told again and again to stand still.
const FREEZE_COPY: Duration = Duration::from_secs(10);
const STILL: Duration = Duration::from_secs(1);

/// Who changes the files of a running sandbox: first those that do it from outside, whose changes are
/// whole when they stand still.
const WRITERS: [Whom; 2] = [Whom::Files, Whom::Agent];

const DOING: &str = "save its state";

/// A snapshot that was made.
pub(crate) struct Made {
    pub(crate) stored: StoredWorkspace,
    pub(crate) snapshot: StoredSnapshot,
    /// Whether the VM had to be started.
    pub(crate) started: bool,
}

/// A state that nobody writes to any more.
pub(crate) struct Frozen {
    pub(crate) layers: Vec<String>,
    tree: Option<String>,
}

impl Engine {
    pub(crate) async fn create_snapshot(
        &self,
        reference: &str,
        name: &str,
        caller: &Caller,
    ) -> Result<Made, Error> {
        let found = self.find_workspace(reference)?;
        // Before a VM is started for nothing.
        check_snapshot_name(&found, name)?;
        self.redactor(&found)?.check_name("snapshot's name", name)?;
        let id = found.record.workspace_id;
        let folder = self.workspace_folder(&id);
        let (_held, mut stored) = self.lock_settled(&id).await?;
        check_snapshot_name(&stored, name)?;
        let what = format!("The state of workspace `{id}` could not be saved");
        let is_running = stored.record.state == VmState::Started;
        // Folders need no guest to be kept.
        let started = !is_running && !stored.is_on_folders();
        if started {
            stored = self.wake_workspace(&stored, caller).await?;
        }
        // What the disk goes on in, if that is not what it is in.
        let mut goes_on = None;
        let base = self.workspace_base(&stored)?;
        let frozen = match &base {
            Base::Image(_) => self.freeze_running(&stored, &base, &what).await?,
            Base::Tree(_) if is_running => Frozen {
                layers: self.copy_top(&stored, &base, &what, caller).await?,
                tree: None,
            },
            Base::Tree(_) => {
                let (frozen, layer) = self.freeze_stopped(&stored, &base, &what)?;
                goes_on = layer;
                frozen
            }
            Base::HostProcess => {
                let tree = random_hex(6).map_err(|error| host_io(&what, &error))?;
                std::fs::create_dir_all(folder.trees()).map_err(|error| host_io(&what, &error))?;
                let line = self.reconnect(&stored, DOING).await?;
                files::freeze(line, FREEZE)
                    .await
                    .map_err(|error| self.files_failed(&stored, &what, DOING, error))?;
                copy_tree(&folder.tree(), &folder.trees().join(&tree)).await?;
                Frozen {
                    layers: Vec::new(),
                    tree: Some(tree),
                }
            }
        };
        let count = self.count_frozen(&stored, &frozen, &what).await?;
        let snapshot = StoredSnapshot {
            name: name.to_owned(),
            created_at: now(),
            entry_count: count.entries,
            bytes_written: count.bytes,
            layers: frozen.layers,
            tree: frozen.tree,
        };
        let kept = snapshot.clone();
        let stored = self
            .store()?
            .change_workspace(&id, |stored| {
                stored.snapshots.push(kept);
                stored.layers.extend(goes_on);
                stored.record.last_activity_at = now();
            })?
            .ok_or_else(|| unknown(&id))?;
        self.note_event(&id, "snapshot_created", format!("`{name}`"))?;
        self.store()?.sync()?;
        Ok(Made {
            stored,
            snapshot,
            started,
        })
    }

    /// What the disk of a running VM holds now, which the guest goes on above. The lock is held exclusively.
    pub(crate) async fn freeze_running(
        &self,
        stored: &StoredWorkspace,
        base: &Base,
        what: &str,
    ) -> Result<Frozen, Error> {
        let folder = self.workspace_folder(&stored.record.workspace_id);
        let layers = stored.layers.clone();
        if let Some(layer) = new_layer(&folder, base).map_err(|error| host_io(what, &error))? {
            self.push_layer(stored, layer, what).await?;
        }
        Ok(Frozen { layers, tree: None })
    }

    /// The same of a disk that nobody uses, with the layer for what is written from now on. No record has that
    /// yet. The lock is held exclusively.
    pub(crate) fn freeze_stopped(
        &self,
        stored: &StoredWorkspace,
        base: &Base,
        what: &str,
    ) -> Result<(Frozen, Option<String>), Error> {
        let folder = self.workspace_folder(&stored.record.workspace_id);
        let failed = |error: std::io::Error| host_io(what, &error);
        let goes_on = new_layer(&folder, base).map_err(failed)?;
        if let Some(layer) = &goes_on {
            pyro_disk::layers::sync(&folder.layer(layer)).map_err(failed)?;
        }
        let layers = stored.layers.clone();
        Ok((Frozen { layers, tree: None }, goes_on))
    }

    /// Freezes the disk of a running VM where it is, and lets the guest go on in a new layer.
    async fn push_layer(
        &self,
        stored: &StoredWorkspace,
        layer: String,
        what: &str,
    ) -> Result<(), Error> {
        let id = &stored.record.workspace_id;
        let folder = self.workspace_folder(id);
        let path = folder.layer(&layer);
        // It is there for good before anybody writes to it.
        pyro_disk::layers::sync(&path).map_err(|error| host_io(what, &error))?;
        let store = self.store()?;
        store
            .change_workspace(id, |stored| stored.layers.push(layer.clone()))?
            .ok_or_else(|| unknown(id))?;
        store.sync()?;
        let added = match self.reconnect(stored, DOING).await {
            Err(error) => Err(Added::NotAdded(error)),
            Ok(line) => match files::freeze(line, FREEZE).await {
                Err(error) => Err(Added::NotAdded(
                    self.files_failed(stored, what, DOING, error),
                )),
                Ok(()) => {
                    let added =
                        shim_client::add_layer(&self.vm_of(stored), disk::layer(&path)).await;
                    if let Ok(line) = self.reconnect(stored, DOING).await {
                        // Else its deadline thaws it.
                        let _ = files::thaw(line).await;
                    }
                    added.map_err(|error| Added::of(error, id))
                }
            },
        };
        match added {
            Ok(()) => Ok(()),
            Err(Added::NotAdded(error)) => {
                store
                    .change_workspace(id, |stored| stored.layers.retain(|known| *known != layer))?;
                let _ = std::fs::remove_file(path);
                Err(error)
            }
            // It may hold what the guest writes now.
            Err(Added::Unknown(error)) => Err(error),
        }
    }

    /// Copies what a running sandbox has changed, while it stands still, into a layer of its own, and
    /// returns the layers of that state. The sandbox goes on in the layer that it has.
    pub(crate) async fn copy_top(
        &self,
        stored: &StoredWorkspace,
        base: &Base,
        what: &str,
        caller: &Caller,
    ) -> Result<Vec<String>, Error> {
        let folder = self.workspace_folder(&stored.record.workspace_id);
        let failed = |error: std::io::Error| host_io(what, &error);
        let mut layers = stored.layers.clone();
        let Some(top) = layers.pop() else {
            return Ok(Vec::new());
        };
        let name = new_name(stored.is_on_folders()).map_err(failed)?;
        let bench = MergeFolder::new(&folder, name).map_err(failed)?;
        layers::make(&bench.path(), base).map_err(failed)?;
        for whom in WRITERS {
            let line = self.line_to(whom, stored, DOING).await?;
            files::freeze(line, FREEZE_COPY)
                .await
                .map_err(|error| self.files_failed(stored, what, DOING, error))?;
        }
        let (from, to) = (folder.layer(&top), bench.path());
        let (from, to) = (overlay::upper(&from), overlay::upper(&to));
        let copied = tokio::select! {
            copied = self.copy_layer(&from, &to, caller) => copied.map(drop),
            failed = self.hold_still(stored, what) => failed,
        };
        let copied = match copied {
            // That it stood still to the end.
            Ok(()) => self.stay_frozen(stored, what).await,
            failed => failed,
        };
        for whom in WRITERS {
            if let Ok(line) = self.line_to(whom, stored, DOING).await {
                // Else its deadline thaws it.
                let _ = files::thaw(line).await;
            }
        }
        copied?;
        layers.push(bench.hand_over(&folder).map_err(failed)?);
        Ok(layers)
    }

    /// Has a guest stand still for as long as this is polled, or says why it does not.
    async fn hold_still(&self, stored: &StoredWorkspace, what: &str) -> Result<(), Error> {
        loop {
            sleep(STILL).await;
            self.stay_frozen(stored, what).await?;
        }
    }

    async fn stay_frozen(&self, stored: &StoredWorkspace, what: &str) -> Result<(), Error> {
        for whom in WRITERS {
            let line = self.line_to(whom, stored, DOING).await?;
            files::stay_frozen(line, FREEZE_COPY)
                .await
                .map_err(|error| match error {
                    FilesError::Refused { fault } if fault.code == FaultCode::Refused => {
                        Error::new(ErrorCode::HostIo, what)
                            .because(fault.message)
                            .hint("Nothing was changed. Try again when this host is less busy")
                    }
                    error => self.files_failed(stored, what, DOING, error),
                })?;
        }
        Ok(())
    }

    async fn count_frozen(
        &self,
        stored: &StoredWorkspace,
        frozen: &Frozen,
        what: &str,
    ) -> Result<Count, Error> {
        let folder = self.workspace_folder(&stored.record.workspace_id);
        let layers = frozen.layers.iter().map(|name| folder.layer(name));
        let disk = match &frozen.tree {
            Some(_) => None,
            None => self.disk_at_rest(&self.workspace_base(stored)?, layers)?,
        };
        let tree = folder
            .trees()
            .join(frozen.tree.as_deref().unwrap_or_default());
        let below = WORKSPACE_PATH.trim_start_matches('/').as_bytes();
        let count = move || match disk {
            Some(disk) => disk.open("")?.count(below),
            None => Tree::folder(&tree.join(disk::HOST_WORKSPACE))?.count(b""),
        };
        tokio::task::spawn_blocking(count)
            .await
            .map_err(|error| broke(&error))?
            .map_err(|error| {
                reader_gone(what, &error).unwrap_or_else(|| {
                    Error::new(ErrorCode::Damaged, what)
                        .because("its disk does not hold a file system that could be restored")
                        .caused_by(&error)
                        .hint(
                            "Nothing was changed. `pyro workspace export` (`workspace_export`) can \
                         still copy files out",
                        )
                })
            })
    }
}

/// Why a layer was not added.
enum Added {
    /// It is not in use, and never will be.
    NotAdded(Error),
    /// Nobody can say whether it is in use.
    Unknown(Error),
}

impl Added {
    fn of(error: ShimError, id: &str) -> Self {
        let told = shim_unreachable(id, DOING, &error);
        match error {
            ShimError::Failed { fault } if fault.code != FaultCode::GuestDied => {
                let told = match fault.code {
                    FaultCode::NoSpace => Error::new(
                        ErrorCode::NoSpace,
                        format!("The state of workspace `{id}` could not be saved"),
                    )
                    .because(fault.message)
                    .hint("Free space on this host; nothing was changed"),
                    _ => told,
                };
                Self::NotAdded(told)
            }
            _ => Self::Unknown(told),
        }
    }
}

fn check_snapshot_name(stored: &StoredWorkspace, name: &str) -> Result<(), Error> {
    let id = &stored.record.workspace_id;
    if stored.snapshot(name).is_some() {
        return Err(Error::new(
            ErrorCode::Conflict,
            format!("Workspace `{id}` already has a snapshot `{name}`"),
        )
        .hint("Give another name, or delete that one first"));
    }
    if stored.snapshots.len() >= MOST {
        return Err(Error::new(
            ErrorCode::Conflict,
            format!("Workspace `{id}` has {MOST} snapshots, which is the limit"),
        )
        .hint(
            "Delete one that is not needed with `pyro workspace snapshot delete` \
             (`snapshot_delete`)",
        ));
    }
    Ok(())
}
