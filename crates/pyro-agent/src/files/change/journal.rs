//! What a change is about to do, written down before it does the first of it, so that whoever
//! comes after a crash can undo what was done.
//!
//! The journal is complete before the first step, and each step can be seen in the tree, so
//! nothing needs to be written between them. As long as it exists, the change has not happened.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use pyro_wire::Bytes;
use serde::{Deserialize, Serialize};

use crate::files::change::cursor;
use crate::files::error::FileError;

/// One step. Paths are relative to the workspace.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Does nothing. Undone last, it gives a folder the mode and the time back that it had.
    Touch {
        path: Bytes,
        mode: u32,
        mtime_ns: i64,
    },
    /// Moves a file or a link away, to the number in the area's `old`.
    Remove { path: Bytes, number: u64 },
    /// Removes a folder, which must be empty.
    RemoveFolder { path: Bytes },
    /// Moves this inode, a folder with all that is in it too, to where nothing is.
    Move { path: Bytes, inode: u64 },
    /// Puts this inode in the place of the file or the link that is there, in one instant. Where names
    /// cannot be exchanged, what was there is in the area's `old` then, by number.
    Replace {
        path: Bytes,
        inode: u64,
        #[serde(default)]
        number: u64,
    },
    /// Writes into this inode, which has other names too. What it holds is in the area's `old`, by
    /// number, whole before the journal is; as long as the inode has this `ctime_ns`, nothing was
    /// written.
    Overwrite {
        path: Bytes,
        inode: u64,
        ctime_ns: i64,
        number: u64,
    },
}

pub(crate) fn write(path: &Path, steps: &[Step]) -> Result<(), FileError> {
    let write = || -> io::Result<()> {
        let mut journal = BufWriter::new(File::create_new(path)?);
        for step in steps {
            ciborium::into_writer(step, &mut journal).map_err(|error| match error {
                ciborium::ser::Error::Io(source) => source,
                other => io::Error::other(other.to_string()),
            })?;
        }
        journal.flush()
    };
    write().map_err(|source| FileError::at("write", "the journal of the change", source))
}

/// The steps, as far as they were written: when the end is missing, none was begun. `None` when
/// there is no journal.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<Step>>> {
    let journal = match cursor::open_file(AT_FDCWD, path.as_os_str().as_bytes(), OFlag::O_RDONLY) {
        Err(Errno::ENOENT) => return Ok(None),
        opened => opened?,
    };
    let mut journal = BufReader::new(journal);
    let mut steps = Vec::new();
    while let Ok(step) = ciborium::from_reader(&mut journal) {
        steps.push(step);
    }
    Ok(Some(steps))
}

/// Makes the change final.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    fs::remove_file(path)
        .map_err(|source| FileError::at("remove", "the journal of the change", source))
}
