//! Disk layers themselves, whatever file system is on them: what a chain of them shows at each
//! place, one image made of all of them, and one layer made of two.
//!
//! Layers are only read, except for one that is new. What the header of one says about the layer
//! below it, or about a file for its data, is not believed: only the files that are named here are
//! opened.

mod check;
mod create;
mod error;
mod flatten;
mod layer;
mod merge;
mod stack;
#[cfg(test)]
mod tests;

pub use check::check;
pub use create::{create, sync};
pub use error::LayerError;
pub use flatten::flatten;
pub use layer::{Format, Layer};
pub(crate) use layer::{OpenLayer, open};
pub use merge::{merge, merge_all};
