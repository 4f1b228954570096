//! Removes trees of files that belong to ids of a namespace.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::NamespaceError;
use crate::id_map::IdMap;
use crate::program::{Namespaces, Program};
use crate::tool::listen;

/// `rm` goes down to any depth with few descriptors and little memory, which a sandbox may put to
/// the test: it made these files.
const RM: &str = "/bin/rm";

/// For millions of files on a disk that is busy.
const LIMIT: Duration = Duration::from_secs(600);

/// Removes a file or a tree, whoever of the caller's ids its files belong to. Missing is fine.
///
/// Nothing of another file system is touched. What was not removed when this fails, or is killed,
/// can be removed by another call.
pub fn remove_tree(path: &Path) -> Result<(), NamespaceError> {
    let failed = |source| NamespaceError::Io {
        what: "files of subordinate ids could not be removed",
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(_) => {}
    }
    let map = IdMap::of_caller()?;
    let (reader, writer) = io::pipe().map_err(NamespaceError::io("no pipe could be made"))?;
    let mut rm = Program::new(RM, Namespaces::Files);
    rm.args(["-rf", "--one-file-system", "--"])
        .arg(path)
        .stderr(writer);
    let mut child = rm.start(&map)?;
    // It holds the end for writing.
    drop(rm);
    let said = listen(reader, Instant::now() + LIMIT).map_err(&failed)?;
    match child.wait().map_err(&failed)? {
        status if status.success() => Ok(()),
        _ => Err(failed(io::Error::other(said))),
    }
}
