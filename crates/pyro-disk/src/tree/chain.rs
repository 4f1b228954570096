//! A chain of disk layers as one range of bytes.

use std::io;

use crate::error::TreeError;
use crate::ext4::ReadAt;
use crate::layers::{Layer, OpenLayer, open};

pub(crate) struct Chain(OpenLayer);

impl Chain {
    pub(crate) fn open(layers: &[Layer]) -> Result<Self, TreeError> {
        let mut top: Option<OpenLayer> = None;
        for layer in layers {
            let opened = open(layer, top.take()).map_err(|source| TreeError::Layer {
                path: layer.path.clone(),
                source,
            })?;
            top = Some(opened);
        }
        top.map(Self).ok_or(TreeError::Damaged {
            what: "there is no layer",
        })
    }
}

impl ReadAt for Chain {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read(buffer, offset)
    }
}
