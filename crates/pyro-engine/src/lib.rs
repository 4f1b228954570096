//! The Rust library of pyro: carries out every operation of the contract.
//!
//! [`Engine`] implements [`Handle`](pyro_api::Handle) for each operation, one file each in
//! `operations/`. What several operations need lives in `machine/` (one VM: its folder, its shim,
//! a command in it, its end) and `store/` (the records of all);
//! `workspace/` is what lasts: disks, files and history behind VMs that come and go;
//! `shells/` are terminals in them, and what a person sees there;
//! `template/` keeps the frozen guests that VMs start from, `trees/` the unpacked images that sandboxes
//! do, `standby` VMs that wait for a command.
//! `gvisor/` is what those are made of.
//! `answers` is how much of it one answer holds.
//! An operation never calls another.
//!
//! Deliberately absent: the terminal that pyro itself runs in, command lines, MCP, and anything that knows which surface called;
//! QEMU, QMP and guests' insides (the shim's); how images are built (the catalog's); how a patch is
//! read and placed (`pyro-patch`); what is on a disk that nobody writes to (`pyro-disk`); how
//! archives of files are packed and unpacked (`pyro-transfer`).

mod answers;
mod build;
mod build_folder;
mod config;
mod core_dumps;
mod engine;
mod environments;
mod error;
mod gvisor;
mod image_config;
mod image_disks;
mod keep;
mod machine;
mod operations;
mod owned_files;
mod private_file;
mod random;
mod shells;
mod stamp;
mod standby;
mod store;
mod template;
pub mod timings;
mod trees;
mod workspace;

pub use config::{Backend, Config, Templates};
pub use engine::Engine;
pub use owned_files::{FILES_COMMAND, files_command};
pub use pyro_screen::ScreenModes;
pub use standby::Standby;
