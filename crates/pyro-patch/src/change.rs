//! What a patch does to files, before anybody has done it.

use std::sync::Arc;

use crate::note::Note;

/// What is at a path before or after a patch. Paths are relative to [`ROOT`](crate::ROOT).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Missing,
    File {
        content: Arc<[u8]>,
        /// Permission bits.
        mode: u32,
    },
    Link {
        target: Vec<u8>,
    },
    Folder,
    /// Neither file, link nor folder.
    Special,
    /// A file above [`MAX_FILE`](crate::MAX_FILE).
    TooLarge,
}

/// All that a patch changes.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// By path; each path once.
    pub changes: Vec<FileChange>,
    /// Where the patch was taken less literally than it was written.
    pub notes: Vec<Note>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct FileChange {
    pub path: Vec<u8>,
    pub status: Status,
    /// `Missing`, `File` or `Link`.
    pub after: Node,
    /// Where a renamed file was before; that path is deleted by a change of its own.
    pub renamed_from: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Added,
    Modified,
    Deleted,
}
