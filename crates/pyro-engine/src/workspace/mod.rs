//! Workspaces: VMs whose disk outlives every process.
//!
//! ```text
//! <state>/workspaces/<id>/
//!     lock             held exclusively while the VM is started, stopped, reset or deleted, and
//!                      shared by whoever connects to it
//!     disk/            its own layers, above the environment's image and the template's layer
//!     merging-<layer>/ where a layer is made of two, locked by whoever makes it
//!     image.raw        hard links to the image and the template's layer, where the file system
//!     template/        allows: the cache may lose them, the workspace does not
//!     vm-<generation>/ the folder of its shim; a reset makes the next generation
//!     secrets          its secrets, sealed with the key in `<state>/secrets.key`
//!     output/          what commands wrote, a file for each stream
//!     tree/, baseline/, snapshots/
//!                      in place of disks, where commands run on the host
//!     services/        logs of services that have ended, as far as the agent kept them
//! ```
//!
//! The record says which generation and which layers count, and is written last: whatever no
//! record names is debris, which the next holder of the lock clears away.

pub(crate) mod advice;
pub(crate) mod at_rest;
pub(crate) mod commits;
pub(crate) mod connect;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod differences;
pub(crate) mod display;
pub(crate) mod errors;
pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod find;
pub(crate) mod folder;
pub(crate) mod host_paths;
pub(crate) mod incoming;
pub(crate) mod interrupted;
pub(crate) mod jobs;
pub(crate) mod layers;
pub(crate) mod lock;
pub(crate) mod log_files;
pub(crate) mod outgoing;
pub(crate) mod patching;
pub(crate) mod paths;
pub(crate) mod pipe;
pub(crate) mod progress;
pub(crate) mod read;
pub(crate) mod repository_folder;
pub(crate) mod repository_prefix;
pub(crate) mod reset;
pub(crate) mod secrets;
pub(crate) mod selection;
pub(crate) mod services;
pub(crate) mod snapshots;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod stopped;
pub(crate) mod sweep;
pub(crate) mod text_input;
pub(crate) mod write;
