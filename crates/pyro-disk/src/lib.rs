//! Disks at rest: chains of qcow2 layers and the ext4 file system in them, read without a guest.
//!
//! ```text
//! layers   what a chain shows at each place: checked, made one image, two layers made one
//!   ▲
//! ext4     a file system in those bytes, never mounted
//!   ▲
//! Tree     its files by path, or those of a plain folder where commands run without a VM
//! unpack   all of them written into a folder
//! pack     all of them written as a tar archive
//! ```
//!
//! Where a guest works on folders of this host and not on a disk, [`copy_layer`] copies one of
//! its layers, [`merge_layers`] makes one of two, and [`measure`] says how much is in a folder.
//!
//! ```
//! use std::fs;
//! use std::process::Command;
//!
//! use pyro_disk::Tree;
//! use pyro_disk::layers::{self, Layer};
//!
//! let folder = tempfile::tempdir()?;
//! let (files, image) = (folder.path().join("files"), folder.path().join("disk.raw"));
//! fs::create_dir(&files)?;
//! fs::write(files.join("greeting"), "hello")?;
//! let mut mke2fs = Command::new("mke2fs");
//! mke2fs.args(["-q", "-t", "ext4", "-d"]).arg(&files).arg(&image).arg("8M");
//! assert!(mke2fs.status()?.success());
//!
//! // A layer on it, as a VM would write to; nothing was written yet.
//! let top = folder.path().join("top.qcow2");
//! layers::create(&top, fs::metadata(&image)?.len())?;
//!
//! let chain = [Layer::raw(&image), Layer::qcow2(&top)];
//! layers::check(&chain)?;
//! let tree = Tree::disk(&chain, b"")?;
//! assert_eq!(tree.read(b"greeting", 100)?, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A disk may have been written by a hostile guest, so nothing that it says is believed: it gives
//! answers or errors, in bounded memory and time. Nobody may write to the files meanwhile: they are
//! frozen, or those of a VM that is stopped.
//!
//! All of it blocks. Not here: which layers a disk has, who holds them (the engine), disks in use
//! (the shim), and writing to a file system, which nothing in pyro does.

mod agent_state;
mod copy;
mod entry;
mod error;
mod ext4;
mod folders;
pub mod layers;
mod measure;
mod names;
mod pack;
#[cfg(test)]
mod testing;
mod tree;
mod unpack;
mod xattr;

pub use agent_state::AGENT_STATE;
pub use copy::{Copied, CopyError, copy_layer, merge_layers};
pub use entry::{Count, Entry, FileKind, Stat};
pub use error::TreeError;
pub use measure::{Measure, measure};
pub use pack::{PackError, Packed, pack};
pub use tree::{Tree, serve};
pub use unpack::{UnpackError, Unpacked, unpack};
