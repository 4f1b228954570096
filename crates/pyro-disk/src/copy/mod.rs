//! Copies a layer of folders: what a sandbox changed, as an overlay keeps it. Or makes one of two.
//!
//! All is copied as it is, and so are the overlay's own notes: the devices 0/0 that stand for removed
//! files, and its attributes. The copy shares the blocks of files where the file system can do that.
//! Other devices stay out, and are counted.
//!
//! A sandbox made these files and may be hostile. Each folder is opened and written to by its own
//! descriptor, no link is followed, and nothing but files and folders is opened at all. Nobody may
//! write to them meanwhile: what changes under this one makes an error or a mix, and leads nowhere.
//!
//! Owners other than the caller need the rights that [`unpack`](crate::unpack) needs.

mod content;
mod entries;
pub(crate) mod error;
mod merge;
#[cfg(test)]
mod tests;
mod walk;

use std::ops::ControlFlow;
use std::path::Path;

use self::error::unusable;
use self::merge::Merger;
use self::walk::Copier;
use crate::folders;

pub use self::error::CopyError;

/// What became of a layer's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files, folders, links, pipes, sockets and removals, by their names.
    pub entries: u64,
    /// Of the files, holes not counted; shared or not.
    pub bytes: u64,
    /// Left out.
    pub devices: u64,
    /// Extended attributes that were left out.
    pub attributes: u64,
}

/// Copies all that is in a folder, and what the folder itself has, to one that is there and empty.
///
/// `progress` gets what was done so far, and may cancel. After an error the folder holds a part, and
/// nothing of it has been flushed to the disk in any case.
pub fn copy_layer(
    from: &Path,
    to: &Path,
    progress: &mut dyn FnMut(&Copied) -> ControlFlow<()>,
) -> Result<Copied, CopyError> {
    Copier::open(from, to, progress)?.run()
}

/// Makes one layer of two, in a folder that is there and empty: it shows the same as `upper` on `lower`.
/// Neither is changed.
///
/// Files get another name where the file system can do that, and are copied elsewhere: so nobody may
/// write to the two any more, neither now nor while the new one is in use. For the rest it is as
/// with [`copy_layer`].
pub fn merge_layers(
    lower: &Path,
    upper: &Path,
    to: &Path,
    progress: &mut dyn FnMut(&Copied) -> ControlFlow<()>,
) -> Result<Copied, CopyError> {
    let lower = folders::open(lower).map_err(unusable(lower))?;
    let mut copier = Copier::open(upper, to, progress)?;
    copier.links = true;
    Merger { copier, lower }.run()
}
