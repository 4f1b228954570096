//! Which file a name of a patch means: names can be read in several ways, and what is there tells.

use super::files::Files;
use crate::change::Node;
use crate::error::PatchError;
use crate::parse::label::Label;
use crate::parse::section::{Move, Section};
use crate::root::absolute;

impl Files<'_> {
    /// Where a new file goes.
    pub(super) fn new_path(
        &self,
        section: &Section<'_>,
        label: &Label,
    ) -> Result<Vec<u8>, PatchError> {
        let mut readings = label.readings(section.line)?;
        let folder = label.folder_of_prefix().map(|folder| self.node(&folder));
        let doubtful = match folder {
            None => false,
            // A folder of one letter that is there is meant; git's letters are rare without its head.
            Some(Node::Folder) if label.may_have_letter() => return Ok(readings.swap_remove(1)),
            Some(there) if label.is_doubtful() => there == Node::Folder,
            // With git's own head the name is exact; else it more likely says where /workspace is.
            Some(there) => !section.git && there != Node::Folder,
        };
        match doubtful {
            true => Err(PatchError::Ambiguous {
                line: section.line,
                label: label.shown(),
                readings: readings.iter().map(|path| absolute(path)).collect(),
            }),
            false => Ok(readings.swap_remove(0)),
        }
    }

    pub(super) fn existing(
        &self,
        section: &Section<'_>,
        label: &Label,
    ) -> Result<Vec<u8>, PatchError> {
        let readings = label.readings(section.line)?;
        let wholes = label.whole().into_iter().collect();
        let doubtful = label.is_doubtful() && readings.len() > 1;
        self.pick(section, label, readings, wholes, doubtful)
    }

    /// The reading that is there, unless a whole name is there as well.
    pub(super) fn pick(
        &self,
        section: &Section<'_>,
        label: &Label,
        mut readings: Vec<Vec<u8>>,
        wholes: Vec<Vec<u8>>,
        doubtful: bool,
    ) -> Result<Vec<u8>, PatchError> {
        let line = section.line;
        let is_there = |path: &Vec<u8>| self.node(path) != Node::Missing;
        if doubtful && readings.len() > 1 && readings[..2].iter().all(is_there) {
            readings.truncate(2);
            return Err(PatchError::Ambiguous {
                line,
                label: label.shown(),
                readings: readings.iter().map(|path| absolute(path)).collect(),
            });
        }
        if let Some(at) = readings.iter().position(is_there) {
            let path = readings.swap_remove(at);
            let also: Vec<_> = wholes
                .iter()
                .filter(|whole| **whole != path && is_there(whole))
                .collect();
            return match also.is_empty() {
                true => Ok(path),
                false => Err(PatchError::Ambiguous {
                    line,
                    label: label.shown(),
                    readings: std::iter::once(&path)
                        .chain(also)
                        .map(|path| absolute(path))
                        .collect(),
                }),
            };
        }
        readings.extend(wholes);
        match readings.iter().find(|path| self.is_gone(path)) {
            Some(gone) => Err(PatchError::Removed {
                line,
                path: absolute(gone),
            }),
            None => Err(PatchError::Missing {
                line,
                looked: readings.iter().map(|path| absolute(path)).collect(),
            }),
        }
    }
}

/// The new name of a rename, read in the way in which the old one was found.
pub(super) fn beside(
    section: &Section<'_>,
    moved: &Move,
    from: &[u8],
) -> Result<Vec<u8>, PatchError> {
    let way = moved.from.readings(section.line)?;
    let way = way.iter().position(|path| path == from).unwrap_or(0);
    let mut to = moved.to.readings(section.line)?;
    match to.len() {
        0 => Err(PatchError::Syntax {
            line: section.line,
            problem: "a file cannot be renamed to /dev/null; write `+++ /dev/null` to delete it",
        }),
        count => Ok(to.swap_remove(way.min(count - 1))),
    }
}
