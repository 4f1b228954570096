//! Blobs of all images, each under its digest.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind::{QuotaExceeded, StorageFull};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use oci_spec::image::{Descriptor, ImageManifest};
use sha2::{Digest as _, Sha256};

use crate::blob::Blob;
use crate::image::{digest_of, json};
use crate::{Digest, Image, OciError};

/// What a blob's file is called while it is not whole.
const PART: &str = ".part";

/// No fetch of one image takes longer.
const YOUNG: Duration = Duration::from_secs(60 * 60);

/// A folder of blobs. Processes may share it.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Makes the folder.
    pub fn at(folder: &Path) -> Result<Self, OciError> {
        fs::create_dir_all(folder).map_err(failed(folder))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    pub(super) fn find(&self, digest: &Digest) -> Result<Option<Blob>, OciError> {
        let path = self.folder.join(digest.hex());
        match File::open(&path) {
            Ok(file) => Ok(Some(Blob {
                size: file.metadata().map_err(failed(&path))?.len(),
                file: Arc::new(file),
                offset: 0,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path)(error)),
        }
    }

    /// How much of a blob is here: all of it, or what a fetch left.
    pub(super) fn bytes_of(&self, digest: &Digest) -> u64 {
        let whole = self.folder.join(digest.hex());
        let part = self.folder.join(format!("{}{PART}", digest.hex()));
        let found = fs::metadata(whole).or_else(|_| fs::metadata(part));
        found.map_or(0, |found| found.len())
    }

    /// Keeps a short one.
    pub(super) fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), OciError> {
        match self.part(digest)? {
            Some(mut part) if self.find(digest)?.is_none() => {
                part.restart()?;
                part.write(bytes)?;
                part.finish("the manifest", digest)
            }
            _ => Ok(()),
        }
    }

    /// The right to write a blob, after what is there of it; `None` while another process has it.
    pub(super) fn part(&self, digest: &Digest) -> Result<Option<Part>, OciError> {
        let path = self.folder.join(format!("{}{PART}", digest.hex()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(failed(&path))?;
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, errno)) => return Err(failed(&path)(errno.into())),
        };
        // Whoever had it before may have finished it, and its file is the blob now.
        if !is_at(&file, &path).map_err(failed(&path))? {
            return Ok(None);
        }
        let mut part = Part {
            place: self.folder.join(digest.hex()),
            path,
            file,
            hash: Sha256::new(),
            length: 0,
        };
        part.reread()?;
        Ok(Some(part))
    }

    /// Removes what none of these images is made of; tells its bytes. Nobody may fetch meanwhile.
    pub fn prune(&self, manifests: &[Digest]) -> Result<u64, OciError> {
        let mut kept = std::collections::HashSet::new();
        for digest in manifests {
            let Some(manifest) = self.find(digest)? else {
                continue;
            };
            let bytes = manifest.document("a manifest")?;
            // An archive of Docker's goes by its configuration, which an image of a registry may have as well.
            let Ok(manifest) = json::<ImageManifest>(&bytes, "a manifest") else {
                continue;
            };
            let blobs = manifest.layers().iter().chain([manifest.config()]);
            for blob in blobs {
                kept.insert(digest_of(blob)?.hex().to_owned());
            }
            kept.insert(digest.hex().to_owned());
        }
        let mut freed = 0;
        let entries = fs::read_dir(&self.folder).map_err(failed(&self.folder))?;
        for entry in entries {
            let entry = entry.map_err(failed(&self.folder))?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| kept.contains(name)) {
                continue;
            }
            let path = entry.path();
            // A pull that has begun since needs what it has fetched.
            let modified = entry.metadata().and_then(|found| found.modified());
            let age = modified.map(|made| made.elapsed().unwrap_or_else(|ahead| ahead.duration()));
            if age.is_ok_and(|age| age < YOUNG) {
                continue;
            }
            freed += entry.metadata().map_or(0, |found| found.len());
            fs::remove_file(&path).map_err(failed(&path))?;
        }
        Ok(freed)
    }

    /// The image that a manifest is of, whose blobs are all here.
    pub fn image(&self, digest: &Digest) -> Result<Image, OciError> {
        let missing = |digest: &Digest| OciError::NotFound {
            what: "blob",
            path: self.folder.join(digest.hex()),
        };
        let manifest = self.find(digest)?.ok_or_else(|| missing(digest))?;
        let bytes = manifest.verified("the manifest", digest)?;
        Image::of_manifest(digest.clone(), &bytes, |descriptor: &Descriptor, _| {
            let digest = digest_of(descriptor)?;
            self.find(&digest)?.ok_or_else(|| missing(&digest))
        })
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    match fs::metadata(path) {
        Ok(found) => Ok(found.ino() == file.metadata()?.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> OciError + use<> {
    let path = path.to_owned();
    move |source| OciError::Store { path, source }
}

/// A blob that is not whole, and nobody else's.
pub(super) struct Part {
    path: PathBuf,
    place: PathBuf,
    file: Flock<File>,
    hash: Sha256,
    length: u64,
}

impl Part {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    fn reread(&mut self) -> Result<(), OciError> {
        let mut buffer = vec![0; 1 << 18];
        loop {
            let count = self.file.read(&mut buffer).map_err(failed(&self.path))?;
            if count == 0 {
                return Ok(());
            }
            self.hash.update(&buffer[..count]);
            self.length += count as u64;
        }
    }

    /// Forgets what is there.
    pub(super) fn restart(&mut self) -> Result<(), OciError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(failed(&self.path))?;
        (self.hash, self.length) = (Sha256::new(), 0);
        Ok(())
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), OciError> {
        if let Err(error) = self.file.write_all(bytes) {
            // What would go on later must not be what fills the disk until then.
            if matches!(error.kind(), StorageFull | QuotaExceeded) {
                let _ = fs::remove_file(&self.path);
            }
            return Err(failed(&self.path)(error));
        }
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Puts it to its place, if it is what it should be; otherwise nothing of it is kept.
    pub(super) fn finish(self, what: &str, digest: &Digest) -> Result<(), OciError> {
        let found = Digest::of_hash(self.hash.clone());
        if found != *digest {
            let _ = fs::remove_file(&self.path);
            return Err(OciError::WrongDigest {
                what: what.to_owned(),
                expected: digest.clone(),
                found,
            });
        }
        self.file.sync_all().map_err(failed(&self.path))?;
        fs::rename(&self.path, &self.place).map_err(failed(&self.place))
    }
}
