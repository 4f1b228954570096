//! A workspace's folder: what lies where.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use pyro_api::Stream;

use super::layers;
use crate::machine::folder::VmFolder;

const VM: &str = "vm-";

/// Where the agent works when commands run on the host; its `/workspace` is below.
const TREE: &str = "tree";
const BASELINE_TREE: &str = "baseline";
const NEXT_TREE: &str = "tree.next";
const TREES: &str = "snapshots";
const MERGING: &str = "merging-";

#[derive(Clone, Debug)]
pub(crate) struct WorkspaceFolder(PathBuf);

impl WorkspaceFolder {
    pub(crate) fn of(state_dir: &Path, id: &str) -> Self {
        Self(all(state_dir).join(id))
    }

    /// The ids of every folder there is.
    pub(crate) fn ids(state_dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(all(state_dir)).into_iter().flatten();
        entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect()
    }

    pub(crate) fn create(&self) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for folder in [self.0.clone(), self.disks(), self.outputs()] {
            builder.create(folder)?;
        }
        Ok(())
    }

    /// From here on nobody misses the folder: it is not finished, or being deleted. A folder
    /// without this mark is never cleared away, whatever became of its record.
    pub(crate) fn mark_as_debris(&self) -> io::Result<()> {
        fs::write(self.debris(), "")
    }

    pub(crate) fn no_debris(&self) -> io::Result<()> {
        fs::remove_file(self.debris())
    }

    /// A folder with nothing in it but perhaps a lock is what a removal that was broken off at its
    /// end leaves.
    pub(crate) fn is_debris(&self) -> bool {
        let lock = self.lock_file();
        let is_empty = || {
            fs::read_dir(&self.0)
                .is_ok_and(|mut all| all.all(|entry| entry.is_ok_and(|one| one.path() == lock)))
        };
        self.debris().exists() || is_empty()
    }

    /// Removes the folder, the mark last, so that what a kill leaves is known for what it is.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let gone = |removed: io::Result<()>| match removed {
            // Somebody else clears away, too.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        let debris = self.debris();
        for entry in fs::read_dir(&self.0).into_iter().flatten() {
            let entry = entry?;
            let path = entry.path();
            gone(match entry.file_type()?.is_dir() {
                true if self.holds_layers(&path) => layers::remove_all(&path),
                true => fs::remove_dir_all(path),
                false if path == debris => Ok(()),
                false => fs::remove_file(path),
            })?;
        }
        gone(fs::remove_file(debris))?;
        match gone(fs::remove_dir(&self.0)) {
            // Whoever waits for the lock has made another one.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                gone(fs::remove_file(self.lock_file()))?;
                gone(fs::remove_dir(&self.0))
            }
            removed => removed,
        }
    }

    /// Whether there are VMs of other generations than this one.
    pub(crate) fn has_other_vms(&self, generation: u32) -> bool {
        self.vms().iter().any(|(other, _)| *other != generation)
    }

    fn debris(&self) -> PathBuf {
        self.0.join("debris")
    }

    /// The engine of this mark builds an environment in it: nobody else's, and gone with it.
    pub(crate) fn mark_as_build(&self, owner: &str) -> io::Result<()> {
        fs::write(self.build(), owner)
    }

    /// From here on it is a workspace like others.
    pub(crate) fn no_build(&self) -> io::Result<()> {
        fs::remove_file(self.build())
    }

    /// The mark of the engine that builds in it, if one does.
    pub(crate) fn builder(&self) -> Option<String> {
        fs::read_to_string(self.build()).ok()
    }

    fn build(&self) -> PathBuf {
        self.0.join("build")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub(crate) fn secrets(&self) -> PathBuf {
        self.0.join("secrets")
    }

    pub(crate) fn disks(&self) -> PathBuf {
        self.0.join("disk")
    }

    pub(crate) fn layer(&self, name: &str) -> PathBuf {
        self.disks().join(name)
    }

    /// Where a layer is made that is to be called so.
    pub(crate) fn merging(&self, name: &str) -> PathBuf {
        self.0.join(format!("{MERGING}{name}"))
    }

    /// Every place there is where a layer is made, or was.
    pub(crate) fn all_merging(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries
            .filter(|entry| is_merging(Some(&entry.file_name())))
            .map(|entry| entry.path())
            .collect()
    }

    fn holds_layers(&self, folder: &Path) -> bool {
        folder == self.disks() || is_merging(folder.file_name())
    }

    /// Another name of the environment's image, so that it stays whatever happens to the cache.
    pub(crate) fn image(&self) -> PathBuf {
        self.0.join("image.raw")
    }

    /// Where other names of the layers are that a kept environment has on its image.
    pub(crate) fn base(&self) -> PathBuf {
        self.0.join("base")
    }

    pub(crate) fn base_layer(&self, number: usize) -> PathBuf {
        self.base().join(format!("{number}.qcow2"))
    }

    /// All of them, bottom first.
    pub(crate) fn base_layers(&self) -> io::Result<Vec<PathBuf>> {
        let count = match fs::read_dir(self.base()) {
            Ok(entries) => entries.count(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok((0..count).map(|number| self.base_layer(number)).collect())
    }

    /// Where another name of the template's layer is, for the same reason.
    pub(crate) fn template(&self) -> PathBuf {
        self.0.join("template")
    }

    pub(crate) fn vm(&self, generation: u32) -> VmFolder {
        VmFolder::at(self.0.join(format!("{VM}{generation}")))
    }

    /// Every VM folder there is, with its generation.
    pub(crate) fn vms(&self) -> Vec<(u32, VmFolder)> {
        let entries = fs::read_dir(&self.0).into_iter().flatten();
        entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let generation = name.strip_prefix(VM)?.parse().ok()?;
                Some((generation, self.vm(generation)))
            })
            .collect()
    }

    pub(crate) fn outputs(&self) -> PathBuf {
        self.0.join("output")
    }

    /// Where a command's output lies once it has ended.
    pub(crate) fn output(&self, reset_count: u32, sequence: u32, stream: Stream) -> PathBuf {
        let kind = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let name = format!("{sequence:06}.{kind}");
        // As an older pyro called it, which counted anew after a reset.
        let older = self.outputs().join(format!("{reset_count}-{name}"));
        match older.exists() {
            true => older,
            false => self.outputs().join(name),
        }
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.0.join(TREE)
    }

    /// Where a reset makes the next tree, and leaves the last one.
    pub(crate) fn next_tree(&self) -> PathBuf {
        self.0.join(NEXT_TREE)
    }

    /// Where snapshots are, in place of disks.
    pub(crate) fn trees(&self) -> PathBuf {
        self.0.join(TREES)
    }

    pub(crate) fn baseline_tree(&self) -> PathBuf {
        self.0.join(BASELINE_TREE)
    }
}

