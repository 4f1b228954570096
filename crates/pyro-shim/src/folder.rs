//! The VM's folder: read at the start, removed at the end, or left with a record of it.
//!
//! The shim lives *in* its folder (as its working directory), so that socket and file names stay
//! short and a folder that is renamed meanwhile is still the right one.

use std::fs;
use std::io;
use std::path::Path;

use pyro_wire::PROTOCOL;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::launch::{END_FILE, Ended, LAUNCH_FILE, LaunchSpec};
use pyro_wire::shim::LIVENESS_LOCK;
use serde::Deserialize;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("the folder {folder} cannot be used: {source}")]
    Enter { folder: String, source: io::Error },
    #[error("{LAUNCH_FILE} cannot be read: {source}")]
    Read { source: io::Error },
    #[error("{LAUNCH_FILE} is damaged: {source}")]
    Damaged { source: serde_json::Error },
    #[error("{LAUNCH_FILE} has protocol {theirs}, this shim speaks {PROTOCOL}")]
    Version { theirs: u32 },
    #[error("{name} could not be removed: {source}")]
    Remove { name: String, source: io::Error },
    #[error("{END_FILE} could not be written: {source}")]
    WriteEnd { source: io::Error },
}

impl From<FolderError> for Fault {
    fn from(error: FolderError) -> Self {
        let code = match &error {
            FolderError::Damaged { .. } | FolderError::Version { .. } => FaultCode::Protocol,
            FolderError::Enter { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                FaultCode::NotFound
            }
            _ => FaultCode::HostIo,
        };
        Self::new(code, error.to_string())
    }
}

pub(crate) fn enter(folder: &Path) -> Result<(), FolderError> {
    std::env::set_current_dir(folder).map_err(|source| FolderError::Enter {
        folder: folder.display().to_string(),
        source,
    })
}

/// Reads the launch file; another protocol is told from damage even when nothing else fits.
pub(crate) fn read_spec() -> Result<LaunchSpec, FolderError> {
    #[derive(Deserialize)]
    struct Version {
        protocol: u32,
    }
    let text = fs::read(LAUNCH_FILE).map_err(|source| FolderError::Read { source })?;
    let damaged = |source| FolderError::Damaged { source };
    let version: Version = serde_json::from_slice(&text).map_err(damaged)?;
    if version.protocol != PROTOCOL {
        return Err(FolderError::Version {
            theirs: version.protocol,
        });
    }
    serde_json::from_slice(&text).map_err(damaged)
}

/// Removes the record of an earlier end: this VM has not ended.
pub(crate) fn remove_end_record() {
    let _ = fs::remove_file(END_FILE);
}

/// Leaves the record of the end in a folder that stays.
pub(crate) fn write_end_record(ended: &Ended) -> Result<(), FolderError> {
    write_atomically(Path::new(END_FILE), ended).map_err(|source| FolderError::WriteEnd { source })
}

/// Writes a JSON file so that a reader sees the old one or the new one and nothing between.
pub(crate) fn write_atomically(path: &Path, value: &impl serde::Serialize) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let text = serde_json::to_vec_pretty(value)?;
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .inspect_err(|_| drop(fs::remove_file(&new)))
}

/// Removes the current folder with all that is in it. The lock's file goes last: while it is
/// there and held, everybody can see that somebody is still at work.
pub(crate) fn remove() -> Result<(), FolderError> {
    // Another process may add a file between the listing and the end: try a few times.
    let mut result = Ok(());
    for _ in 0..3 {
        result = empty_and_remove();
        if result.is_ok() {
            break;
        }
    }
    result
}

fn empty_and_remove() -> Result<(), FolderError> {
    let failed = |name: &str| {
        let name = name.to_owned();
        move |source| FolderError::Remove { name, source }
    };
    // Fails when the folder is gone already.
    let Ok(folder) = std::env::current_dir() else {
        return Ok(());
    };
    for entry in fs::read_dir(".").map_err(failed("the folder"))? {
        let entry = entry.map_err(failed("the folder"))?;
        let name = entry.file_name();
        if name == LIVENESS_LOCK {
            continue;
        }
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let gone = if is_dir {
            remove_dir_all(&folder.join(&name))
        } else {
            fs::remove_file(entry.path())
        };
        vanished_is_fine(gone).map_err(failed(&name.to_string_lossy()))?;
    }
    vanished_is_fine(fs::remove_file(LIVENESS_LOCK)).map_err(failed(LIVENESS_LOCK))?;
    vanished_is_fine(fs::remove_dir(&folder)).map_err(failed("the folder"))
}

/// A layer of folders (its changes are in `upper`) was a sandbox's: its files belong to ids that only a
/// user namespace has, and there may be more folders in one another than one should go down by oneself.
fn remove_dir_all(path: &Path) -> io::Result<()> {
    if pyro_namespace::overlay::upper(path).is_dir() && pyro_namespace::remove_tree(path).is_ok() {
        return Ok(());
    }
    fs::remove_dir_all(path)
}

fn vanished_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
