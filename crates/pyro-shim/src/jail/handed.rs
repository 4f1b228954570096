//! Files that a program in a jail gets from its shim when it asks for them by name.

use std::fs::File;
use std::io::{self, ErrorKind, Seek};
use std::path::PathBuf;

#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) path: PathBuf,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Opened(File),
    /// What has the name when it is asked for, to be read.
    Named {
        /// What had it at first. The shim has walls by then, and its Landlock knows files and not their names: one
        /// that took the name since is none of those it may open.
        earlier: Option<File>,
    },
}

impl Handed {
    pub(crate) fn opened(path: PathBuf, file: File) -> Self {
        let source = Source::Opened(file);
        Self { path, source }
    }

    pub(crate) fn named(path: PathBuf) -> Self {
        let earlier = File::open(&path).ok();
        let source = Source::Named { earlier };
        Self { path, source }
    }

    /// What the program is to have.
    pub(crate) fn open(&self) -> io::Result<File> {
        let earlier = match &self.source {
            Source::Opened(file) => return file.try_clone(),
            Source::Named { earlier } => earlier,
        };
        match (File::open(&self.path), earlier) {
            (Err(error), Some(earlier)) if error.kind() == ErrorKind::PermissionDenied => {
                // All copies are at one place in the file, and whoever had one has read to the end.
                let mut copy = earlier.try_clone()?;
                copy.rewind()?;
                Ok(copy)
            }
            (opened, _) => opened,
        }
    }
}
