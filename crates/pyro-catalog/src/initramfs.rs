//! Builds the archive that the guest's kernel starts from: the agent as `/init`, and modules.
//!
//! The agent lives in here and not on the disk, so a workspace always restarts with the agent
//! of the installed pyro. Which archive belongs to an agent is looked up by the stamp of the
//! agent's file, so that a run need not read the agent.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cpio::newc::{Builder, trailer};
use serde::{Deserialize, Serialize};

use crate::elf::Elf;
use crate::files::{self, Stamp};
use crate::{Catalog, CatalogError, Kernel, digest, kernel, layout};

const ARCHIVE: &str = "cpio";
const STAMP: &str = "json";
/// Part of the key: to be raised when the archive's layout changes.
const LAYOUT: &str = "pyro-initramfs-1";

const FOLDER: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// What was built for an agent's file; its own name is the hash of what identifies it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Lookup {
    agent: PathBuf,
    agent_stamp: Stamp,
    kernel_digest: String,
    /// Over the agent's and the modules' bytes; the archive's name.
    key: String,
    archive_size: u64,
}

impl Catalog {
    /// The initramfs of this kernel and this agent, built when it is not in the cache yet.
    pub fn initramfs(&self, kernel: &Kernel, agent: &Path) -> Result<PathBuf, CatalogError> {
        let agent_stamp = Stamp::of(agent).map_err(missing(agent))?;
        let agent_path = std::path::absolute(agent).unwrap_or_else(|_| agent.to_owned());
        let folder = self.initramfs_dir();
        let identity = format!(
            "{LAYOUT}\n{}\n{agent_path:?}\n{agent_stamp:?}",
            kernel.digest
        );
        let hash = digest::of_bytes(identity.as_bytes());
        let lookup_path = folder.join(&hash[..32]).with_extension(STAMP);

        if let Some(lookup) = read_lookup(&lookup_path) {
            let archive = archive_path(&folder, &lookup.key);
            let intact = lookup.agent_stamp == agent_stamp
                && fs::metadata(&archive).is_ok_and(|found| found.len() == lookup.archive_size);
            if intact {
                return Ok(archive);
            }
        }

        let archive = archive_of(kernel, agent)?;
        let key = digest::of_bytes(&archive)[..32].to_owned();
        let path = archive_path(&folder, &key);
        fs::create_dir_all(&folder).map_err(CatalogError::writing("create", &folder))?;
        files::write_whole(&path, &archive).map_err(CatalogError::writing("write", &path))?;
        let lookup = Lookup {
            agent: agent_path,
            agent_stamp,
            kernel_digest: kernel.digest.clone(),
            key,
            archive_size: archive.len() as u64,
        };
        let json = serde_json::to_vec(&lookup).expect("a plain struct becomes JSON");
        files::write_whole(&lookup_path, &json)
            .map_err(CatalogError::writing("write", &lookup_path))?;
        Ok(path)
    }
}

/// Writes the same archive to a place of the caller's, for when the cache cannot be written.
pub fn write_initramfs(kernel: &Kernel, agent: &Path, to: &Path) -> Result<(), CatalogError> {
    let archive = archive_of(kernel, agent)?;
    fs::write(to, archive).map_err(CatalogError::writing("write", to))
}

fn archive_of(kernel: &Kernel, agent: &Path) -> Result<Vec<u8>, CatalogError> {
    let bytes = fs::read(agent).map_err(missing(agent))?;
    require_static(agent, &bytes)?;
    write_archive(kernel, &bytes)
}

fn missing(agent: &Path) -> impl FnOnce(io::Error) -> CatalogError + use<> {
    let path = agent.to_owned();
    move |source| CatalogError::AgentMissing { path, source }
}

fn archive_path(folder: &Path, key: &str) -> PathBuf {
    folder.join(key).with_extension(ARCHIVE)
}

fn read_lookup(path: &Path) -> Option<Lookup> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// What in the initramfs folder can never be asked for again: `kept` are kernel digests.
pub(crate) fn unreferenced(folder: &Path, kept: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    let (mut archives, mut gone) = (Vec::new(), Vec::new());
    for path in &paths {
        if path.extension().is_some_and(|extension| extension == STAMP) {
            match read_lookup(path) {
                Some(lookup)
                    if kept(&lookup.kernel_digest)
                        && Stamp::of(&lookup.agent).ok() == Some(lookup.agent_stamp) =>
                {
                    archives.push(archive_path(folder, &lookup.key));
                }
                _ => gone.push(path.clone()),
            }
        }
    }
    for path in paths {
        let is_archive = path
            .extension()
            .is_some_and(|extension| extension == ARCHIVE);
        if (is_archive && !archives.contains(&path)) || files::is_abandoned(&path) {
            gone.push(path);
        }
    }
    gone
}

/// The guest has no loader before its root disk is mounted.
fn require_static(path: &Path, bytes: &[u8]) -> Result<(), CatalogError> {
    let reason = match Elf::parse(bytes).and_then(|elf| elf.has_interpreter()) {
        Some(false) => return Ok(()),
        Some(true) => "it is linked dynamically",
        None => "it is not a 64-bit ELF program",
    };
    Err(CatalogError::AgentNotStatic {
        path: path.to_owned(),
        reason,
    })
}

