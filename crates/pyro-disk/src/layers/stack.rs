//! What a chain of layers has at each place, layer by layer.

use std::ops::ControlFlow;
use std::path::PathBuf;

use imago::{ShallowMapping, Storage};

use super::error::LayerError;
use super::layer::{Layer, OpenLayer, open};

/// What is written to at once in a layer; a file need not hold all of its last one.
const CLUSTER: u64 = 64 * 1024;

/// How much is copied at once.
pub(crate) const PIECE: usize = 1024 * 1024;

/// Layers, bottom first, each opened alone.
pub(crate) struct Stack(Vec<(PathBuf, OpenLayer)>);

/// What a stack has from some place on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The layer of this number holds it.
    Data(usize),
    /// It was made zero.
    Zeros,
    /// No layer says anything.
    Nothing,
}

impl Stack {
    pub(crate) fn open(layers: &[Layer]) -> Result<Self, LayerError> {
        let opened = layers.iter().map(|layer| {
            let path = layer.path.clone();
            match open(layer, None) {
                Ok(opened) => Ok((path, opened)),
                Err(source) => Err(LayerError::Read { path, source }),
            }
        });
        let opened = opened.collect::<Result<Vec<_>, _>>()?;
        // All are of one disk: what says something else of its size is damaged.
        let size = opened.first().map_or(0, |(_, layer)| layer.size());
        match opened.iter().find(|(_, layer)| layer.size() != size) {
            Some((path, _)) => Err(LayerError::Damaged { path: path.clone() }),
            None => Ok(Self(opened)),
        }
    }

    /// How large the disk is.
    pub(crate) fn size(&self) -> u64 {
        self.0.last().map_or(0, |(_, layer)| layer.size())
    }

    /// What there is from an offset on, and for how many bytes, at least one and at most `length`.
    pub(crate) fn look(&self, offset: u64, mut length: u64) -> Result<(Found, u64), LayerError> {
        for (number, (path, layer)) in self.0.iter().enumerate().rev() {
            let (mapping, extent) =
                layer
                    .get_shallow_mapping(offset, length)
                    .map_err(|source| LayerError::Read {
                        path: path.clone(),
                        source,
                    })?;
            if let ShallowMapping::Eof { .. } = mapping {
                // An image below that is shorter shows nothing there.
                continue;
            }
            length = length.min(extent);
            if length == 0 {
                return Err(LayerError::Damaged { path: path.clone() });
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
                    return Err(LayerError::Damaged { path: path.clone() });
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

    /// Goes over the whole disk. `visit` is told of a place, what there is from it on and for how
    /// many bytes, and tells how many of them it is done with. `progress` gets how far that is and
    /// the whole, in bytes, and may cancel.
    pub(crate) fn visit_all(
        &self,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
        mut visit: impl FnMut(u64, Found, u64) -> Result<u64, LayerError>,
    ) -> Result<(), LayerError> {
        let size = self.size();
        let mut at = 0;
        while at < size {
            if progress(at, size).is_break() {
                return Err(LayerError::Cancelled);
            }
            let (found, length) = self.look(at, size - at)?;
            at += visit(at, found, length)?;
        }
        Ok(())
    }

    /// Reads what a layer holds, as much of it as fits into the buffer.
    pub(crate) fn read<'a>(
        &self,
        number: usize,
        offset: u64,
        length: u64,
        buffer: &'a mut [u8],
    ) -> Result<&'a [u8], LayerError> {
        let count = usize::try_from(length).map_or(buffer.len(), |length| length.min(buffer.len()));
        let piece = &mut buffer[..count];
        // `number` came from `look`.
        if let Some((path, layer)) = self.0.get(number) {
            layer
                .read(&mut *piece, offset)
                .map_err(|source| LayerError::Read {
                    path: path.clone(),
                    source,
                })?;
        }
        Ok(piece)
    }
}
