//! The guest's root disk: a chain of layers, of which the last is written to.
//!
//! Never makes a layer and never removes one. What lies below the top is opened for reading only,
//! so that a layer can be shared by many VMs.
//!
//! QEMU opens none of them: it is in a jail, and gets descriptors. Those of a layer are a *set*, of which it
//! takes the one that is good for what it wants to do.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::launch::{DiskFormat, DiskLayer};
use serde_json::{Value, json};

use super::host_file::usable;
use super::qmp::{Qmp, QmpError};
use crate::backend::Merging;

/// The node that the guest's disk sits on at the start.
pub(super) const FIRST_NODE: &str = "disk";

/// The one job of the block layer that there is at a time.
const MERGE: &str = "merge";

/// How a qcow2 image begins, up to its size.
const QCOW2_MAGIC: &[u8] = b"QFI\xfb";
const QCOW2_SIZE_AT: usize = 24;

#[derive(Debug, thiserror::Error)]
pub(super) enum LayerError {
    #[error("{source}")]
    Unusable { source: Fault },
    #[error("the disk layer {layer} cannot be read: {source}")]
    Read { layer: String, source: io::Error },
    #[error("{layer} is not a qcow2 image, and only those can have a backing file")]
    Format { layer: String },
    #[error("the disk layer {layer} has {found} bytes, the disk has {wanted}")]
    Size {
        layer: String,
        found: u64,
        wanted: u64,
    },
    #[error("{layer} is a layer of the disk already")]
    Twice { layer: String },
    #[error("the VM has no disk")]
    NoDisk,
    #[error("the disk layer was not added: {source}")]
    Monitor { source: QmpError },
    #[error("{layer} is not a layer of the disk between its bottom and its top")]
    NotBetween { layer: String },
    #[error("a layer is already being removed from the disk")]
    Merging,
    #[error("the disk layer cannot be removed: {source}")]
    Merge { source: QmpError },
}

impl From<LayerError> for Fault {
    fn from(error: LayerError) -> Self {
        let code = match &error {
            LayerError::Unusable { source } => source.code,
            LayerError::Read { source, .. } => FaultCode::of_io(source),
            LayerError::Format { .. }
            | LayerError::Size { .. }
            | LayerError::Twice { .. }
            | LayerError::NoDisk
            | LayerError::NotBetween { .. }
            | LayerError::Merging => FaultCode::Refused,
            LayerError::Merge { .. } => FaultCode::VmmFailed,
            LayerError::Monitor {
                source: QmpError::Refused { reason, .. },
            } if reason.contains("No space left on device") => FaultCode::NoSpace,
            LayerError::Monitor {
                source: QmpError::Refused { .. },
            } => FaultCode::VmmFailed,
            // What QEMU made of it before it went, nobody can say.
            LayerError::Monitor { .. } => FaultCode::GuestDied,
        };
        Self::new(code, error.to_string())
    }
}

/// What QEMU has for a disk, or will have.
#[derive(Clone)]
pub(super) struct Disk {
    /// Bottom first; none for a guest that never looks at a disk.
    layers: Vec<DiskLayer>,
    /// The disk is thrown away at the end.
    disposable: bool,
    /// The node of each layer, in the same order.
    nodes: Vec<String>,
    /// The set of descriptors of each, in the same order.
    sets: Vec<u32>,
    merging: Option<Merging>,
    /// How many layers QEMU was asked to open since its start: their nodes are named by it.
    added_count: u32,
}

impl Disk {
    pub(super) fn new(layers: Vec<DiskLayer>, disposable: bool) -> Self {
        let below = layers.len().saturating_sub(1);
        let mut nodes: Vec<String> = (0..below)
            .map(|number| format!("{FIRST_NODE}-below-{number}"))
            .collect();
        nodes.push(FIRST_NODE.into());
        let sets = (0..).take(layers.len()).collect();
        Self {
            layers,
            disposable,
            nodes,
            sets,
            merging: None,
            added_count: 0,
        }
    }

    pub(super) fn layers(&self) -> &[DiskLayer] {
        &self.layers
    }

    pub(super) fn is_disposable(&self) -> bool {
        self.disposable
    }