fn write_archive(kernel: &Kernel, agent: &[u8]) -> Result<Vec<u8>, CatalogError> {
    let modules = &kernel.modules_dir;
    let reading = |path: &Path| CatalogError::reading("read", path);
    let order_path = modules.join(layout::MODULE_ORDER_FILE);
    let order = fs::read(&order_path).map_err(reading(&order_path))?;

    let mut archive = Archive::default();
    for folder in ["proc", "sys", "dev", "root", "modules"] {
        archive.node(folder, FOLDER, (0, 0))?;
    }
    // The kernel opens it for /init before anything is mounted on /dev.
    archive.node("dev/console", CHARACTER_DEVICE, (5, 1))?;
    archive.file("init", EXECUTABLE, agent)?;
    for name in kernel::read_order(modules)? {
        let path = modules.join(&name);
        let bytes = fs::read(&path).map_err(reading(&path))?;
        archive.file(&format!("modules/{name}"), FILE, &bytes)?;
    }
    archive.file("modules/order", FILE, &order)?;
    archive
        .finish()
        .map_err(CatalogError::reading("archive", modules))
}

/// An uncompressed `newc` archive. All times are zero, so the same parts give the same bytes.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    inodes: u32,
}

impl Archive {
    fn node(&mut self, name: &str, mode: u32, device: (u32, u32)) -> Result<(), CatalogError> {
        self.add(name, mode, device, &[])
    }

    fn file(&mut self, name: &str, mode: u32, contents: &[u8]) -> Result<(), CatalogError> {
        self.add(name, mode, (0, 0), contents)
    }

    fn add(
        &mut self,
        name: &str,
        mode: u32,
        (major, minor): (u32, u32),
        contents: &[u8],
    ) -> Result<(), CatalogError> {
        self.inodes += 1;
        let entry = Builder::new(name)
            .ino(self.inodes)
            .mode(mode)
            .nlink(1)
            .rdev_major(major)
            .rdev_minor(minor);
        let write = || -> io::Result<()> {
            let size = u32::try_from(contents.len()).map_err(io::Error::other)?;
            let mut writer = entry.write(&mut self.bytes, size);
            writer.write_all(contents)?;
            writer.finish()?;
            Ok(())
        };
        write().map_err(CatalogError::reading("archive", Path::new(name)))
    }

    fn finish(mut self) -> io::Result<Vec<u8>> {
        trailer(&mut self.bytes)?;
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;
    use crate::testing::{Rig, program, rig};
    use crate::{NoMonitor, find};

    fn kernel_and_agent(rig: &Rig) -> (Kernel, PathBuf) {
        let spec = find("debian:12").unwrap();
        let kernel = rig.catalog.ensure(spec, &NoMonitor).unwrap().kernel;
        let agent = rig.folder.path().join("agent");
        fs::write(&agent, program(false)).unwrap();
        (kernel, agent)
    }

    #[test]
    fn the_archive_holds_what_the_guest_needs() {
        let rig = rig();
        let (kernel, agent) = kernel_and_agent(&rig);
        let path = rig.catalog.initramfs(&kernel, &agent).unwrap();

        let mut rest = io::Cursor::new(fs::read(path).unwrap());
        let mut found = BTreeMap::new();
        loop {
            let mut reader = cpio::newc::Reader::new(&mut rest).unwrap();
            let entry = reader.entry().clone();
            if entry.is_trailer() {
                break;
            }
            let mut contents = Vec::new();
            reader.read_to_end(&mut contents).unwrap();
            reader.finish().unwrap();
            let device = (entry.rdev_major(), entry.rdev_minor());
            found.insert(entry.name().to_owned(), (entry.mode(), device, contents));
        }
        assert_eq!(found["init"], (EXECUTABLE, (0, 0), program(false)));
        assert_eq!(found["dev/console"].1, (5, 1));
        assert_eq!(found["modules/order"].2, b"a.ko\nb-c.ko\n");
        assert_eq!(found["modules/b-c.ko"].2, b"module b");
        for folder in ["proc", "sys", "dev", "root", "modules"] {
            assert_eq!(found[folder].0, FOLDER);
        }
        assert_eq!(found.len(), 10);
    }

    #[test]
    fn it_is_built_once_per_agent_and_repaired_when_truncated() {
        let rig = rig();
        let (kernel, agent) = kernel_and_agent(&rig);
        let build = || rig.catalog.initramfs(&kernel, &agent).unwrap();
        let first = build();
        let written = Stamp::of(&first).unwrap();
        assert_eq!(Stamp::of(&build()).unwrap(), written);

        fs::write(&first, "short").unwrap();
        assert_eq!(build(), first);
        assert_eq!(fs::metadata(&first).unwrap().len(), written.size);

        let mut other = program(false);
        other.push(1);
        fs::write(&agent, other).unwrap();
        assert_ne!(build(), first);
    }

    #[test]
    fn an_agent_that_cannot_be_init_is_refused() {
        let rig = rig();
        let (kernel, agent) = kernel_and_agent(&rig);
        let refused = || rig.catalog.initramfs(&kernel, &agent).unwrap_err();
        fs::write(&agent, program(true)).unwrap();
        assert!(matches!(refused(), CatalogError::AgentNotStatic { .. }));
        fs::write(&agent, "#!/bin/sh").unwrap();
        assert!(matches!(refused(), CatalogError::AgentNotStatic { .. }));
        fs::remove_file(&agent).unwrap();
        assert!(matches!(refused(), CatalogError::AgentMissing { .. }));
    }
}
