//! Environments that somebody made and named: of the disk of a workspace, or of an image that came in.
//!
//! Their files are other names of files that exist already, so keeping takes neither time nor room: the image
//! at the bottom, and the frozen layers that the workspace's disk had on it. Nothing writes to any of them.
//! Where the cache is on another file system they are copied.
//!
//! Unlike everything else in the cache they cannot be had again, so no prune and no repair removes one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use pyro_oci::Config;

use crate::environments::{BOOKWORM, KEPT, KEPT_PREFIX, subject_of};
use crate::files::{self, Stamp};
use crate::installed::{image_digest, layer_digest};
use crate::layout::{ENVIRONMENT_FILE, ROOTFS_FILE};
use crate::lock::Lock;
use crate::manifest::{self, EnvironmentManifest, ImageRecord, KernelName, LayerRecord, SCHEMA};
use crate::monitor::report;
use crate::partial::{self, Partial};
use crate::prune::Pruned;
use crate::{
    CATALOG_VERSION, Catalog, CatalogError, EnvironmentSpec, Installed, Kernel, PLATFORM, Phase,
    ProgressMonitor, disk_usage, environments, find, kernel,
};

/// The longest name, in bytes.
const LONGEST: usize = 128;

/// What the names of those begin with that no list shows. Nobody can type such a name for another one.
const HIDDEN: &str = ".build/";

/// Words before a colon that say where an image is, here or in other tools.
const TRANSPORTS: [&str; 9] = [
    "oci",
    "oci-archive",
    "docker",
    "docker-archive",
    "docker-daemon",
    "containers-storage",
    "dir",
    "http",
    "https",
];

/// What a kept environment may be called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeptName(String);

impl KeptName {
    /// A name that a person gives: `app`, `team/app`, `app:1.0`.
    pub fn parse(name: &str) -> Result<Self, CatalogError> {
        match refusal(name) {
            None => Ok(Self(name.to_owned())),
            Some(why) => Err(CatalogError::BadKeptName {
                name: name.chars().take(LONGEST).collect(),
                why,
            }),
        }
    }

    /// A name for what is only to be found again by whoever made it, such as the step of a build. The key has
    /// lower-case letters, digits and `-`.
    pub fn hidden(key: &str) -> Result<Self, CatalogError> {
        let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if key.is_empty() || key.len() > LONGEST - HIDDEN.len() || !key.bytes().all(is_plain) {
            return Err(CatalogError::BadKeptName {
                name: key.chars().take(LONGEST).collect(),
                why: "a key has lower-case letters, digits and `-`".to_owned(),
            });
        }
        Ok(Self(format!("{HIDDEN}{key}")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_hidden(&self) -> bool {
        self.0.starts_with(HIDDEN)
    }
}

/// Why a person may not give this name.
fn refusal(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("it is empty".to_owned());
    }
    if name.len() > LONGEST {
        return Some(format!("it is longer than {LONGEST} bytes"));
    }
    let (path, tag) = path_and_tag(name);
    let first = path.split('/').next().unwrap_or_default();
    if path.contains('/') && (first == "localhost" || first.contains(['.', ':'])) {
        return Some(format!(
            "`{first}` before the first slash would name a registry"
        ));
    }
    if tag.is_some() && TRANSPORTS.contains(&path) {
        return Some(format!("`{path}:` says where an image is"));
    }
    let is_letter = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let is_part = |part: &str| {
        part.as_bytes().first().is_some_and(is_letter)
            && part
                .bytes()
                .all(|byte| is_letter(&byte) || b"._-".contains(&byte))
    };
    if !path.split('/').all(is_part) {
        return Some(
            "each part begins with a lower-case letter or a digit, and has these, `.`, `_` and `-`"
                .to_owned(),
        );
    }
    let is_tag = |tag: &str| {
        let bytes = tag.as_bytes();
        bytes
            .first()
            .is_some_and(|first| first.is_ascii_alphanumeric() || *first == b'_')
            && (bytes.iter()).all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Some("a tag has letters, digits, `.`, `_` and `-`".to_owned());
    }
    let of_catalog = |spec: &EnvironmentSpec| spec.name.split(':').next() == Some(path);
    environments()
        .iter()
        .any(of_catalog)
        .then(|| format!("names that begin with `{path}` are pyro's own"))
}

/// A colon before a slash is of a registry's port.
fn path_and_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    }
}

