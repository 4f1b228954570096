//! Stand-ins for tests: builder and packages without Debian, a monitor that cancels, tiny ELF files.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::builder::{Builder, Built, BuiltKernel};
use crate::runsc::{Fetched, RunscSource};
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
            packages: Some(packages),
            kernel: BuiltKernel::New {
                dir: kernel,
                release: "6.1.0-1-cloud-amd64".to_owned(),
            },
            source: "made-up://here".to_owned(),
            image: None,
        })
    }
}

/// A PATH with nothing on it, and an archive with one release of `runsc`, unless told otherwise.
pub(crate) struct FakeRunsc {
    folder: PathBuf,
    found: Mutex<Vec<PathBuf>>,
    version: Mutex<String>,
    pub(crate) fetches: AtomicUsize,
    /// How many others must wait for a fetch before it ends, and how many do.
    pub(crate) others: AtomicUsize,
    pub(crate) waiting: AtomicUsize,
    pub(crate) unprepared: Mutex<Option<CatalogError>>,
    pub(crate) fails_with: Mutex<Option<CatalogError>>,
}

impl FakeRunsc {
    fn below(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            found: Mutex::default(),
            version: Mutex::new("0.0~20240729.0".to_owned()),
            fetches: AtomicUsize::new(0),
            others: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            unprepared: Mutex::default(),
            fails_with: Mutex::default(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    /// Puts a `runsc` on PATH.
    pub(crate) fn on_path(&self, name: &str, version: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        script(&path, &format!("echo runsc version {version}"));
        self.found.lock().unwrap().push(path.clone());
        path
    }

    /// What the archive has from now on.
    pub(crate) fn publishes(&self, version: &str) {
        version.clone_into(&mut self.version.lock().unwrap());
    }
}

impl RunscSource for FakeRunsc {
    fn on_path(&self) -> Vec<PathBuf> {
        self.found.lock().unwrap().clone()
    }

    fn prepare(&self) -> Result<(), CatalogError> {
        self.unprepared.lock().unwrap().take().map_or(Ok(()), Err)
    }

    fn fetch(&self, folder: &Path, monitor: &dyn ProgressMonitor) -> Result<Fetched, CatalogError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let begun = Instant::now();
        while self.waiting.load(Ordering::SeqCst) < self.others.load(Ordering::SeqCst) {
            assert!(begun.elapsed() < PATIENCE, "they do not wait");
            std::thread::sleep(Duration::from_millis(1));
        }
        if monitor.cancelled() {
            return Err(CatalogError::Cancelled);
        }
        if let Some(error) = self.fails_with.lock().unwrap().take() {
            return Err(error);
        }
        let program = folder.join("runsc");
        let version = self.version.lock().unwrap().clone();
        script(&program, &format!("echo runsc version {version}"));
        let copyright = folder.join("copyright");
        fs::write(&copyright, "Apache-2.0").unwrap();
        Ok(Fetched {
            program,
            copyright,
            package: format!("{version}-1"),
            source: "made-up://here".to_owned(),
        })
    }
}

/// Says why a test is not played, and fails where all of them must be.
#[track_caller]
pub(crate) fn not_played(why: &str) {
    let must = std::env::var_os("PYRO_TESTS_PLAY_ALL").is_some_and(|value| !value.is_empty());
    assert!(
        !must,
        "not played although PYRO_TESTS_PLAY_ALL is set: {why}"
    );
    eprintln!("NOT PLAYED: {why}");
}

/// An executable shell script, in place of what was there.
pub(crate) fn script(path: &Path, body: &str) {
    let _ = fs::remove_file(path);
    fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A catalog on a temporary folder, whose builds take no time.
pub(crate) struct Rig {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) builder: Arc<FakeBuilder>,
    pub(crate) runsc: Arc<FakeRunsc>,
    pub(crate) catalog: Catalog,
}

pub(crate) fn rig_with(builder: FakeBuilder) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let builder = Arc::new(builder);
    let runsc = Arc::new(FakeRunsc::below(folder.path()));
    let catalog =
        Catalog::with_sources(folder.path().join("cache"), builder.clone(), runsc.clone());
    Rig {
        folder,
        builder,
        runsc,
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

/// An ELF file with two notes, of which the second is of that owner and type.
pub(crate) fn with_note(owner: &[u8; 4], kind: u8) -> Vec<u8> {
    let mut bytes = program(false);
    bytes[64] = 4;
    bytes[64 + 8] = 120;
    bytes[64 + 32] = 32;
    bytes.extend([4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    bytes.extend(b"abc\0");
    bytes.extend([4, 0, 0, 0, 0, 0, 0, 0, kind, 0, 0, 0]);
    bytes.extend(owner);
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
