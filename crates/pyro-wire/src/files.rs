//! Requests about the files of the guest's `/workspace`. Paths are relative to it, without `..`,
//! and empty for the folder itself; no link is ever followed out of it.
//!
//! ```text
//! List    ▶ ListEvent::Entries …, ListEvent::End
//! Read    ▶ ReadEvent::Found, Output frames, ReadEvent::End
//! Change  ▶ frames Input (a tar archive) and ExecControl::InputEnd one way, ChangeReply the other
//! Export  ▶ Output frames (a tar archive), ExportEvent::End
//! Place   ▶ as Change
//! Diff    ▶ DiffEvent::Entry, after some of them Output frames and DiffEvent::ContentEnd; at last
//!           DiffEvent::End
//! ```
//!
//! Each may be answered by its `Failed` at any point instead, which is the last message then.

use serde::{Deserialize, Serialize};

use crate::Bytes;
use crate::fault::Fault;

/// Lists a folder, or one file or link as itself. Each folder is sorted by the bytes of its names,
/// and what is in a folder follows right after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    pub path: Bytes,
    pub recursive: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListEvent {
    /// A batch, small enough for one frame.
    Entries(Vec<Entry>),
    End,
    Failed(Fault),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub path: Bytes,
    pub meta: Meta,
    pub stamp: Stamp,
    /// A folder whose content could not be read, or that is too deep; nothing of it is listed.
    #[serde(default)]
    pub unreadable: bool,
}

/// What a file is, as far as people and archives care.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub kind: EntryKind,
    /// Bytes of a file, or of a link's target; 0 for folders.
    pub size: u64,
    /// Permission bits, with set-user-id and its like.
    pub mode: u32,
    /// Where a link points.
    #[serde(default)]
    pub target: Option<Bytes>,
    /// Whether a folder has nothing in it.
    #[serde(default)]
    pub empty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    File,
    Directory,
    Symlink,
    /// A FIFO, a socket or a device.
    Special,
}

/// What changes when somebody writes to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    pub inode: u64,
    pub size: u64,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
}

/// Reads a regular file from an offset, at most this many bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    pub path: Bytes,
    pub offset: u64,
    pub length: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadEvent {
    Found { meta: Meta, stamp: Stamp },
    End,
    Failed(Fault),
}

/// Changes many files, all or nothing: everything is unpacked aside first, then moved into place.
/// A failure in the middle, a killed agent and a cut connection leave the workspace as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The folder that the archive's names are below; made when it is missing.
    pub destination: Bytes,
    /// What to remove: files, links, and folders that are empty by then. Relative to `/workspace`.
    #[serde(default)]
    pub remove: Vec<Bytes>,
    /// Looked at just before the first move; anything else than this is a `Conflict`. Relative to
    /// `/workspace`.
    #[serde(default)]
    pub expect: Vec<Expected>,
    /// A file that takes the place of another gets that one's mode, not the archive's.
    #[serde(default)]
    pub keep_modes: bool,
    /// A file that is there gets another content and stays the file that it is: with its owner, its
    /// extended attributes and all its names.
    #[serde(default)]
    pub edit: bool,
    /// A file of the archive goes where the links on its path lead, as long as that is below
    /// `/workspace`; and so it is with what is expected. Otherwise nothing goes through a link.
    #[serde(default)]
    pub follow: bool,
    /// Afterwards `/workspace` as it is becomes the baseline of every [`Diff`].
    #[serde(default)]
    pub baseline: bool,
    /// Whose the files, links and folders are that this makes, as [`user`](crate::user) has it; root's
    /// when absent. What is there already keeps its owner.
    #[serde(default)]
    pub user: Option<Bytes>,
}

/// Puts the members of an archive anywhere in a guest, for whoever makes an environment of it. What is there is
/// replaced, and nothing is undone when it fails in the middle: the disk is thrown away then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The absolute path that the archive's names are below; folders that are missing are made. Links are
    /// followed as the guest does.
    pub destination: Bytes,
    /// The archive's one member takes the place of the destination itself, unless a folder is there: then it gets
    /// this name in it.
    #[serde(default)]
    pub alone: Option<Bytes>,
    /// Whose all of it is, as [`user`](crate::user) has it; whose the archive says when absent.
    #[serde(default)]
    pub owner: Option<Bytes>,
    /// The mode of all files and folders, where it is not the archive's.
    #[serde(default)]
    pub mode: Option<u32>,
    /// Absolute paths of files to remove first.
    #[serde(default)]
    pub remove: Vec<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    pub path: Bytes,
    /// `None`: nothing is there.
    pub stamp: Option<Stamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeReply {
    Done {
        /// Entries of the archive, folders included.
        entries: u64,
        /// Bytes of its regular files.
        bytes: u64,
        removed: u64,
    },
    Failed(Fault),
}

/// Packs a file, a link or a folder with all that is in it. Names in the archive are relative to
/// the path; a file or link is the one entry `.`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    pub path: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportEvent {
    /// The archive is complete. What is neither file, folder nor link is left out and named here
    /// (the first thousand of them).
    End {
        skipped: Vec<Bytes>,
        /// Folders that lie deeper than the agent goes, with all that is in them (the first thousand).
        #[serde(default)]
        too_deep: Vec<Bytes>,
    },
    Failed(Fault),
}

/// Compares `/workspace` with its baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// Files that were added or modified and are at most this long come with their content.
    pub content_limit: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiffEvent {
    Entry(DiffEntry),
    ContentEnd,
    End {
        /// What is neither file, folder nor link (the first thousand of them).
        skipped: Vec<Bytes>,
    },
    Failed(Fault),
}

/// A difference. Entries come sorted by the bytes of their paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffEntry {
    pub path: Bytes,
    /// What the baseline has there.
    pub before: Option<Meta>,
    /// What is there now.
    pub after: Option<Meta>,
    /// Whether the content follows.
    pub content: bool,
    /// The folder of the guest that is a repository of git and keeps this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Bytes>,
}