impl EnvironmentSpec {
    /// Whether it is in no list: only who knows its key has a use for it.
    pub fn is_hidden(&self) -> bool {
        self.is_kept() && self.name.starts_with(HIDDEN)
    }
}

/// The kept environments that this process has met, as of images.
static KNOWN: Mutex<Vec<&'static EnvironmentSpec>> = Mutex::new(Vec::new());

/// The one of that name, whether it is there or not.
pub(crate) fn spec(name: &str) -> &'static EnvironmentSpec {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(spec) = known.iter().find(|spec| spec.name == name) {
        return spec;
    }
    let spec = Box::leak(Box::new(EnvironmentSpec {
        name: name.to_owned().leak(),
        version: KEPT,
        description: "Kept on this host.",
        default_packages: &[],
        include: &[],
        release: BOOKWORM,
        image: None,
        build_bytes: 0,
    }));
    known.push(spec);
    spec
}

/// A file that an environment is made of.
#[derive(Clone, Debug)]
pub struct Part {
    pub path: PathBuf,
    /// What it hashes to, where that is known: bare hex, as in a manifest.
    pub digest: Option<String>,
}

impl Part {
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            digest: None,
        }
    }
}

/// What an environment is to be made of. Nobody may ever write to the files again.
#[derive(Clone, Debug)]
pub struct Parts {
    /// An ext4 image.
    pub rootfs: Part,
    /// qcow2 layers on it, bottom first.
    pub layers: Vec<Part>,
    /// One of the cache.
    pub kernel: Kernel,
    /// What commands in its guests get, if it says anything about them, and the digest of the image that this
    /// comes from.
    pub config: Option<(Config, Option<String>)>,
    /// Where its contents came from, for people.
    pub source: String,
}

/// A name that somebody is about to give. Dropping it leaves all as it was.
#[derive(Debug)]
pub struct Keeping {
    catalog: Catalog,
    spec: &'static EnvironmentSpec,
    partial: Partial,
    _lock: Lock,
}

impl Keeping {
    /// The environment that it is to be, which another one may still be until then.
    pub fn spec(&self) -> &'static EnvironmentSpec {
        self.spec
    }

    /// An empty private folder of the cache, for parts that have to be made. It goes with this.
    pub fn folder(&self) -> Result<PathBuf, CatalogError> {
        self.partial.folder("build")
    }

    /// Gives the parts names in the cache: from here on it does not matter what becomes of the others.
    pub fn take(self, parts: Parts) -> Result<Taken, CatalogError> {
        let fresh = self.partial.folder("install")?;
        give(&parts.rootfs.path, &fresh.join(ROOTFS_FILE))?;
        for (number, layer) in parts.layers.iter().enumerate() {
            give(&layer.path, &fresh.join(layer_file(number)))?;
        }
        Ok(Taken {
            keeping: self,
            fresh,
            parts,
        })
    }

    /// The same with the parts of another environment, which nobody removes meanwhile. Tells, too, whether that had
    /// to be made for it.
    pub fn take_installed(
        self,
        spec: &'static EnvironmentSpec,
        monitor: &dyn ProgressMonitor,
    ) -> Result<(Taken, bool), CatalogError> {
        let mut made = false;
        for _ in 0..TRIES {
            let lock = self.catalog.lock_path(&spec.subject());
            let waiting = || {
                let words = format!("another pyro works on {}, waiting", spec.name);
                report(monitor, Phase::Waiting, 0.0, words);
            };
            let (lock, _) = Lock::acquire(&lock, monitor, &waiting)?;
            if let Some(installed) = self.catalog.installed(spec)? {
                let parts = self.catalog.parts(&installed)?;
                return Ok((self.take(parts)?, made));
            }
            drop(lock);
            made = true;
            self.catalog.ensure(spec, monitor)?;
        }
        Err(CatalogError::NotInstalled { name: spec.name })
    }
}

