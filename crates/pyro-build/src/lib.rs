//! What a Containerfile asks for, before anything is done about it.
//!
//! ```text
//! text ─▶ File       instructions with their lines; what is not supported is refused here
//!      ─▶ Plan       the stages that a target needs, each with its base
//!      ─▶ Resolved   every variable replaced, every source found, every step with its key
//! ```
//!
//! A step's key is known before anything runs: it is made of its parent's key, of the instruction with its
//! variables replaced, and of the bytes that it copies. So one look into a cache says where to begin.
//!
//! Nothing is run here, and nothing is written. The only files that are read are those of the context, from a
//! descriptor of its folder, and no link is followed out of it.

mod command;
pub mod context;
pub mod devcontainer;
mod devcontainer_file;
mod error;
mod file_pattern;
mod heredocs;
pub mod ignore_rules;
pub mod instruction;
mod key;
pub mod mounts;
mod parse;
pub mod plan;
pub mod resolve;
pub mod source_names;
mod stage_state;
mod substitute;
mod words;

#[cfg(test)]
mod tests;

pub use error::{BuildError, Place};
pub use instruction::File;
pub use key::Key;
