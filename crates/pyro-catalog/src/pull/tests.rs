//! The cache, told through a builder that needs no Debian.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::*;
use crate::testing::{CancelAfter, FakeBuilder, left_over, rig, rig_with};
use crate::{NoMonitor, find};

fn spec() -> &'static EnvironmentSpec {
    find("debian:12").unwrap()
}

/// Makes a sealed file writable, as root or as its owner.
fn unsealed(path: &Path) -> fs::File {
    let mut permissions = fs::metadata(path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    fs::set_permissions(path, permissions).unwrap();
    fs::OpenOptions::new().write(true).open(path).unwrap()
}

#[test]
fn what_was_pulled_is_found_and_not_built_again() {
    let rig = rig();
    assert!(rig.catalog.installed(spec()).unwrap().is_none());
    assert!(!rig.catalog.cache_dir().exists(), "looking creates nothing");
    assert!(matches!(
        rig.catalog.verify(spec()),
        Err(CatalogError::NotInstalled { .. })
    ));

    let pulled = rig.catalog.pull(spec(), &NoMonitor).unwrap();
    assert_eq!(
        pulled.install_dir,
        rig.catalog.cache_dir().join("linux-x86_64/debian_12-4.1.0")
    );
    assert_eq!(pulled.virtual_size, 1 << 30);
    assert_eq!(pulled.source, "made-up://here");
    assert!(pulled.kernel.image.ends_with("vmlinuz") && pulled.kernel.image.exists());

    let found = rig.catalog.ensure(spec(), &NoMonitor).unwrap();
    assert_eq!(found.rootfs_digest, pulled.rootfs_digest);
    rig.catalog.pull(spec(), &NoMonitor).unwrap();
    rig.catalog.verify(spec()).unwrap();
    assert_eq!(rig.builder.count(), 1);
    assert!(left_over(&rig.catalog).is_empty());
}

#[test]
fn two_environments_share_one_kernel() {
    let rig = rig();
    let one = rig.catalog.ensure(spec(), &NoMonitor).unwrap();
    let two = rig
        .catalog
        .ensure(find("debian:12-base").unwrap(), &NoMonitor)
        .unwrap();
    assert_eq!(one.kernel, two.kernel);
    assert_ne!(one.rootfs_digest, two.rootfs_digest);

    // The same release built anew is another kernel, and the first stays.
    "new".clone_into(&mut rig.builder.kernel.lock().unwrap());
    let three = rig
        .catalog
        .ensure(find("debian:12-build").unwrap(), &NoMonitor)
        .unwrap();
    assert_eq!(three.kernel.release, one.kernel.release);
    assert_ne!(three.kernel, one.kernel);
    rig.catalog.verify(spec()).unwrap();
}

#[test]
fn an_installed_environment_needs_no_writing() {
    let rig = rig();
    rig.catalog.ensure(spec(), &NoMonitor).unwrap();
    fs::remove_file(rig.catalog.lock_path(&spec().subject())).unwrap();
    let before = fs::metadata(rig.catalog.platform_dir())
        .unwrap()
        .modified()
        .unwrap();
    rig.catalog.ensure(spec(), &NoMonitor).unwrap();
    rig.catalog.pull(spec(), &NoMonitor).unwrap();
    assert!(!rig.catalog.lock_path(&spec().subject()).exists());
    assert_eq!(
        fs::metadata(rig.catalog.platform_dir())
            .unwrap()
            .modified()
            .unwrap(),
        before
    );
}

#[test]
fn a_truncated_image_is_noticed_at_once_and_built_again() {
    let rig = rig();
    let first = rig.catalog.ensure(spec(), &NoMonitor).unwrap();
    unsealed(&first.rootfs).set_len(12_345).unwrap();
    match rig.catalog.installed(spec()).unwrap_err() {
        CatalogError::Damaged {
            path,
            expected,
            found,
        } => {
            assert_eq!(path, first.rootfs);
            assert_eq!((&*expected, &*found), ("1073741824 bytes", "12345 bytes"));
        }
        other => panic!("{other}"),
    }
    let again = rig.catalog.ensure(spec(), &NoMonitor).unwrap();
    assert_eq!(again.rootfs_digest, first.rootfs_digest);
    assert_eq!(rig.builder.count(), 2);
    assert!(left_over(&rig.catalog).is_empty());
}

#[test]
fn a_changed_byte_is_noticed_by_a_pull_even_under_the_same_stamp() {
    let rig = rig();
    let first = rig.catalog.ensure(spec(), &NoMonitor).unwrap();
    let time = fs::metadata(&first.rootfs).unwrap().modified().unwrap();
    let file = unsealed(&first.rootfs);
    file.write_all_at(b"D", 70_000).unwrap();
    file.set_modified(time).unwrap();

    rig.catalog.ensure(spec(), &NoMonitor).unwrap();
    assert_eq!(rig.builder.count(), 1, "stamps are believed");
    assert!(matches!(
        rig.catalog.verify(spec()),
        Err(CatalogError::Damaged { .. })
    ));
    rig.catalog.pull(spec(), &NoMonitor).unwrap();
    assert_eq!(rig.builder.count(), 2);
    rig.catalog.verify(spec()).unwrap();
}

#[test]
fn a_copied_cache_is_accepted_by_its_digests() {
    let rig = rig();
    let first = rig.catalog.ensure(spec(), &NoMonitor).unwrap();
    for path in [&first.rootfs, &first.kernel.image] {
        let copy = path.with_extension("copy");
        fs::copy(path, &copy).unwrap();
        fs::rename(&copy, path).unwrap();
    }
    assert!(matches!(
        rig.catalog.installed(spec()),
        Err(CatalogError::Damaged { .. })
    ));
    rig.catalog.ensure(spec(), &NoMonitor).unwrap();
    assert!(rig.catalog.installed(spec()).unwrap().is_some());
    assert_eq!(rig.builder.count(), 1);
}

#[test]
fn a_lost_module_or_manifest_means_damaged() {
    let rig = rig();
    let installed = rig.catalog.ensure(spec(), &NoMonitor).unwrap();
    for path in [
        installed.kernel.modules_dir.join("b-c.ko"),
        installed.manifest_path.clone(),
        installed.rootfs.clone(),
    ] {
        fs::remove_file(&path).unwrap();
        assert!(matches!(
            rig.catalog.installed(spec()),
            Err(CatalogError::Damaged { .. })
        ));
        rig.catalog.ensure(spec(), &NoMonitor).unwrap();
        assert!(path.exists());
    }
    assert_eq!(rig.builder.count(), 4);
}

#[test]
fn a_newer_manifest_is_not_overwritten() {
    let rig = rig();
    let installed = rig.catalog.ensure(spec(), &NoMonitor).unwrap();
    fs::write(&installed.manifest_path, r#"{"schema_version": 2}"#).unwrap();
    let error = rig.catalog.pull(spec(), &NoMonitor).unwrap_err();
    assert!(
        matches!(
            error,
            CatalogError::NewerManifest {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(rig.catalog.prune(&|_| false).unwrap().deleted.len(), 2);
    rig.catalog.pull(spec(), &NoMonitor).unwrap();
}

/// Tells the builder, once, that somebody waits for it.
struct Waits<'a> {
    builder: &'a FakeBuilder,
    told: Cell<bool>,
}

impl ProgressMonitor for Waits<'_> {
    fn progress(&self, step: &Step) {
        if step.phase == Phase::Waiting && !self.told.replace(true) {
            self.builder.waiting.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn cancelled(&self) -> bool {
        false
    }
}

#[test]
fn four_at_once_build_once() {
    let rig = rig_with(FakeBuilder {
        others: 3,
        ..FakeBuilder::default()
    });
    let pull = || {
        let monitor = Waits {
            builder: &rig.builder,
            told: Cell::new(false),
        };
        let digest = rig.catalog.pull(spec(), &monitor).unwrap().rootfs_digest;
        (digest, monitor.told.get())
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(pull)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(rig.builder.count(), 1);
    assert!(results.iter().all(|(digest, _)| *digest == results[0].0));
    assert_eq!(results.iter().filter(|(_, waited)| *waited).count(), 3);
}

#[test]
fn a_waiting_pull_can_be_cancelled() {
    let rig = rig();
    fs::create_dir_all(rig.catalog.platform_dir()).unwrap();
    let _held = Lock::try_acquire(&rig.catalog.lock_path(&spec().subject()))
        .unwrap()
        .unwrap();
    let start = Instant::now();
    let error = rig
        .catalog
        .ensure(spec(), &CancelAfter::calls(1))
        .unwrap_err();
    assert!(matches!(error, CatalogError::Cancelled));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_failed_or_cancelled_build_leaves_nothing_and_the_next_one_works() {
    let rig = rig();
    *rig.builder.fails_with.lock().unwrap() = Some(failure("E: no route to host"));
    let error = rig.catalog.pull(spec(), &NoMonitor).unwrap_err();
    assert!(matches!(error, CatalogError::BuildFailed { .. }), "{error}");
    assert!(left_over(&rig.catalog).is_empty());

    // At each of the places where a pull asks whether it is still wanted.
    for calls in 0..4 {
        let error = rig
            .catalog
            .pull(spec(), &CancelAfter::calls(calls))
            .unwrap_err();
        assert!(matches!(error, CatalogError::Cancelled), "{calls}: {error}");
        assert!(left_over(&rig.catalog).is_empty());
        assert!(rig.catalog.installed(spec()).unwrap().is_none());
    }
    rig.catalog.pull(spec(), &NoMonitor).unwrap();
}

#[test]
fn what_a_killed_pull_left_goes_with_the_next_one() {
    let rig = rig();
    let dead = rig
        .catalog
        .platform_dir()
        .join(".partial-debian_12-1-00000000/build/root");
    fs::create_dir_all(&dead).unwrap();
    rig.catalog.pull(spec(), &NoMonitor).unwrap();
    assert!(left_over(&rig.catalog).is_empty());
}

#[test]
fn a_full_disk_is_named_whoever_reports_it() {
    let rig = rig();
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    for error in [
        failure("mke2fs: No space left on device while populating file system"),
        failure("E: You don't have enough free space in /var/cache/apt/archives/."),
        CatalogError::writing("write", rig.catalog.cache_dir())(full),
    ] {
        *rig.builder.fails_with.lock().unwrap() = Some(error);
        let error = rig.catalog.pull(spec(), &NoMonitor).unwrap_err();
        assert!(matches!(error, CatalogError::NoSpace { .. }), "{error}");
        assert!(left_over(&rig.catalog).is_empty());
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    // A file where a folder should be stands for read-only: the tests may run as root.
    let rig = rig();
    fs::write(rig.catalog.cache_dir(), "").unwrap();
    assert!(rig.catalog.pull(spec(), &NoMonitor).is_err());
    let denied = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
    let error = CatalogError::writing("create", rig.catalog.cache_dir())(denied);
    assert!(matches!(error, CatalogError::CacheNotWritable { .. }));
}

fn failure(line: &str) -> CatalogError {
    CatalogError::BuildFailed {
        environment: "debian:12",
        step: "downloading packages".to_owned(),
        log_tail: vec![line.to_owned()],
    }
}
