//! OCI images: which one a reference names, what it consists of, and its layers as one tree.
//!
//! ```text
//! oci-archive:app.tar ── Reference ──▶ Source ────▶ Image ──▶ apply ──▶ a folder
//! ghcr.io/org/app:1 ──┘   what is       where its    what it    layer on layer, by a process
//!                         meant         blobs lie,   is made of that is root of a namespace
//!                                       or Registry
//! ```
//!
//! Everything that is read is compared with the digest that names it: manifest and configuration before they
//! are used, layers while they are unpacked, both as they are stored and as they were before they were
//! compressed. An image is somebody else's: sizes are bounded, no name leads out of the folder, and no link
//! that an image brings is followed out of it.
//!
//! The other way, an image of one layer is written into an archive ([`ImageWriter`]).
//!
//! Deliberately not here: what a guest needs beside the files of an image (the catalog's), and where
//! environments are kept.

pub mod apply;
mod blob;
mod config;
mod digest;
mod error;
mod image;
mod manifests;
mod reference;
pub mod registry;
mod source;
#[cfg(test)]
mod testing;
mod write;

pub use config::Config;
pub use digest::Digest;
pub use error::OciError;
pub use image::{Image, Layer};
pub use reference::{Local, Reference, ReferenceError};
pub use source::{Room, Source, reference_of};
pub use write::{About, ImageWriter};
