//! Disk layers themselves, whatever file system is on them: what a chain of them shows at each
//! place, one image made of all of them, and one layer made of two.
//!
//! Layers are only read, except for one that is new. All of it blocks.

mod check;
mod failure;
mod flatten;
mod merge;
#[cfg(test)]
mod tests;
mod watch;

use std::io;
use std::path::PathBuf;

use imago::{ShallowMapping, Storage};
use pyro_wire::launch::DiskLayer;

use super::tree::{Layer, open_layer};

pub(crate) use check::check;
pub(crate) use failure::layers_failed;
pub(crate) use flatten::flatten;
pub(crate) use merge::merge;
pub(crate) use watch::Watch;

/// What is written to at once in a layer; a file need not hold all of its last one.
const CLUSTER: u64 = 64 * 1024;

/// How much is copied at once.
const PIECE: usize = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum LayersError {
    #[error("the disk layer `{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the disk layer `{}` is damaged", path.display())]
    Damaged { path: PathBuf },
    #[error("the caller went away")]
    Cancelled,
}

/// Layers, bottom first, each opened alone.
struct Stack(Vec<(PathBuf, Layer)>);

/// What a stack has from some place on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// The layer of this number holds it.
    Data(usize),
    /// It was made zero.
    Zeros,
    /// No layer says anything.
    Nothing,
}

impl Stack {
    fn open(layers: &[DiskLayer]) -> Result<Self, LayersError> {
        let opened = layers.iter().map(|layer| {
            let path = layer.path.clone();
            match open_layer(layer, None) {
                Ok(opened) => Ok((path, opened)),
                Err(source) => Err(LayersError::Read { path, source }),
            }
        });
        let opened = opened.collect::<Result<Vec<_>, _>>()?;
        // All are of one disk: what says something else of its size is damaged.
        let size = opened.first().map_or(0, |(_, layer)| layer.size());
        match opened.iter().find(|(_, layer)| layer.size() != size) {
            Some((path, _)) => Err(LayersError::Damaged { path: path.clone() }),
            None => Ok(Self(opened)),
        }
    }

    /// How large the disk is.
    fn size(&self) -> u64 {
        self.0.last().map_or(0, |(_, layer)| layer.size())
    }

    /// What there is from an offset on, and for how many bytes, at least one and at most `length`.
    fn look(&self, offset: u64, mut length: u64) -> Result<(Found, u64), LayersError> {
        for (number, (path, layer)) in self.0.iter().enumerate().rev() {
            let (mapping, extent) =
                layer
                    .get_shallow_mapping(offset, length)
                    .map_err(|source| LayersError::Read {
                        path: path.clone(),
                        source,
                    })?;
            if let ShallowMapping::Eof { .. } = mapping {
                // An image below that is shorter shows nothing there.
                continue;
            }
            length = length.min(extent);
            if length == 0 {
                return Err(LayersError::Damaged { path: path.clone() });
            }
            match mapping {
                // What lies behind the end of a file that was cut off would read as zeros.
                ShallowMapping::Raw {
                    storage,
                    offset: place,
                    ..
                } if storage.size().is_ok_and(|size| {
                    place.saturating_add(length) >= size.saturating_add(CLUSTER)
                }) =>
                {
                    return Err(LayersError::Damaged { path: path.clone() });
                }
                ShallowMapping::Raw { .. } | ShallowMapping::Special { .. } => {
                    return Ok((Found::Data(number), length));
                }
                ShallowMapping::Zero { explicit: true, .. } => return Ok((Found::Zeros, length)),
                _ => {}
            }
        }
        Ok((Found::Nothing, length))
    }

    fn read(&self, number: usize, offset: u64, buffer: &mut [u8]) -> Result<(), LayersError> {
        // `number` came from `look`.
        let Some((path, layer)) = self.0.get(number) else {
            return Ok(());
        };
        layer
            .read(buffer, offset)
            .map_err(|source| LayersError::Read {
                path: path.clone(),
                source,
            })
    }
}
