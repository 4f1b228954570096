//! Where the blobs of an image lie: in a folder, or in one file.

mod archive;
mod docker;
mod kind;
mod layout;
#[cfg(test)]
mod tests;
mod unpacked;

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use self::archive::Archive;
pub use self::kind::reference_of;
pub use self::unpacked::Room;
use crate::blob::Blob;
use crate::reference::{Local, Transport};
use crate::{Image, OciError};

/// Something that holds images.
#[derive(Debug)]
pub struct Source<'a> {
    reference: &'a Local,
    files: Files,
}

/// Files by their path in an image.
#[derive(Debug)]
enum Files {
    Folder,
    Archive(Archive),
}

impl<'a> Source<'a> {
    /// Looks what there is; of an archive it reads everything but the contents once, and a compressed one is unpacked
    /// where there is room.
    pub fn open(reference: &'a Local, room: &Room<'_>) -> Result<Self, OciError> {
        let path = &reference.path;
        let (is_folder, what) = match reference.transport {
            Transport::OciLayout => (true, "folder"),
            Transport::OciArchive | Transport::DockerArchive => (false, "file"),
        };
        let found = fs::metadata(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => OciError::NotFound {
                what,
                path: path.clone(),
            },
            _ => OciError::Path {
                path: path.clone(),
                source,
            },
        })?;
        let why = match (is_folder, found.is_dir(), found.is_file()) {
            (true, true, _) | (false, _, true) => None,
            (true, _, true) => Some(format!(
                "it is a file; name it `oci-archive:{0}` or `docker-archive:{0}`",
                path.display()
            )),
            (false, true, _) => Some(format!("it is a folder; name it `oci:{}`", path.display())),
            _ => Some(format!("it is not a {what}")),
        };
        if let Some(why) = why {
            return Err(OciError::NoImage {
                path: path.clone(),
                why,
            });
        }
        let files = match is_folder {
            true => Files::Folder,
            false => Files::Archive(Archive::open(path, room)?),
        };
        Ok(Self { reference, files })
    }

    /// The image that is meant, after its manifest and its configuration were verified.
    pub fn image(&self) -> Result<Image, OciError> {
        let is_there = |path| Ok::<_, OciError>(self.find(path)?.is_some());
        // The tools write either kind of archive, and some of them one that is both.
        let is_dockers = match self.reference.transport {
            Transport::OciLayout => false,
            Transport::OciArchive => !is_there(layout::INDEX)? && is_there(docker::LIST)?,
            Transport::DockerArchive => is_there(docker::LIST)? || !is_there(layout::INDEX)?,
        };
        match is_dockers {
            true => docker::image(self),
            false => layout::image(self),
        }
    }

    fn path(&self) -> &Path {
        &self.reference.path
    }

    fn name(&self) -> Option<&str> {
        self.reference.name.as_deref()
    }

    /// A file by its path in the image; `None` where there is none.
    fn find(&self, path: &str) -> Result<Option<Blob>, OciError> {
        match &self.files {
            Files::Archive(archive) => archive.find(path),
            Files::Folder => {
                let path = self.path().join(path);
                match File::open(&path) {
                    Ok(file) => whole(file, &path).map(Some),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(OciError::Path { path, source }),
                }
            }
        }
    }

    fn no_image(&self, why: impl Into<String>) -> OciError {
        OciError::NoImage {
            path: self.path().to_owned(),
            why: why.into(),
        }
    }
}

/// All of a file.
fn whole(file: File, path: &Path) -> Result<Blob, OciError> {
    let found = file.metadata().map_err(|source| OciError::Path {
        path: path.to_owned(),
        source,
    })?;
    if !found.is_file() {
        return Err(OciError::NoImage {
            path: path.to_owned(),
            why: "it is not a file".to_owned(),
        });
    }
    Ok(Blob {
        size: found.len(),
        file: Arc::new(file),
        offset: 0,
    })
}
