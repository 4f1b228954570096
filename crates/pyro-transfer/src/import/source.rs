//! Which source a path means, and the passes over it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::archive_source::{self, Compression};
use super::error::ImportError;
use super::file_identity::FileIdentity;
use super::filter::Filter;
use super::folder_source;
use super::folder_walk::Reading;
use super::guest_index::GuestIndex;
use super::members::Members;
use super::notes::{LeftOut, Notes};
use super::pass::Packed;
use crate::archive::ArchiveWriter;
use crate::host_paths::{AllowedFolders, expand_home};
use crate::progress::{OnProgress, Totals};

/// A folder or an archive of this host.
pub struct Source {
    path: PathBuf,
    kind: Kind,
    filter: Filter,
    /// Where a repository may be that a `.git` of the source leads to.
    allowed: AllowedFolders,
}

enum Kind {
    Folder,
    Archive(Compression),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    Folder,
    Archive,
}

/// A source that was looked at and found fit.
pub struct Survey {
    totals: Totals,
    notes: Notes,
    /// Of an archive: which members there are, and of which file they are.
    archive: Option<(FileIdentity, Members)>,
}

impl Survey {
    pub fn totals(&self) -> Totals {
        self.totals
    }

    pub fn left_out(&self) -> &LeftOut {
        self.notes.left_out()
    }

    /// Lines for people: what comes along otherwise than one may think.
    pub fn notes(&self) -> Vec<String> {
        self.notes.lines()
    }
}

impl Source {
    /// Expands `~`, resolves links, and looks what is there. Relative paths are below the working
    /// folder of this process.
    pub fn open(path: &Path, home: Option<&Path>) -> Result<Self, ImportError> {
        let named = expand_home(path, home);
        let path = fs::canonicalize(&named).map_err(ImportError::unusable(&named))?;
        let metadata = fs::metadata(&path).map_err(ImportError::unusable(&path))?;
        // The ending counts as it was given: a link may well have a better name than its target.
        let compression = Compression::of(&named).or_else(|| Compression::of(&path));
        let kind = match compression {
            _ if metadata.is_dir() => Kind::Folder,
            Some(compression) if metadata.is_file() => Kind::Archive(compression),
            _ => return Err(ImportError::NotASource { path }),
        };
        Ok(Self {
            path,
            kind,
            filter: Filter::none(),
            allowed: AllowedFolders::All,
        })
    }

    /// Leaves out what the filter does, and follows a `.git` into no other folders than these.
    pub fn limited(self, filter: Filter, allowed: AllowedFolders) -> Self {
        Self {
            filter,
            allowed,
            ..self
        }
    }

    /// Absolute, with links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn kind(&self) -> SourceKind {
        match self.kind {
            Kind::Folder => SourceKind::Folder,
            Kind::Archive(_) => SourceKind::Archive,
        }
    }

    /// Looks at every entry. An archive is read to its end for that; of a folder, no file is
    /// opened.
    pub fn survey(&self, on_progress: &mut OnProgress<'_>) -> Result<Survey, ImportError> {
        let mut notes = Notes::default();
        let (totals, archive) = match self.kind {
            Kind::Folder => (
                folder_source::survey(self.reading(), &mut notes, on_progress)?,
                None,
            ),
            Kind::Archive(compression) => {
                let patterns = &self.filter.patterns;
                let (identity, members) = archive_source::survey(
                    &self.path,
                    compression,
                    patterns,
                    &mut notes,
                    on_progress,
                )?;
                (members.totals(), Some((identity, members)))
            }
        };
        Ok(Survey {
            totals,
            notes,
            archive,
        })
    }

    fn reading(&self) -> Reading<'_> {
        Reading {
            root: &self.path,
            filter: &self.filter,
            allowed: &self.allowed,
        }
    }

    /// Writes the source as a tar stream, ended by its end mark; without `index` all of it.
    ///
    /// Everything is checked again on the way, and a source that differs from its survey or
    /// changes while it is read is an error. No file ever gets more bytes than its header says.
    pub fn pack<W: Write>(
        &self,
        survey: &Survey,
        index: Option<&GuestIndex>,
        to: W,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<Packed, ImportError> {
        let mut writer = ArchiveWriter::new(to);
        let packed = match (&self.kind, &survey.archive) {
            (Kind::Archive(compression), Some(surveyed)) => archive_source::pack(
                &self.path,
                *compression,
                &self.filter.patterns,
                surveyed,
                index,
                &mut writer,
                on_progress,
            )?,
            _ => folder_source::pack(self.reading(), index, &mut writer, on_progress)?,
        };
        writer
            .finish()
            .map_err(|source| ImportError::Stream { source })?;
        Ok(packed)
    }
}
