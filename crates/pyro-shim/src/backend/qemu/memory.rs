//! What was found out about KVM on this host, kept in a file until the host is booted again.
//!
//! The file is a convenience: one that cannot be read or written costs a probe and nothing else.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::probe::Asked;
use crate::folder;

/// Other QEMUs and kernels of the same user keep their answers too, but not without end.
const ENTRIES: usize = 16;

/// Longer than the longest probe of another process.
const OTHER_PROBE: Duration = Duration::from_secs(20);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Book {
    /// The host's start that the entries are about.
    boot_id: String,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    /// QEMU and kernel: what else a guest holds makes no difference to KVM.
    files: [Identity; 2],
    #[serde(flatten)]
    found: Found,
}

/// A file as it was: another size or time is another file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    path: PathBuf,
    bytes: u64,
    modified_s: i64,
    modified_ns: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) runs_guests: bool,
    pub(crate) reason: String,
}

pub(crate) struct Memory<'a> {
    path: &'a Path,
}

impl<'a> Memory<'a> {
    pub(crate) fn at(path: &'a Path) -> Self {
        Self { path }
    }

    pub(crate) fn recall(&self, asked: &Asked<'_>) -> Option<Found> {
        let files = identities(asked)?;
        self.read(&boot_id()?)
            .into_iter()
            .find(|entry| entry.files == files)
            .map(|entry| entry.found)
    }

    pub(crate) fn remember(&self, asked: &Asked<'_>, found: &Found) {
        let _ = self.try_remember(asked, found);
    }

    fn try_remember(&self, asked: &Asked<'_>, found: &Found) -> Option<()> {
        let boot_id = boot_id()?;
        let entry = Entry {
            files: identities(asked)?,
            found: found.clone(),
        };
        let mut entries = self.read(&boot_id);
        entries.retain(|old| old.files != entry.files);
        entries.insert(0, entry);
        entries.truncate(ENTRIES);
        std::fs::create_dir_all(self.path.parent()?).ok()?;
        folder::write_whole(self.path, &Book { boot_id, entries }).ok()
    }

    /// Waits while another process probes. What is returned holds the next one up.
    pub(crate) async fn lock(&self) -> Option<File> {
        std::fs::create_dir_all(self.path.parent()?).ok()?;
        let mut name = self.path.file_name()?.to_os_string();
        name.push(".lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.with_file_name(name))
            .ok()?;
        let until = Instant::now() + OTHER_PROBE;
        while Instant::now() < until {
            // SAFETY: the descriptor is open for the length of the call.
            if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
                return Some(file);
            }
            sleep(Duration::from_millis(50)).await;
        }
        None
    }

    fn read(&self, boot_id: &str) -> Vec<Entry> {
        let book: Option<Book> = std::fs::read(self.path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        match book {
            Some(book) if book.boot_id == boot_id => book.entries,
            _ => Vec::new(),
        }
    }
}

fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

fn identities(asked: &Asked<'_>) -> Option<[Identity; 2]> {
    Some([identity(asked.binary)?, identity(asked.kernel)?])
}

fn identity(path: &Path) -> Option<Identity> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Identity {
        path: path.to_owned(),
        bytes: metadata.len(),
        modified_s: metadata.mtime(),
        modified_ns: metadata.mtime_nsec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_for_these_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, name).unwrap();
            path
        };
        let (binary, kernel, initramfs) = (file("qemu"), file("kernel"), file("initramfs"));
        let asked = Asked {
            binary: &binary,
            kernel: &kernel,
            initramfs: &initramfs,
        };
        let cache = folder.path().join("new/folder/kvm.json");
        let memory = Memory::at(&cache);
        assert_eq!(memory.recall(&asked), None);
        let found = Found {
            runs_guests: false,
            reason: "it spins".into(),
        };
        memory.remember(&asked, &found);
        assert_eq!(memory.recall(&asked), Some(found.clone()));

        std::fs::write(&kernel, "another kernel").unwrap();
        assert_eq!(memory.recall(&asked), None);
        std::fs::write(&cache, "{").unwrap();
        assert_eq!(memory.recall(&asked), None);
        memory.remember(&asked, &found);
        assert_eq!(memory.recall(&asked), Some(found));
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_written_is_no_error() {
        let memory = Memory::at(Path::new("/proc/nowhere/kvm.json"));
        let asked = Asked {
            binary: Path::new("/bin/sh"),
            kernel: Path::new("/bin/sh"),
            initramfs: Path::new("/bin/sh"),
        };
        assert!(memory.lock().await.is_none());
        let found = Found {
            runs_guests: true,
            reason: String::new(),
        };
        memory.remember(&asked, &found);
        assert_eq!(memory.recall(&asked), None);
    }
}