fn is_merging(name: Option<&OsStr>) -> bool {
    name.is_some_and(|name| name.as_encoded_bytes().starts_with(MERGING.as_bytes()))
}

fn all(state_dir: &Path) -> PathBuf {
    state_dir.join("workspaces")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_that_an_older_pyro_kept_is_found() {
        let state = tempfile::tempdir().unwrap();
        let folder = WorkspaceFolder::of(state.path(), "0123456789ab");
        folder.create().unwrap();
        fs::write(folder.outputs().join("0-000001.stdout"), "").unwrap();
        let name = |reset_count, sequence| {
            let path = folder.output(reset_count, sequence, Stream::Stdout);
            path.file_name().unwrap().to_owned()
        };
        assert_eq!(name(0, 1), "0-000001.stdout");
        assert_eq!(name(1, 2), "000002.stdout");
    }

    #[test]
    fn what_a_removal_leaves_at_its_end_is_debris_and_nothing_else_is() {
        let state = tempfile::tempdir().unwrap();
        let folder = WorkspaceFolder::of(state.path(), "0123456789ab");
        fs::create_dir_all(folder.path()).unwrap();
        assert!(folder.is_debris());
        // Somebody waited for it.
        fs::write(folder.lock_file(), "").unwrap();
        assert!(folder.is_debris());
        fs::write(folder.secrets(), "").unwrap();
        assert!(!folder.is_debris());
        folder.mark_as_debris().unwrap();
        assert!(folder.is_debris());
        folder.remove().unwrap();
        assert!(!folder.path().exists());
    }
}
