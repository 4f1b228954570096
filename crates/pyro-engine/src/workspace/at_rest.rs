//! Between `pyro-disk`, which reads disks that nobody writes to, and the words of the rest: chains,
//! kinds of files, and what goes wrong with layers.

use std::io;
use std::path::{Path, PathBuf};

use pyro_api::{Error, ErrorCode};
use pyro_disk::layers::{self, Format, Layer, LayerError};
use pyro_disk::{FileKind, Tree, TreeError};
use pyro_wire::files::EntryKind;
use pyro_wire::launch::{DiskFormat, DiskLayer};

use crate::engine::Engine;
use crate::error::cancelled;
use crate::gvisor;
use crate::machine::create::Base;
use crate::machine::disk;
use crate::owned_files::Helper;

/// A disk that nobody writes to, whatever it is made of.
#[derive(Clone)]
pub(crate) enum DiskAtRest {
    /// Files that are a disk of a VM together, bottom first.
    Image(Vec<Layer>),
    /// Folders of a sandbox, top first, and the `pyro` that reads them.
    Folders {
        folders: Vec<PathBuf>,
        pyro: PathBuf,
    },
}

impl DiskAtRest {
    /// Refuses one that is not all there.
    pub(crate) fn check(&self) -> Result<(), LayerError> {
        match self {
            Self::Image(chain) => layers::check(chain),
            Self::Folders { folders, .. } => gvisor::check_shown(folders),
        }
    }

    /// Its files, from a folder on. Blocks, and the calling thread must live as long.
    pub(crate) fn open(&self, root: &str) -> Result<Tree, NotOpened> {
        match self {
            Self::Image(layers) => Ok(Tree::disk(layers, root.as_bytes())?),
            Self::Folders { folders, pyro } => {
                let what = "The files of a disk cannot be read".to_owned();
                let folders = folders.iter().map(PathBuf::as_path);
                Ok(Helper::new(pyro, what)?.serve(folders, &Path::new("/").join(root))?)
            }
        }
    }
}

impl Engine {
    /// A disk of these layers on what a workspace stands on, if it has a disk.
    pub(crate) fn disk_at_rest(
        &self,
        base: &Base,
        layers: impl IntoIterator<Item = PathBuf>,
    ) -> Result<Option<DiskAtRest>, Error> {
        Ok(match base {
            Base::Image(image) => {
                let chain = disk::chain(&image.installed, image.template.as_deref(), layers);
                Some(DiskAtRest::Image(layers_of(&chain)))
            }
            Base::Tree(tree) => Some(DiskAtRest::Folders {
                folders: gvisor::shown(&gvisor::chain(tree, layers)),
                pyro: self.config().pyro()?.to_owned(),
            }),
            Base::HostProcess => None,
        })
    }
}

/// Why the files of a disk cannot be had.
#[derive(Debug)]
pub(crate) enum NotOpened {
    Tree(TreeError),
    /// The host refuses what is needed to read them.
    Refused(Error),
}

impl From<TreeError> for NotOpened {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

impl From<Error> for NotOpened {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<NotOpened> for TreeError {
    fn from(error: NotOpened) -> Self {
        match error {
            NotOpened::Tree(error) => error,
            NotOpened::Refused(error) => {
                let words = std::iter::once(error.error).chain(error.causes);
                let words: Vec<_> = words.chain(error.hint).collect();
                let source = io::Error::other(words.join(": "));
                Self::Gone { source }
            }
        }
    }
}

/// An error of reading that says nothing of the disk: who reads it was killed, or may not start.
pub(crate) fn reader_gone(what: &str, error: &TreeError) -> Option<Error> {
    matches!(error, TreeError::Gone { .. }).then(|| {
        Error::new(ErrorCode::Internal, what).caused_by(error).hint(
            "Try again; the kernel log tells of processes that were killed for want of memory",
        )
    })
}

/// The files of a chain that no VM has open, or only to read.
pub(crate) fn layers_of(chain: &[DiskLayer]) -> Vec<Layer> {
    let layer = |layer: &DiskLayer| {
        Some(Layer {
            path: layer.path.clone(),
            format: match layer.format {
                DiskFormat::Raw => Format::Raw,
                DiskFormat::Qcow2 => Format::Qcow2,
                // No part of an image: a chain of these has no file to be read.
                DiskFormat::Folder => return None,
            },
        })
    };
    chain.iter().filter_map(layer).collect()
}

/// What a guest would call it.
pub(crate) fn entry_kind(kind: FileKind) -> EntryKind {
    match kind {
        FileKind::File => EntryKind::File,
        FileKind::Directory => EntryKind::Directory,
        FileKind::Symlink => EntryKind::Symlink,
        FileKind::Special => EntryKind::Special,
    }
}

pub(crate) fn layers_failed(what: String, error: &LayerError) -> Error {
    let full = |source: &std::io::Error| source.kind() == std::io::ErrorKind::StorageFull;
    let (code, hint) = match error {
        LayerError::Cancelled => return cancelled(),
        LayerError::Write { source, .. } if full(source) => (
            ErrorCode::NoSpace,
            "Free space on this host; nothing was changed",
        ),
        LayerError::Write { .. } => (
            ErrorCode::HostIo,
            "Check that the folder is writable; nothing was changed",
        ),
        LayerError::Read { .. } | LayerError::Damaged { .. } => (
            ErrorCode::Damaged,
            "Nothing was changed. Another snapshot may be intact: `pyro workspace reset \
             --snapshot` (`workspace_reset`)",
        ),
    };
    Error::new(code, what).caused_by(error).hint(hint)
}
