//! What was found out about this host by trying it, kept in a file until the host is booted again.
//!
//! The file is a convenience: one that cannot be read or written costs a probe and nothing else.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::{folder, lock_file};

/// Other programs of the same user keep their answers too, but not without end.
const MAX_ENTRIES: usize = 16;

/// Longer than the longest probe of another process.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, Default, Serialize, Deserialize)]
struct CacheFile {
    /// The host's start that the entries are about.
    boot_id: String,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    /// What was tried: others may have another answer.
    files: Vec<Identity>,
    #[serde(flatten)]
    result: ProbeResult,
}

/// A file as it was: another size or time is another file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    path: PathBuf,
    bytes: u64,
    modified_s: i64,
    modified_ns: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProbeResult {
    pub(crate) runs_guests: bool,
    pub(crate) reason: String,
}

pub(crate) struct ProbeCache<'a> {
    path: &'a Path,
}

impl<'a> ProbeCache<'a> {
    pub(crate) fn at(path: &'a Path) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        self.path
    }

    pub(crate) fn get(&self, files: &[&Path]) -> Option<ProbeResult> {
        let files = identities(files)?;
        self.read(&boot_id()?)
            .into_iter()
            .find(|entry| entry.files == files)
            .map(|entry| entry.result)
    }

    pub(crate) fn put(&self, files: &[&Path], result: &ProbeResult) {
        let _ = self.try_put(files, result);
    }

    fn try_put(&self, files: &[&Path], result: &ProbeResult) -> Option<()> {
        let boot_id = boot_id()?;
        let entry = Entry {
            files: identities(files)?,
            result: result.clone(),
        };
        let mut entries = self.read(&boot_id);
        entries.retain(|old| old.files != entry.files);
        entries.insert(0, entry);
        entries.truncate(MAX_ENTRIES);
        std::fs::create_dir_all(self.path.parent()?).ok()?;
        folder::write_atomically(self.path, &CacheFile { boot_id, entries }).ok()
    }

    /// Waits while another process probes. What is returned holds the next one up.
    pub(crate) async fn lock(&self) -> Option<File> {
        std::fs::create_dir_all(self.path.parent()?).ok()?;
        let mut name = self.path.file_name()?.to_os_string();
        name.push(".lock");
        let file = lock_file::open(&self.path.with_file_name(name)).ok()?;
        let until = Instant::now() + LOCK_TIMEOUT;
        while Instant::now() < until {
            if lock_file::try_lock(&file).is_ok_and(|locked| locked) {
                return Some(file);
            }
            sleep(Duration::from_millis(50)).await;
        }
        None
    }

    fn read(&self, boot_id: &str) -> Vec<Entry> {
        let file: Option<CacheFile> = std::fs::read(self.path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        match file {
            Some(file) if file.boot_id == boot_id => file.entries,
            _ => Vec::new(),
        }
    }
}

fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

fn identities(files: &[&Path]) -> Option<Vec<Identity>> {
    files.iter().map(|path| identity(path)).collect()
}

pub(crate) fn identity(path: &Path) -> Option<Identity> {
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
        let (binary, kernel) = (file("qemu"), file("kernel"));
        let target = [binary.as_path(), &kernel];
        let path = folder.path().join("new/folder/kvm.json");
        let cache = ProbeCache::at(&path);
        assert_eq!(cache.get(&target), None);
        let result = ProbeResult {
            runs_guests: false,
            reason: "it spins".into(),
        };
        cache.put(&target, &result);
        assert_eq!(cache.get(&target), Some(result.clone()));

        std::fs::write(&kernel, "another kernel").unwrap();
        assert_eq!(cache.get(&target), None);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(cache.get(&target), None);
        cache.put(&target, &result);
        assert_eq!(cache.get(&target), Some(result));
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_written_is_no_error() {
        let cache = ProbeCache::at(Path::new("/proc/nowhere/kvm.json"));
        let target = [Path::new("/bin/sh")];
        assert!(cache.lock().await.is_none());
        let result = ProbeResult {
            runs_guests: true,
            reason: String::new(),
        };
        cache.put(&target, &result);
        assert_eq!(cache.get(&target), None);
    }
}
