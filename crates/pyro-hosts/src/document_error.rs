//! Why a configuration file cannot be understood, and where in it.

use std::path::Path;

use crate::error::HostError;
use crate::host::Format;

/// Why a document cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DocumentError {
    Broken {
        line: usize,
        column: usize,
        why: String,
    },
    /// There is something else at these keys than a table.
    WrongShape { at: String },
}

impl DocumentError {
    pub(crate) fn of(self, file: &Path, format: Format) -> HostError {
        let file = file.to_owned();
        match self {
            Self::Broken { line, column, why } => HostError::Broken {
                file,
                format: format.name(),
                line,
                column,
                why,
            },
            Self::WrongShape { at } => HostError::WrongShape { file, at },
        }
    }
}

/// Line and column of a byte, counted from one.
pub(crate) fn position(bytes: &[u8], at: usize) -> (usize, usize) {
    let before = &bytes[..at.min(bytes.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n');
    let column = String::from_utf8_lossy(&before[start.map_or(0, |at| at + 1)..])
        .chars()
        .count();
    (line, column + 1)
}
