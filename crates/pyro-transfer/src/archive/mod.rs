//! Tar archives, as a stream: what goes into a guest and what comes out of it.
//!
//! Reading trusts nothing. Whatever an archive says about lengths, no more than a few pages are
//! held in memory, and names come out as they are, for the caller to judge. Compression and the
//! file systems on both ends are not known here.

mod member;
mod packed;
mod read;
mod write;

pub use member::{FIFO, Member, MemberKind};
pub use packed::PackedFile;
pub use read::{ArchiveError, ArchiveReader, Attribute};
pub use write::{ArchiveWriter, Belongings};
