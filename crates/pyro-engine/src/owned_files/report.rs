//! What a process inside tells, a line of JSON at a time.

use pyro_oci::apply::Applied;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// How far it is, between 0 and 1, where that is known.
    Progress(Option<f32>),
    Unpacked(Unpacked),
    Applied(Applied),
    Copied(Copied),
    Imaged {
        size: u64,
    },
    /// From here on it answers what is asked, in other words than these.
    Ready,
    Failed(Failure),
}

/// What became of an image.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Unpacked {
    /// How much of the disk it takes.
    pub(crate) allocated: u64,
    entries: u64,
    /// What of the image is not in the tree.
    devices_left_out: u64,
    attributes_left_out: u64,
}

/// What became of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Copied {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) devices_left_out: u64,
    pub(crate) attributes_left_out: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    /// What the host said; without it, what was to be read is at fault.
    pub(super) errno: Option<i32>,
    pub(super) causes: Vec<String>,
}

impl From<pyro_disk::Unpacked> for Unpacked {
    fn from(unpacked: pyro_disk::Unpacked) -> Self {
        Self {
            allocated: unpacked.allocated,
            entries: unpacked.entries,
            devices_left_out: unpacked.devices,
            attributes_left_out: unpacked.attributes,
        }
    }
}

impl From<pyro_disk::Copied> for Copied {
    fn from(copied: pyro_disk::Copied) -> Self {
        Self {
            entries: copied.entries,
            bytes: copied.bytes,
            devices_left_out: copied.devices,
            attributes_left_out: copied.attributes,
        }
    }
}