    /// How much the guest may write to it, in bytes, as far as that can be told.
    pub(super) fn bytes(&self) -> u64 {
        let top = self.layers.last();
        top.and_then(|top| size(top).ok()).unwrap_or(0)
    }

    /// Opens all layers for a QEMU that is about to start, the top one for writing as well.
    pub(super) fn open(&self) -> io::Result<Vec<SetFile>> {
        let mut files = Vec::new();
        for (layer, set) in self.layers.iter().zip(&self.sets) {
            files.push(SetFile::open(*set, layer, false)?);
        }
        if let (Some(top), Some(set)) = (self.layers.last(), self.sets.last()) {
            files.push(SetFile::open(*set, top, true)?);
        }
        Ok(files)
    }

    /// The disk as one JSON tree. Every layer is named here and none is looked up in the header of
    /// the layer above it, which a guest's owner may have forged.
    pub(super) fn chain(&self) -> Option<Value> {
        let (top, below) = self.layers.split_last()?;
        let mut backing = Value::Null;
        for ((layer, node), set) in below.iter().zip(&self.nodes).zip(&self.sets) {
            backing = self.lower(layer, *set, node, backing);
        }
        Some(self.upper(top, *self.sets.last()?, self.top(), backing))
    }

    /// Puts an empty layer on top while the guest runs. A refusal leaves everything as it was.
    ///
    /// Not to be dropped: what QEMU has done by then would be forgotten here.
    pub(super) async fn add(&mut self, layer: &DiskLayer, qmp: &mut Qmp) -> Result<(), LayerError> {
        self.check_new_layer(layer)?;
        self.added_count += 1;
        let node = format!("{FIRST_NODE}-{}", self.added_count);
        let monitor = |source| LayerError::Monitor { source };
        let set = self.sets.iter().max().map_or(0, |last| last + 1);
        // Without a disk below: QEMU puts the present one there itself.
        let opened = async {
            for writable in [false, true] {
                hand_over(layer, set, writable, qmp).await?;
            }
            let node = self.upper(layer, set, &node, Value::Null);
            qmp.ask("blockdev-add", node).await.map_err(monitor)
        };
        if let Err(refused) = opened.await {
            let _ = qmp.ask("remove-fd", json!({ "fdset-id": set })).await;
            return Err(refused);
        }
        // Waits for what the guest is writing, flushes it, and opens the old top read-only.
        let both = json!({ "node": self.top(), "overlay": node });
        if let Err(refused) = qmp.ask("blockdev-snapshot", both).await {
            // Closes the layer's file; without an answer QEMU is ending, and closes it too.
            let _ = qmp.ask("blockdev-del", json!({ "node-name": node })).await;
            let _ = qmp.ask("remove-fd", json!({ "fdset-id": set })).await;
            return Err(monitor(refused));
        }
        self.sets.push(set);
        self.nodes.push(node);
        self.layers.push(layer.clone());
        Ok(())
    }

    /// Begins to copy what a layer holds into the one above it, which may be the one that the
    /// guest writes to. Whatever was copied already, the upper one shows the same as before, so
    /// that it does not matter where this is broken off.
    pub(super) async fn merge(&mut self, layer: &Path, qmp: &mut Qmp) -> Result<(), LayerError> {
        if let Some(Merging::UnderWay(_)) = self.merging {
            return Err(LayerError::Merging);
        }
        let at = self.layers.iter().position(|known| known.path == layer);
        let (above, below) = match at {
            Some(at @ 1..) => (self.nodes.get(at + 1), self.nodes.get(at - 1)),
            _ => (None, None),
        };
        let (Some(at), Some(above), Some(below)) = (at, above, below) else {
            let layer = layer.display().to_string();
            return Err(LayerError::NotBetween { layer });
        };
        // The top one can be written to as it is.
        let lower_than_top = self
            .layers
            .get(at + 1)
            .filter(|_| at + 2 < self.layers.len());
        if let (Some(layer), Some(set)) = (lower_than_top, self.sets.get(at + 1)) {
            hand_over(layer, *set, true, qmp).await?;
        }
        let stream = json!({
            "job-id": MERGE,
            "device": above,
            "base-node": below,
            // Names in headers are for nobody here, and paths of the host are nothing for a file
            // that may be copied elsewhere.
            "backing-file": "",
        });
        qmp.ask("block-stream", stream)
            .await
            .map_err(|source| LayerError::Merge { source })?;
        self.merging = Some(Merging::UnderWay(layer.to_owned()));
        Ok(())
    }

