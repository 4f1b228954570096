//! What is in a folder of a file system.

use serde::{Deserialize, Serialize};

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    pub kind: FileKind,
    /// Bytes of a file, or of a link's target; 0 for the rest.
    pub size: u64,
    /// Permission bits, with set-user-id and its like.
    pub mode: u32,
    pub mtime_ns: i64,
    /// The ids of its user and its group.
    pub user: u32,
    pub group: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    /// A device, socket or pipe.
    Special,
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    #[serde(with = "serde_bytes")]
    pub name: Vec<u8>,
    pub stat: Stat,
    pub(crate) inode: u64,
}

/// What a folder holds, as people count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Files, folders and links.
    pub entries: u64,
    /// Of the files.
    pub bytes: u64,
}
