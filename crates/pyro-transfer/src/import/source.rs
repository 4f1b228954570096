//! Which source a path means, and the passes over it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pyro_api::Folders;
use pyro_api::values::SeedMode;

use super::archive::{Compression, Identity};
use super::error::SeedError;
use super::folder::Reading;
use super::index::GuestIndex;
use super::notes::Notes;
use super::table::Table;
use super::{Packed, Totals, Wanted, Watch, archive, folder};
use crate::workspace::archive::ArchiveWriter;
use crate::workspace::names::expand_home;

pub(crate) struct Source {
    path: PathBuf,
    kind: Kind,
    wanted: Wanted,
    /// Where a repository may be that a `.git` of the source leads to.
    allowed: Folders,
}

enum Kind {
    Folder,
    Archive(Compression),
}

/// A source that was looked at and found fit.
pub(crate) struct Survey {
    pub(crate) totals: Totals,
    pub(crate) notes: Notes,
    /// Of an archive: which members there are, and of which file they are.
    archive: Option<(Identity, Table)>,
}

impl Source {
    /// Expands `~`, resolves links, and looks what is there. Relative paths are below the working
    /// folder of this process.
    pub(crate) fn open(path: &Path, home: Option<&Path>) -> Result<Self, SeedError> {
        let named = expand_home(path, home);
        let path = fs::canonicalize(&named).map_err(SeedError::unusable(&named))?;
        let metadata = fs::metadata(&path).map_err(SeedError::unusable(&path))?;
        // The ending counts as it was given: a link may well have a better name than its target.
        let compression = Compression::of(&named).or_else(|| Compression::of(&path));
        let kind = match compression {
            _ if metadata.is_dir() => Kind::Folder,
            Some(compression) if metadata.is_file() => Kind::Archive(compression),
            _ => return Err(SeedError::NotASource { path }),
        };
        Ok(Self {
            path,
            kind,
            wanted: Wanted::all(),
            allowed: Folders::All,
        })
    }

    /// Leaves out what is not wanted, and follows a `.git` into no other folders than these.
    pub(crate) fn limited(self, wanted: Wanted, allowed: Folders) -> Self {
        Self {
            wanted,
            allowed,
            ..self
        }
    }

    /// Absolute, with links resolved.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn mode(&self) -> SeedMode {
        match self.kind {
            Kind::Folder => SeedMode::Directory,
            Kind::Archive(_) => SeedMode::TarArchive,
        }
    }

    /// Looks at every entry. An archive is read to its end for that; of a folder, no file is
    /// opened.
    pub(crate) fn survey(&self, watch: &mut Watch<'_>) -> Result<Survey, SeedError> {
        let mut notes = Notes::default();
        let (totals, archive) = match self.kind {
            Kind::Folder => (folder::survey(self.reading(), &mut notes, watch)?, None),
            Kind::Archive(compression) => {
                let patterns = &self.wanted.patterns;
                let (identity, table) =
                    archive::survey(&self.path, compression, patterns, &mut notes, watch)?;
                (table.totals(), Some((identity, table)))
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
            wanted: &self.wanted,
            allowed: &self.allowed,
        }
    }

    /// Writes the source as a tar stream, ended by its end mark; without `index` all of it.
    ///
    /// Everything is checked again on the way, and a source that differs from its survey or
    /// changes while it is read is an error. No file ever gets more bytes than its header says.
    pub(crate) fn pack<W: Write>(
        &self,
        survey: &Survey,
        index: Option<&GuestIndex>,
        to: W,
        watch: &mut Watch<'_>,
    ) -> Result<Packed, SeedError> {
        let mut writer = ArchiveWriter::new(to);
        let packed = match (&self.kind, &survey.archive) {
            (Kind::Archive(compression), Some(surveyed)) => archive::pack(
                &self.path,
                *compression,
                &self.wanted.patterns,
                surveyed,
                index,
                &mut writer,
                watch,
            )?,
            _ => folder::pack(self.reading(), index, &mut writer, watch)?,
        };
        writer
            .finish()
            .map_err(|source| SeedError::Stream { source })?;
        Ok(packed)
    }
}

impl Compression {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.as_bytes().to_ascii_lowercase();
        if name.ends_with(b".tar") {
            Some(Self::None)
        } else if name.ends_with(b".tar.gz") || name.ends_with(b".tgz") {
            Some(Self::Gzip)
        } else if name.ends_with(b".tar.zst") {
            Some(Self::Zstd)
        } else {
            None
        }
    }
}

impl Identity {
    pub(super) fn of(file: &File) -> std::io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mtime_ns: folder::nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: folder::nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}