    /// Hears that a job is over. The node and the set of the layer that is out of the disk, if one is.
    pub(super) fn merged(&mut self, job: &str, error: Option<String>) -> Option<(String, u32)> {
        let Some(Merging::UnderWay(layer)) = &self.merging else {
            return None;
        };
        if job != MERGE {
            return None;
        }
        let at = self.layers.iter().position(|known| known.path == *layer);
        self.merging = error.map(Merging::Failed);
        match (at, &self.merging) {
            (Some(at), None) => {
                self.layers.remove(at);
                Some((self.nodes.remove(at), self.sets.remove(at)))
            }
            _ => None,
        }
    }

    pub(super) fn merging(&self) -> Option<&Merging> {
        self.merging.as_ref()
    }

    /// The node of the top layer.
    fn top(&self) -> &str {
        self.nodes.last().map_or(FIRST_NODE, String::as_str)
    }

    /// What QEMU would not mind, or says in words for experts. One file twice it would spoil: it opens
    /// descriptors without locks.
    fn check_new_layer(&self, layer: &DiskLayer) -> Result<(), LayerError> {
        let top = self.layers.last().ok_or(LayerError::NoDisk)?;
        usable(
            &layer.path,
            "the disk layer",
            OpenOptions::new().read(true).write(true),
        )
        .map_err(|failure| LayerError::Unusable {
            source: failure.fault,
        })?;
        if layer.format != DiskFormat::Qcow2 {
            let layer = layer.path.display().to_string();
            return Err(LayerError::Format { layer });
        }
        let file = file_of(&layer.path);
        if self.layers.iter().any(|known| file_of(&known.path) == file) {
            let layer = layer.path.display().to_string();
            return Err(LayerError::Twice { layer });
        }
        let (found, wanted) = (size(layer)?, size(top)?);
        if found != wanted {
            return Err(LayerError::Size {
                layer: layer.path.display().to_string(),
                found,
                wanted,
            });
        }
        Ok(())
    }

    fn upper(&self, layer: &DiskLayer, set: u32, name: &str, backing: Value) -> Value {
        let mut node = self.lower(layer, set, name, backing);
        node["read-only"] = false.into();
        // Deleted files give their space back, and zeroes take none.
        node["discard"] = "unmap".into();
        node["detect-zeroes"] = "unmap".into();
        node
    }

    fn lower(&self, layer: &DiskLayer, set: u32, name: &str, backing: Value) -> Value {
        let file = json!({
            "driver": "file",
            "filename": format!("/dev/fdset/{set}"),
            // A lock belongs to a descriptor, and those of a set stay when QEMU closes its own. That no
            // two VMs have a disk is seen to by the locks of pyro.
            "locking": "off",
            // The kernel's faster interfaces are missing on some hosts and forbidden on others.
            "aio": "threads",
            "cache": self.cache(),
            "discard": "unmap",
        });
        let mut node = json!({
            "driver": match layer.format {
                // A folder is no image, which QEMU says when it opens it.
                DiskFormat::Raw | DiskFormat::Folder => "raw",
                DiskFormat::Qcow2 => "qcow2",
            },
            "node-name": name,
            "file": file,
            "read-only": true,
            "cache": self.cache(),
        });
        if layer.format == DiskFormat::Qcow2 {
            node["backing"] = backing;
        }
        node
    }

    /// A flush of the guest reaches the host's disk, except where the disk will be thrown away:
    /// there a crash of the host loses nothing that anybody would look for, and programs such as
    /// dpkg and git flush after every file. Either way QEMU hands its tables to the host's kernel
    /// on a flush, so killing QEMU after one loses nothing.
    fn cache(&self) -> Value {
        json!({ "direct": false, "no-flush": self.disposable })
    }
}

/// What file a name means, by whatever link.
fn file_of(path: &Path) -> Option<(u64, u64)> {
    let about = fs::metadata(path).ok()?;
    Some((about.dev(), about.ino()))
}

