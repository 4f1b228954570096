//! Stand-ins for tests: a builder without Debian, a monitor that cancels, tiny ELF files.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::builder::{Builder, Built};
use crate::{Catalog, CatalogError, EnvironmentSpec, ProgressMonitor, Step};

/// Longer than anything here takes on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Builds a small image at once, or does as it is told.
#[derive(Default)]
pub(crate) struct FakeBuilder {
    pub(crate) builds: AtomicUsize,
    /// How many others must wait for a build before it ends, and how many do.
    pub(crate) others: usize,
    pub(crate) waiting: AtomicUsize,
    pub(crate) fails_with: Mutex<Option<CatalogError>>,
    /// Part of the kernel's bytes.
    pub(crate) kernel: Mutex<String>,
}

impl FakeBuilder {
    pub(crate) fn count(&self) -> usize {
        self.builds.load(Ordering::SeqCst)
    }
}

impl Builder for FakeBuilder {
    fn prepare(&self) -> Result<(), CatalogError> {
        Ok(())
    }

    fn build(
        &self,
        spec: &'static EnvironmentSpec,
        folder: &Path,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Built, CatalogError> {
        self.builds.fetch_add(1, Ordering::SeqCst);
        fs::create_dir_all(folder.join("root/etc")).unwrap();
        let begun = Instant::now();
        while self.waiting.load(Ordering::SeqCst) < self.others {
            assert!(begun.elapsed() < PATIENCE, "they do not wait");
            std::thread::sleep(Duration::from_millis(1));
        }
        if monitor.cancelled() {
            return Err(CatalogError::Cancelled);
        }
        if let Some(error) = self.fails_with.lock().unwrap().take() {
            return Err(error);
        }
        let rootfs = folder.join("rootfs.ext4");
        let image = fs::File::create_new(&rootfs).unwrap();
        image.set_len(1 << 30).unwrap();
        image.write_all_at(spec.name.as_bytes(), 70_000).unwrap();
        let kernel = folder.join("kernel");
        fs::create_dir_all(kernel.join("modules")).unwrap();
        fs::write(kernel.join("vmlinuz"), &*self.kernel.lock().unwrap()).unwrap();
        fs::write(kernel.join("modules/order"), "a.ko\nb-c.ko\n").unwrap();
        fs::write(kernel.join("modules/a.ko"), "module a").unwrap();
        fs::write(kernel.join("modules/b-c.ko"), "module b").unwrap();
        let packages = folder.join("packages.txt");
        fs::write(&packages, "bash 5.2\n").unwrap();
        Ok(Built {
            rootfs,
            packages,
            kernel,
            kernel_release: "6.1.0-1-cloud-amd64".to_owned(),
            source: "made-up://here".to_owned(),
        })
    }
}

/// A catalog on a temporary folder, whose builds take no time.
pub(crate) struct Rig {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) builder: Arc<FakeBuilder>,
    pub(crate) catalog: Catalog,
}

pub(crate) fn rig_with(builder: FakeBuilder) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let builder = Arc::new(builder);
    let catalog = Catalog::with_builder(folder.path().join("cache"), builder.clone());
    Rig {
        folder,
        builder,
        catalog,
    }
}

pub(crate) fn rig() -> Rig {
    rig_with(FakeBuilder::default())
}

/// The names in the platform folder that a user would call left over.
pub(crate) fn left_over(catalog: &Catalog) -> Vec<String> {
    let entries = fs::read_dir(catalog.platform_dir())
        .into_iter()
        .flatten()
        .flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(".partial") || name.starts_with(".tmp"))
        .collect()
}

/// Cancels from the n-th question on, and remembers the steps.
#[derive(Default)]
pub(crate) struct CancelAfter {
    left: Cell<usize>,
    pub(crate) steps: std::cell::RefCell<Vec<Step>>,
}

impl CancelAfter {
    pub(crate) fn calls(calls: usize) -> Self {
        Self {
            left: Cell::new(calls),
            ..Self::default()
        }
    }
}

impl ProgressMonitor for CancelAfter {
    fn progress(&self, step: &Step) {
        self.steps.borrow_mut().push(step.clone());
    }

    fn cancelled(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left == 0
    }
}

fn header() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes
}

/// An ELF file with one program header, which asks for an interpreter or does not.
pub(crate) fn program(interpreter: bool) -> Vec<u8> {
    let mut bytes = header();
    bytes[32] = 64;
    bytes[54] = 56;
    bytes[56] = 1;
    bytes.extend([0; 56]);
    bytes[64] = if interpreter { 3 } else { 1 };
    bytes
}

/// An ELF file with a `.modinfo` section.
pub(crate) fn module(info: &str) -> Vec<u8> {
    let names = b"\0.modinfo\0";
    let mut bytes = header();
    let info_at = bytes.len();
    bytes.extend(info.as_bytes());
    let names_at = bytes.len();
    bytes.extend(names);
    let table = bytes.len();
    for (name, at, size) in [(1, info_at, info.len()), (0, names_at, names.len())] {
        let mut section = [0; 64];
        section[0] = name;
        section[24..32].copy_from_slice(&(at as u64).to_le_bytes());
        section[32..40].copy_from_slice(&(size as u64).to_le_bytes());
        bytes.extend(section);
    }
    bytes[40..48].copy_from_slice(&(table as u64).to_le_bytes());
    bytes[58] = 64;
    bytes[60] = 2;
    bytes[62] = 1;
    bytes
}
