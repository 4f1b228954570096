//! What the first process of a sandbox is told: one word of its command line.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use pyro_namespace::overlay::{self, Layers};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::launch::{DiskLayer, Runs};
use serde::{Deserialize, Serialize};

use crate::backend::BootFailure;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// What this process becomes.
    pub(super) runs: Runs,
    pub(super) runsc: PathBuf,
    pub(super) agent: PathBuf,
    /// An empty folder, in which the sandbox's world is put together.
    pub(super) place: PathBuf,
    /// Without them the disk is empty and nowhere.
    pub(super) layers: Option<Layers>,
    /// A folder for what the guest changes, where no layer is for that.
    pub(super) changes: Option<PathBuf>,
    pub(super) hostname: String,
    /// How many processors the guest may use; more than there are means all.
    pub(super) processors: u32,
    /// How much memory the guest may have.
    pub(super) mem_mib: u32,
    /// What the first process writes to in order to be in its control group, where it has one.
    pub(super) control_group: Option<RawFd>,
    /// The socket that the guest's interface is handed out at, where it gets one.
    pub(super) link: Option<RawFd>,
    /// This runsc tells nonsense of the attributes of files.
    pub(super) hide_attributes: bool,
    /// The descriptor for what explains a failure.
    pub(super) log: RawFd,
}

impl Plan {
    /// A folder that the guest's changes lie in, where there are any.
    pub(super) fn written_to(&self) -> Option<&Path> {
        let top = self
            .layers
            .as_ref()
            .and_then(|layers| layers.top.as_deref());
        self.changes.as_deref().or(top)
    }
}

/// The disk of a launch file.
pub(super) fn layers(disk: &[DiskLayer], disposable: bool) -> Result<Layers, BootFailure> {
    let Some((tree, layers)) = disk.split_first() else {
        let words = "the disk of a sandbox needs a tree";
        return Err(BootFailure::lasting(Fault::new(FaultCode::Refused, words)));
    };
    let (top, between) = match layers.split_last() {
        Some((top, between)) => (Some(top), between),
        None => (None, layers),
    };
    let between = between.iter().map(|layer| layer.path.as_path());
    Ok(Layers {
        lower: overlay::shown(&tree.path, between),
        top: top.map(|top| top.path.clone()),
        disposable,
    })
}

#[cfg(test)]
mod tests {
    use pyro_wire::launch::DiskFormat;

    use super::*;

    #[test]
    fn layers_lie_on_one_another() {
        let disk: Vec<DiskLayer> = ["/tree", "/one", "/two", "/top"]
            .into_iter()
            .map(|path| DiskLayer {
                path: path.into(),
                format: DiskFormat::Folder,
            })
            .collect();
        let found = layers(&disk, false).unwrap();
        let lower = ["/two/upper", "/one/upper", "/tree"].map(PathBuf::from);
        assert_eq!(found.lower, lower);
        assert_eq!(found.top, Some(PathBuf::from("/top")));
        assert_eq!(
            layers(&disk[..2], true).unwrap().lower,
            [PathBuf::from("/tree")]
        );
        assert_eq!(layers(&disk[..1], true).unwrap().top, None);
        assert!(layers(&[], false).is_err());
    }
}
