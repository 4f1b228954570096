//! Files of a guest on their way to this host: an untrusted tar stream becomes a file, a link or
//! a folder at one path, or nothing does.
//!
//! ```text
//! Destination::prepare   the path is looked at, before the guest is asked for anything
//! Destination::stage     what comes is known now: a file goes into a folder that is there
//! Destination::unpack    the stream goes into a private folder beside it
//! Destination::commit    one rename puts it in place
//! ```
//!
//! Dropping a [`Destination`] at any point leaves the path as it was. After `kill -9` the private
//! folder is left; the next export beside it removes it.
//!
//! Kept are modes, times, holes, links as they are (they are never followed, wherever they point)
//! and hard links. Set-user-id and set-group-id are dropped, which is told, extended attributes are
//! dropped as well, and the owner is who runs pyro. What is neither file, folder nor link is left out
//! and named, and so are names that the file system of this host refuses.

mod attributes;
mod destination;
mod error;
mod files;
mod made_folders;
mod open_folders;
mod pass;
mod received;
mod staging;
#[cfg(test)]
mod tests;
mod tree;
mod unpack;

pub use destination::Destination;
pub use error::ExportError;
pub use received::{ArtifactKind, Received};
pub use staging::Staging;
