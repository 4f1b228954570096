//! What scenarios stand on: a world of their own, the surfaces of pyro behind one trait, and a
//! check that nothing is left behind.

pub mod attack;
pub mod cache;
pub mod leftovers;
pub mod memory;
pub mod page;
mod played;
pub mod program;
#[path = "../surfaces/mod.rs"]
pub mod surfaces;
pub mod tree;
mod workspace;
pub mod world;

pub use played::played;
pub use surfaces::Surface;
pub use workspace::Workspace;
pub use world::{Backend, Ran, World};
