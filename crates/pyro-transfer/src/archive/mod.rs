//! Tar archives, as a stream: what goes into a guest and what comes out of it.
//!
//! Reading trusts nothing. Whatever an archive says about lengths, no more than a few pages are
//! held in memory, and names come out as they are, for the caller to judge. Compression and the
//! file systems on both ends are not known here.

mod pipe;
mod read;
mod write;

pub(crate) use pipe::{ChunkReader, ChunkWriter};
pub(crate) use read::{ArchiveError, ArchiveReader};
pub(crate) use write::ArchiveWriter;

/// One member of an archive, without its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// As the archive has it: not checked, not made plain.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: MemberKind,
    /// Permission bits, with set-user-id and its like.
    pub(crate) mode: u32,
    pub(crate) mtime_ns: i64,
    /// Bytes of data that follow; 0 for all but files.
    pub(crate) size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    File,
    Folder,
    Symlink {
        target: Vec<u8>,
    },
    /// Another name of an earlier member.
    HardLink {
        target: Vec<u8>,
    },
    /// What it is, for people.
    Special(&'static str),
}
