//! Turns `debian:12` into a disk, a kernel and an initramfs that a VM can start from.
//!
//! An environment is built once from Debian's packages and then never changes: it lies in
//! the cache under its name and version, with a manifest that says what its bytes hash to.
//! The kernel is shared by all environments. gVisor's `runsc` is found or fetched likewise.
//!
//! ```text
//! <cache>/linux-x86_64/
//!     debian_12-4.1.0/            rootfs.ext4  environment.json  packages.txt
//!     kernel-6.1.0-56-cloud-amd64-1f2e3d4c/   vmlinuz  modules/{*.ko,order}  kernel.json  vmlinux
//!     image-1f2e3d4c…/            rootfs.ext4  environment.json, of one image
//!     kept-1f2e3d4c…/             rootfs.ext4  0.qcow2 …  environment.json, of one that was kept
//!     blobs/                      what registries sent, by digest: manifests, configurations, layers
//!     initramfs/                  <key>.cpio  <stamp>.json
//!     runsc-20240729.0-1f2e3d4c/  runsc  copyright  runsc.json
//!     versions-of-runsc/          <file>.json, what one on PATH says its version is
//!     .lock-debian_12             held while somebody pulls
//!     .partial-debian_12-…        a pull at work, or what a killed one left
//! ```
//!
//! The way of one environment through the cache:
//!
//! ```text
//!   absent --pull--> .partial-* --rename--> installed --stamps differ--> damaged
//!                        |                      ^                           |
//!                        +--failed, cancelled,  +--digest right after all---+
//!                           killed: removed     +--pull: built again--------+
//! ```
//!
//! ```no_run
//! use std::path::Path;
//!
//! use pyro_catalog::{Catalog, NoMonitor, find};
//!
//! let catalog = Catalog::open("/tmp/pyro-cache");
//! let installed = catalog.ensure(find("debian:12")?, &NoMonitor)?;
//! let initramfs = catalog.initramfs(&installed.kernel, Path::new("/usr/lib/pyro/agent"))?;
//! println!("boot {} on {}", initramfs.display(), installed.rootfs.display());
//! # Ok::<(), pyro_catalog::CatalogError>(())
//! ```
//!
//! Deliberately not here: VMs, templates and workspaces (the engine's), settings (the
//! caller names the cache folder), and any output: progress goes to a [`ProgressMonitor`]. All calls
//! block; a caller with an async runtime gives them a thread.

mod builder;
mod catalog;
mod child;
mod debian;
mod digest;
mod disk_usage;
mod elf;
mod environments;
mod error;
mod files;
mod full_disk;
pub mod image;
mod images;
mod initramfs;
mod installed;
mod kept;
mod kernel;
mod layout;
mod lock;
mod manifest;
mod modules;
mod monitor;
mod namespace;
mod partial;
mod prune;
mod pull;
mod runsc;
mod space;
#[cfg(test)]
mod testing;
mod tools;
mod vmlinux;

pub use catalog::Catalog;
pub use environments::{
    CATALOG_VERSION, COMPATIBILITY, DISTRIBUTION, EnvironmentSpec, PLATFORM, environments, find,
};
pub use error::CatalogError;
pub use images::DiskWriter;
pub use initramfs::write_initramfs;
pub use installed::{Installed, InstalledImage};
pub use kept::{Deleted, Keeping, KeptName, Part, Parts, Taken};
pub use kernel::Kernel;
pub use monitor::{NoMonitor, Phase, ProgressMonitor, Step};
pub use namespace::user_namespaces;
pub use prune::Pruned;
pub use runsc::{Runsc, RunscOrigin};
pub use space::Space;
pub use tools::{Tool, tools};
pub use vmlinux::VmlinuxError;
