//! Layers as one tree: each laid over those below it, as a tar stream that may be hostile.
//!
//! For a process that is root of a user namespace, in which the files get their owners. It reads the layers
//! through descriptors that it was given, and writes below one folder.
//!
//! | module | subject |
//! |---|---|
//! | `plan` | what is to be applied, as words from one process to another |
//! | `layer` | one layer: verified, unpacked, and read member by member |
//! | `tree` | names below the folder, of which none leads out |
//! | `dress` | owners, modes, attributes and times |
//! | `furnish` | what programs expect of a root file system, where the image has not got it |

mod dress;
mod error;
mod furnish;
mod layer;
mod plan;
#[cfg(test)]
mod tests;
mod tree;

use std::ops::ControlFlow;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::error::ApplyError;
use self::layer::Applying;
pub use self::plan::{Descriptors, Limits, Plan};
use self::tree::Tree;

/// What became of the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Files, folders and links that were made, those included that a layer above took away again.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
    pub devices_left_out: u64,
    /// Extended attributes that the host does not take, or that are none of an image's business.
    pub attributes_left_out: u64,
}

/// Called with how many of the stored bytes have been read, of how many.
pub type OnProgress<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// Applies all layers to an empty folder, and adds what a guest needs.
pub fn apply(plan: &Plan, folder: &Path, progress: OnProgress<'_>) -> Result<Applied, ApplyError> {
    let tree = Tree::at(folder)?;
    let mut applying = Applying::new(tree, plan, progress);
    for number in 0..plan.layers.len() {
        applying.layer(number)?;
    }
    let (mut tree, applied) = applying.finish()?;
    furnish::furnish(&tree)?;
    if let Some(folder) = &plan.working_dir {
        layer::make_folder(&mut tree, folder.as_bytes())?;
    }
    Ok(applied)
}
