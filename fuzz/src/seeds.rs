//! Sound input, to be damaged. It is the same each time, so that a damaged one can be made again.

use std::path::Path;
use std::process::Command;
use std::{fs, io};

/// One sound input.
pub struct Seed {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Seed {
    pub(crate) fn new(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.to_owned(),
            bytes: bytes.into(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// What the shell said of it.
    #[error("a tool is missing: {what}")]
    ToolMissing { what: String },
    #[error("fuzz/seeds failed: {what}")]
    ToolFailed { what: String },
    #[error("files could not be made")]
    Io {
        #[from]
        source: io::Error,
    },
}

/// The files that `fuzz/seeds` makes of this kind, with the tools that people make such files with.
pub(crate) fn made_by_tools(kind: &str) -> Result<Vec<Seed>, SeedError> {
    let folder = tempfile::tempdir()?;
    let made = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds"))
        .arg(kind)
        .arg(folder.path())
        .output()?;
    if !made.status.success() {
        let what = String::from_utf8_lossy(&made.stderr).trim().to_owned();
        return Err(match made.status.code() {
            Some(127) => SeedError::ToolMissing { what },
            _ => SeedError::ToolFailed { what },
        });
    }
    let mut seeds = Vec::new();
    for entry in fs::read_dir(folder.path())? {
        let entry = entry?;
        seeds.push(Seed {
            name: entry.file_name().to_string_lossy().into_owned(),
            bytes: fs::read(entry.path())?,
        });
    }
    seeds.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(seeds)
}