/// An open layer, and the set that it is to be in.
pub(super) struct SetFile {
    pub(super) set: u32,
    pub(super) file: OwnedFd,
}

impl SetFile {
    fn open(set: u32, layer: &DiskLayer, writable: bool) -> io::Result<Self> {
        let opened = OpenOptions::new()
            .read(true)
            .write(writable)
            .open(&layer.path)?;
        Ok(Self {
            set,
            file: opened.into(),
        })
    }
}

/// Puts a descriptor of a layer into a set of a QEMU that runs.
async fn hand_over(
    layer: &DiskLayer,
    set: u32,
    writable: bool,
    qmp: &mut Qmp,
) -> Result<(), LayerError> {
    let opened = SetFile::open(set, layer, writable).map_err(|source| LayerError::Read {
        layer: layer.path.display().to_string(),
        source,
    })?;
    qmp.ask_with(
        "add-fd",
        json!({ "fdset-id": set }),
        Some(opened.file.as_fd()),
    )
    .await
    .map(drop)
    .map_err(|source| LayerError::Monitor { source })
}

/// How large the disk is that a layer shows, in bytes.
fn size(layer: &DiskLayer) -> Result<u64, LayerError> {
    let found = match layer.format {
        DiskFormat::Raw => fs::metadata(&layer.path).map(|file| Some(file.len())),
        DiskFormat::Qcow2 => qcow2_size(&layer.path),
        DiskFormat::Folder => Ok(None),
    };
    let name = || layer.path.display().to_string();
    match found {
        Ok(Some(size)) => Ok(size),
        Ok(None) => Err(LayerError::Format { layer: name() }),
        Err(source) => Err(LayerError::Read {
            layer: name(),
            source,
        }),
    }
}

/// None for what is no qcow2 image.
fn qcow2_size(path: &Path) -> io::Result<Option<u64>> {
    let mut header = Vec::new();
    let length = QCOW2_SIZE_AT + size_of::<u64>();
    File::open(path)?
        .take(length as u64)
        .read_to_end(&mut header)?;
    let size = header.strip_prefix(QCOW2_MAGIC).and_then(|_| {
        let size = header.get(QCOW2_SIZE_AT..length)?;
        Some(u64::from_be_bytes(size.try_into().ok()?))
    });
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(path: &str, format: DiskFormat) -> DiskLayer {
        DiskLayer {
            path: path.into(),
            format,
        }
    }

    #[test]
    fn a_chain_names_every_layer_and_ends() {
        let layers = vec![
            layer("/base, with comma", DiskFormat::Raw),
            layer("/seed", DiskFormat::Qcow2),
            layer("/work", DiskFormat::Qcow2),
        ];
        let top = Disk::new(layers, true).chain().unwrap();
        assert_eq!(top["file"]["filename"], "/dev/fdset/2");
        assert_eq!(top["read-only"], false);
        assert_eq!(top["backing"]["file"]["filename"], "/dev/fdset/1");
        assert_eq!(top["backing"]["read-only"], true);
        let base = &top["backing"]["backing"];
        assert_eq!(base["file"]["filename"], "/dev/fdset/0");
        assert_eq!(
            (&base["driver"], base.get("backing")),
            (&json!("raw"), None)
        );
    }

    #[test]
    fn a_lone_layer_trusts_no_header() {
        let disk = Disk::new(vec![layer("/disk", DiskFormat::Qcow2)], false);
        let top = disk.chain().unwrap();
        assert_eq!(top["backing"], Value::Null);
        assert_eq!(top["cache"]["no-flush"], false);
        assert!(Disk::new(Vec::new(), false).chain().is_none());
    }

    #[test]
    fn the_size_is_read_from_a_header_and_from_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layer");
        let mut header = vec![0; 104];
        header[..4].copy_from_slice(QCOW2_MAGIC);
        header[24..32].copy_from_slice(&(3u64 << 30).to_be_bytes());
        fs::write(&path, &header).unwrap();
        assert_eq!(qcow2_size(&path).unwrap(), Some(3 << 30));
        for no_image in [&header[..31], b"", &header[1..]] {
            fs::write(&path, no_image).unwrap();
            assert_eq!(qcow2_size(&path).unwrap(), None);
        }
    }
}
