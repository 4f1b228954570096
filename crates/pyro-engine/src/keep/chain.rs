//! The disk of a VM: its files as they are.

use std::path::PathBuf;

use pyro_api::{Caller, Error, ErrorCode};
use pyro_catalog::{Keeping, Part, Parts};
use pyro_disk::TreeError;
use pyro_disk::layers::{Layer, merge_all};

use super::{Held, is_running};
use crate::engine::Engine;
use crate::error::{broke, catalog_failed};
use crate::machine::create::{Base, Image};
use crate::machine::disk;
use crate::workspace::at_rest::{NotOpened, layers_failed, reader_gone};
use crate::workspace::progress::report_progress;
use crate::workspace::snapshots::Target;
use crate::workspace::snapshots::create::Frozen;

/// An environment with more layers than this gets one in their place. Each costs QEMU's start a millisecond and a
/// half, and every workspace that is kept again adds three.
const DEEP: usize = 24;

/// As many layers as a disk may have before it cannot be kept once more: QEMU was seen to bear them.
const MOST: usize = 200;

/// How often a guest is frozen for it.
const TRIES: u32 = 3;

impl Engine {
    /// What the chain of a VM's disk is made of, frozen.
    pub(super) async fn chain_parts(
        &self,
        held: &Held,
        image: &Image,
        target: Option<&Target>,
        keeping: &Keeping,
        caller: &Caller,
    ) -> Result<Parts, Error> {
        let layers = match target {
            Some(target) => target.layers(&held.stored),
            None => self.frozen_now(held, caller).await?.layers,
        };
        let folder = self.workspace_folder(&held.stored.record.workspace_id);
        let template = image.template.iter().map(|folder| disk::own_layer(folder));
        let own = layers.iter().map(|name| folder.layer(name));
        let mut above: Vec<Part> = template.chain(own).map(Part::at).collect();
        let mut parts = self.known_parts(image)?;
        let depth = parts.layers.len() + above.len();
        if depth > DEEP {
            let all = parts.layers.drain(..).chain(above.drain(..));
            let all: Vec<Layer> = all.map(|part| Layer::qcow2(&part.path)).collect();
            let to = keeping
                .folder()
                .map_err(catalog_failed)?
                .join("merged.qcow2");
            merged(all, to.clone(), held.what.clone(), caller).await?;
            parts.layers.push(Part::at(to));
        }
        parts.layers.append(&mut above);
        Ok(parts)
    }

    /// The environment that the workspace stands on, with its digests if it is still installed.
    fn known_parts(&self, image: &Image) -> Result<Parts, Error> {
        let installed = &image.installed;
        let now = self.catalog().installed(installed.spec);
        let known = match now {
            Ok(Some(now)) if now.rootfs_digest == installed.rootfs_digest => {
                self.catalog().parts(&now).map_err(catalog_failed)?
            }
            _ => Parts {
                rootfs: Part::at(&installed.rootfs),
                layers: installed.layers.iter().map(Part::at).collect(),
                kernel: installed.kernel.clone(),
                config: None,
                source: String::new(),
            },
        };
        // The workspace's own names stay, whatever becomes of the environment's.
        let layers = known.layers.into_iter().zip(&installed.layers);
        Ok(Parts {
            rootfs: Part {
                path: installed.rootfs.clone(),
                ..known.rootfs
            },
            layers: layers
                .map(|(known, path)| Part {
                    path: path.clone(),
                    ..known
                })
                .collect(),
            ..known
        })
    }

    /// The present state, which whoever uses the workspace goes on above.
    async fn frozen_now(&self, held: &Held, caller: &Caller) -> Result<Frozen, Error> {
        let mut stored = held.stored.clone();
        let what = &held.what;
        if stored.layers.len() > MOST {
            return Err(Error::new(ErrorCode::Conflict, what.as_str())
                .because(format!("its disk has {} layers", stored.layers.len()))
                .hint("Keep the state of a snapshot (`--snapshot`), or go on in a new workspace that is made \
                       from what was kept of this one"));
        }
        let base = self.workspace_base(&stored)?;
        if !is_running(&stored) {
            if self.is_clean(held, &base, &stored.layers).await? {
                let (frozen, layer) = self.freeze_stopped(&stored, &base, what)?;
                self.go_on_in(&stored, layer)?;
                return Ok(frozen);
            }
            // Its VM ended without unmounting. The next one puts that right.
            stored = self.wake_workspace(&stored, caller).await?;
        }
        for _ in 0..TRIES {
            let frozen = self.freeze_running(&stored, &base, what).await?;
            if self.is_clean(held, &base, &frozen.layers).await? {
                return Ok(frozen);
            }
            // The guest went on before it had another layer to write to.
            stored = self.reload_workspace(&stored.record.workspace_id)?;
        }
        Err(Error::new(ErrorCode::HostIo, what.as_str())
            .because("its guest went on each time before its disk was frozen")
            .hint("Try again when this host is less busy, or stop the workspace first"))
    }

    /// Whether a file system is on these layers that was left in order.
    async fn is_clean(&self, held: &Held, base: &Base, layers: &[String]) -> Result<bool, Error> {
        let folder = self.workspace_folder(&held.stored.record.workspace_id);
        let layers: Vec<PathBuf> = layers.iter().map(|name| folder.layer(name)).collect();
        let Some(disk) = self.disk_at_rest(base, layers)? else {
            return Ok(true);
        };
        let what = held.what.clone();
        tokio::task::spawn_blocking(move || {
            disk.check()
                .map_err(|error| layers_failed(what.clone(), &error))?;
            match disk.open("") {
                Ok(_) => Ok(true),
                Err(NotOpened::Tree(TreeError::NotClean)) => Ok(false),
                Err(NotOpened::Refused(error)) => Err(error),
                Err(NotOpened::Tree(error)) => {
                    Err(reader_gone(&what, &error).unwrap_or_else(|| {
                        Error::new(ErrorCode::Damaged, what)
                            .because(
                                "its disk does not hold a file system that others could start from",
                            )
                            .caused_by(&error)
                    }))
                }
            }
        })
        .await
        .map_err(|error| broke(&error))?
    }
}

/// Writes one layer that shows what all of these do.
async fn merged(
    layers: Vec<Layer>,
    to: PathBuf,
    what: String,
    caller: &Caller,
) -> Result<(), Error> {
    let (_cancel, mut progress) = report_progress(caller, "making one layer of many");
    tokio::task::spawn_blocking(move || {
        merge_all(&layers, &to, &mut progress).map_err(|error| layers_failed(what, &error))
    })
    .await
    .map_err(|error| broke(&error))?
}