/// How often an environment is made again that others remove.
const TRIES: u32 = 3;

fn layer_file(number: usize) -> String {
    format!("{number}.qcow2")
}

/// An environment that is all there, and has no name yet. Dropping it leaves all as it was.
#[derive(Debug)]
pub struct Taken {
    keeping: Keeping,
    fresh: PathBuf,
    parts: Parts,
}

impl Taken {
    /// The environment that it is to be, which another one may still be until then.
    pub fn spec(&self) -> &'static EnvironmentSpec {
        self.keeping.spec
    }

    /// Hashes what has no digest yet, writes everything to the disk, and makes it an environment.
    pub fn publish(self, monitor: &dyn ProgressMonitor) -> Result<Installed, CatalogError> {
        let Self {
            keeping,
            fresh,
            parts,
        } = self;
        let spec = keeping.spec;
        let words = format!("hashing the disk of {}", spec.name);
        report(monitor, Phase::Publishing, 0.5, words);
        let rootfs = fresh.join(ROOTFS_FILE);
        let rootfs_digest = match parts.rootfs.digest {
            Some(digest) => digest,
            None => image_digest(&rootfs, monitor)?,
        };
        let mut layers = Vec::new();
        for (number, part) in parts.layers.into_iter().enumerate() {
            if monitor.cancelled() {
                return Err(CatalogError::Cancelled);
            }
            let file = layer_file(number);
            let path = fresh.join(&file);
            layers.push(LayerRecord {
                digest: match part.digest {
                    Some(digest) => digest,
                    None => layer_digest(&path)?,
                },
                stamp: synced(&path)?,
                file,
            });
        }
        let mut manifest = EnvironmentManifest {
            schema_version: SCHEMA,
            catalog_version: CATALOG_VERSION.to_owned(),
            name: spec.name.to_owned(),
            version: spec.version.to_owned(),
            platform: PLATFORM.to_owned(),
            source: parts.source,
            rootfs_digest,
            rootfs: synced(&rootfs)?,
            layers,
            kernel: KernelName {
                release: parts.kernel.release,
                digest: parts.kernel.digest,
            },
            created_at: manifest::now(),
            image: None,
        };
        let own_digest = format!("sha256:{}", manifest.disk_digest());
        manifest.image = parts.config.map(|(config, digest)| ImageRecord {
            digest: digest.unwrap_or(own_digest),
            source: None,
            config,
            devices_left_out: 0,
            attributes_left_out: 0,
        });
        manifest::write(&fresh.join(ENVIRONMENT_FILE), &manifest)?;
        if monitor.cancelled() {
            return Err(CatalogError::Cancelled);
        }
        keeping.catalog.publish(spec, &fresh, &keeping.partial)
    }
}

fn synced(path: &Path) -> Result<Stamp, CatalogError> {
    files::sync(path)
        .and_then(|()| Stamp::of(path))
        .map_err(CatalogError::writing("write", path))
}

/// Gives a file another name, or copies it where that is on another file system.
fn give(from: &Path, to: &Path) -> Result<(), CatalogError> {
    match fs::hard_link(from, to) {
        Ok(()) => return Ok(()),
        Err(error) if cannot_link(&error) => {}
        Err(error) => return Err(CatalogError::writing("link", to)(error)),
    }
    // The host's own `cp` knows what file systems share, and which part of a file is a hole.
    let output = Command::new("cp")
        .args(["--archive", "--reflink=auto", "--sparse=always", "--"])
        .args([from, to])
        .stdin(Stdio::null())
        .env("LC_ALL", "C")
        .output()
        .map_err(CatalogError::reading("copy", from))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if words.contains("No space left on device") {
        return Err(CatalogError::no_space(
            to,
            disk_usage::allocated_bytes(from),
        ));
    }
    Err(CatalogError::writing("copy to", to)(std::io::Error::other(
        words,
    )))
}

