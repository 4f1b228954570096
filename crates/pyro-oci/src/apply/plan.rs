//! What is to be applied. It goes from the process that found the layers, and may read them, to one that may
//! make files of all owners: with their descriptors, by number.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Image;
use crate::blob::Blob;

#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    pub(super) layers: Vec<Stored>,
    pub(super) limits: Limits,
    /// Where the image's programs start, which need not be in any layer.
    pub(super) working_dir: Option<String>,
}

/// Where a layer lies, and what it must be.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) descriptor: RawFd,
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) digest: Option<String>,
    pub(super) diff_id: String,
}

/// More than this is refused.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Of all layers as archives, not compressed.
    pub bytes: u64,
    /// Members of them.
    pub entries: u64,
}

/// The descriptors that a plan is about; it makes sense for as long as they are open.
#[derive(Debug)]
pub struct Descriptors(Vec<OwnedFd>);

impl Descriptors {
    pub fn into_inner(self) -> Vec<OwnedFd> {
        self.0
    }
}

impl Plan {
    /// For a process that gets these descriptors under the numbers that they have here.
    pub fn of(image: &Image, limits: Limits) -> std::io::Result<(Self, Descriptors)> {
        let mut open: Vec<(Arc<File>, OwnedFd)> = Vec::new();
        let mut layers = Vec::new();
        for layer in &image.layers {
            let known = open
                .iter()
                .find(|(file, _)| Arc::ptr_eq(file, &layer.blob.file));
            let descriptor = match known {
                Some((_, fd)) => fd.as_raw_fd(),
                None => {
                    let fd = layer.blob.as_fd().try_clone_to_owned()?;
                    let number = fd.as_raw_fd();
                    open.push((Arc::clone(&layer.blob.file), fd));
                    number
                }
            };
            layers.push(Stored {
                descriptor,
                offset: layer.blob.offset,
                size: layer.blob.size,
                digest: layer.digest.as_ref().map(ToString::to_string),
                diff_id: layer.diff_id.to_string(),
            });
        }
        let descriptors = open.into_iter().map(|(_, fd)| fd).collect();
        let plan = Self {
            layers,
            limits,
            working_dir: image.config.working_dir.clone(),
        };
        Ok((plan, Descriptors(descriptors)))
    }
}

impl Stored {
    /// Its bytes.
    pub(super) fn blob(&self) -> std::io::Result<Blob> {
        // SAFETY: whoever made the plan keeps the descriptor open for as long as it is carried out. One that
        // is not open makes the copy fail.
        let fd = unsafe { BorrowedFd::borrow_raw(self.descriptor) };
        Ok(Blob {
            file: Arc::new(File::from(fd.try_clone_to_owned()?)),
            offset: self.offset,
            size: self.size,
        })
    }
}
