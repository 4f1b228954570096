//! Two layers, one upon the other, as one.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, Storage, StorageOpenOptions};

use super::create::{create, sync};
use super::error::LayerError;
use super::layer::Layer;
use super::stack::{Found, PIECE, Stack};

/// Makes a new layer that shows the same as two that it takes the place of. Neither is changed, so
/// a merge that is broken off has done nothing but leave a file that nobody names.
pub fn merge(
    lower: &Layer,
    upper: &Layer,
    to: &Path,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), LayerError> {
    merge_all(&[lower.clone(), upper.clone()], to, progress)
}

/// The same of any number, bottom first.
pub fn merge_all(
    layers: &[Layer],
    to: &Path,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(), LayerError> {
    let stack = Stack::open(layers)?;
    let failed = |source| LayerError::Write {
        path: to.to_owned(),
        source,
    };
    create(to, stack.size()).map_err(failed)?;
    let merged = open_new(to).map_err(failed)?;
    let mut buffer = vec![0; PIECE];
    stack.visit_all(progress, |at, found, length| match found {
        Found::Nothing => Ok(length),
        Found::Zeros => {
            merged.write_zeroes(at, length).map_err(failed)?;
            Ok(length)
        }
        Found::Data(number) => {
            let piece = stack.read(number, at, length, &mut buffer)?;
            merged.write(piece, at).map_err(failed)?;
            Ok(piece.len() as u64)
        }
    })?;
    merged.flush().map_err(failed)?;
    merged.sync().map_err(failed)?;
    drop(merged);
    sync(to).map_err(failed)
}

fn open_new(path: &Path) -> io::Result<FormatAccess<File>> {
    let file = File::open(StorageOpenOptions::new().write(true).filename(path))?;
    let image = Qcow2::<File>::builder(file)
        .write(true)
        .open(DenyImplicitOpenGate::default())?;
    Ok(FormatAccess::new(image))
}