/// Whether one key was missed, doubled, swapped or mistaken. Another tag is another image, and no slip.
fn is_slip_of(name: &str, kept: &str) -> bool {
    let ((path, tag), (kept, kept_tag)) = (path_and_tag(name), path_and_tag(kept));
    tag == kept_tag && strsim::damerau_levenshtein(path, kept) == 1
}

fn cannot_link(error: &std::io::Error) -> bool {
    let refusals = [Errno::EXDEV, Errno::EPERM, Errno::EMLINK, Errno::EOPNOTSUPP];
    refusals
        .iter()
        .any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// What became of an environment that was to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// Blocks that nothing else has a name for.
    pub freed_bytes: u64,
}

impl Catalog {
    /// The environment of a name: of the list, kept under it, or an image's.
    pub fn find(&self, name: &str) -> Result<&'static EnvironmentSpec, CatalogError> {
        let of_list = environments().iter().find(|spec| spec.name == name);
        if let Some(spec) = of_list.or_else(|| self.kept(name)) {
            return Ok(spec);
        }
        let kept = self.specs_of(KEPT_PREFIX).into_iter();
        let kept = kept.filter(|spec| !spec.is_hidden()).map(|spec| spec.name);
        let kept: Vec<_> = kept.collect();
        // A slip asks no registry.
        if let Some(&meant) = kept.iter().find(|kept| is_slip_of(name, kept)) {
            let of_list = environments().iter().map(|spec| spec.name);
            return Err(CatalogError::UnknownEnvironment {
                name: name.to_owned(),
                nearest: Some(meant),
                known: of_list.chain(kept).collect(),
                on_docker_hub: Some(format!("docker.io/{name}")),
            });
        }
        find(name).map_err(|error| match error {
            CatalogError::UnknownEnvironment {
                name,
                nearest,
                mut known,
                on_docker_hub,
            } => {
                known.extend(kept);
                CatalogError::UnknownEnvironment {
                    name,
                    nearest,
                    known,
                    on_docker_hub,
                }
            }
            other => other,
        })
    }

    /// The same for a name that stands in a record, and so was one once.
    pub fn find_recorded(&self, name: &str) -> Result<&'static EnvironmentSpec, CatalogError> {
        let is_of_list = environments().iter().any(|spec| spec.name == name);
        // An image's name says where the image is; no kept one's does.
        match !is_of_list && (name.starts_with(HIDDEN) || KeptName::parse(name).is_ok()) {
            true => Ok(spec(name)),
            false => find(name),
        }
    }

    /// The one that was kept under a name, if there is one.
    fn kept(&self, name: &str) -> Option<&'static EnvironmentSpec> {
        if !name.starts_with(HIDDEN) && refusal(name).is_some() {
            return None;
        }
        // Looked for first: whoever asks for endless names fills no memory.
        let place = self.platform_dir().join(subject_of(KEPT_PREFIX, name));
        place.join(ENVIRONMENT_FILE).exists().then(|| spec(name))
    }

    /// Those in no list.
    pub fn hidden(&self) -> Vec<&'static EnvironmentSpec> {
        let mut kept = self.specs_of(KEPT_PREFIX);
        kept.retain(|spec| spec.is_hidden());
        kept
    }

    /// Begins to keep something under a name. Without `replace` a name that is taken is refused; a hidden one is
    /// always replaced. Two who give the same name at once come one after the other.
    pub fn keeping(
        &self,
        name: &KeptName,
        replace: bool,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Keeping, CatalogError> {
        let spec = spec(name.as_str());
        let platform_dir = self.platform_dir();
        fs::create_dir_all(&platform_dir)
            .map_err(CatalogError::writing("create", &platform_dir))?;
        let subject = spec.subject();
        let waiting = || {
            let words = format!("another pyro is making {}, waiting", spec.name);
            report(monitor, Phase::Waiting, 0.0, words);
        };
        let (lock, _) = Lock::acquire(&self.lock_path(&subject), monitor, &waiting)?;
        partial::remove_dead(&platform_dir, &subject);
        let is_taken = self.install_dir(spec).symlink_metadata().is_ok();
        if is_taken && !replace && !name.is_hidden() {
            return Err(CatalogError::NameTaken { name: spec.name });
        }
        Ok(Keeping {
            catalog: self.clone(),
            spec,
            partial: Partial::create(&platform_dir, &subject)?,
            _lock: lock,
        })
    }

    /// The parts of what is installed, with their digests.
    pub fn parts(&self, installed: &Installed) -> Result<Parts, CatalogError> {
        let manifest = self.read_manifest(installed.spec)?;
        let layers = installed.layers.iter().zip(&manifest.layers);
        Ok(Parts {
            rootfs: Part {
                path: installed.rootfs.clone(),
                digest: Some(manifest.rootfs_digest),
            },
            layers: layers
                .map(|(path, record)| Part {
                    path: path.clone(),
                    digest: Some(record.digest.clone()),
                })
                .collect(),
            kernel: installed.kernel.clone(),
            config: installed
                .image
                .as_ref()
                .map(|image| (image.config.clone(), Some(image.digest.clone()))),
            source: installed.source.clone(),
        })
    }

    /// Removes an environment, of whatever kind. Whether something stands on its directory is for the caller to know.
    pub fn delete_environment(
        &self,
        spec: &'static EnvironmentSpec,
    ) -> Result<Deleted, CatalogError> {
        let gone = || match spec.is_kept() {
            true => CatalogError::NotKept { name: spec.name },
            false => CatalogError::NotInstalled { name: spec.name },
        };
        let path = self.install_dir(spec);
        if path.symlink_metadata().is_err() {
            return Err(gone());
        }
        let lock = Lock::try_acquire(&self.lock_path(&spec.subject()))?;
        let _lock = lock.ok_or(CatalogError::Busy { name: spec.name })?;
        if path.symlink_metadata().is_err() {
            return Err(gone());
        }
        let mut pruned = Pruned::default();
        self.delete(&path, spec.dir_name(), &mut pruned)?;
        Ok(Deleted {
            freed_bytes: pruned.freed_bytes,
        })
    }

    /// What an environment takes on disk: files that it shares with others count in full.
    pub fn disk_bytes(&self, spec: &EnvironmentSpec) -> u64 {
        disk_usage::allocated_bytes(&self.install_dir(spec))
    }

    /// The newest kernel of the cache.
    pub fn latest_kernel(&self) -> Option<Kernel> {
        let name = kernel::latest(&self.platform_dir())?;
        Some(Kernel::at(&self.kernel_dir(&name), &name))
    }

    /// A kernel of the cache by the path of its image, as records have it.
    pub fn kernel_at(&self, image: &Path) -> Option<Kernel> {
        let dir = image.parent()?;
        let manifest: manifest::KernelManifest =
            manifest::read(&dir.join(crate::layout::KERNEL_FILE)).ok()?;
        let name = KernelName {
            release: manifest.release,
            digest: manifest.digest,
        };
        let is_there = dir == self.kernel_dir(&name) && image.exists();
        is_there.then(|| Kernel::at(dir, &name))
    }
}

impl Installed {
    /// What a disk stands on that has names of its own for all of it, whatever became of the environment.
    pub fn of_own_files(
        spec: &'static EnvironmentSpec,
        catalog: &Catalog,
        rootfs: PathBuf,
        rootfs_digest: String,
        kernel: Kernel,
    ) -> std::io::Result<Self> {
        let install_dir = catalog.install_dir(spec);
        Ok(Self {
            spec,
            manifest_path: install_dir.join(ENVIRONMENT_FILE),
            install_dir,
            virtual_size: fs::metadata(&rootfs)?.len(),
            rootfs,
            layers: Vec::new(),
            rootfs_digest,
            kernel,
            source: String::new(),
            created_at: String::new(),
            image: None,
        })
    }
}

#[cfg(test)]
mod tests;
