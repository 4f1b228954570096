//! Which `runsc` is taken, and how one gets into the cache, without Debian and without PATH.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;

use super::*;
use crate::testing::{CancelAfter, FakeRunsc, Rig, left_over, rig, script};

fn take(rig: &Rig) -> Runsc {
    rig.catalog.runsc(None, &NoMonitor).unwrap()
}

fn packages(rig: &Rig) -> usize {
    let entries = fs::read_dir(rig.catalog.platform_dir()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with(PACKAGE_PREFIX))
        .count()
}

fn failure(line: &str) -> CatalogError {
    CatalogError::FetchFailed {
        package: "runsc",
        step: "reading package lists".to_owned(),
        log_tail: vec![line.to_owned()],
    }
}

#[test]
fn without_any_one_is_fetched_once() {
    let rig = rig();
    assert_eq!(rig.catalog.installed_runsc(None).unwrap(), None);
    assert!(!rig.catalog.cache_dir().exists(), "looking creates nothing");

    let fetched = take(&rig);
    assert_eq!(fetched.version, "0.0~20240729.0");
    assert_eq!(fetched.released, "2024-07-29");
    assert_eq!(fetched.origin, RunscOrigin::Package);
    let dir = fetched.path.parent().unwrap();
    let name = dir.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("runsc-20240729.0-"), "{name}");
    let mode = |name: &str| dir.join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("runsc"), mode("copyright")), (0o555, 0o444));
    let manifest = fs::read_to_string(dir.join("runsc.json")).unwrap();
    for words in ["0.0~20240729.0-1", "made-up://here", "\"digest\""] {
        assert!(manifest.contains(words), "{manifest}");
    }

    assert_eq!(take(&rig), fetched);
    assert_eq!(rig.catalog.installed_runsc(None).unwrap(), Some(fetched));
    assert_eq!(rig.runsc.count(), 1);
    assert!(left_over(&rig.catalog).is_empty());
}

#[test]
fn what_is_known_starts_nothing_and_writes_nothing() {
    let rig = rig();
    let package = take(&rig);
    let ours = rig.runsc.on_path("bin/runsc", "release-20230801.0");
    take(&rig);
    // Were they started now, they would not answer.
    for path in [&ours, &package.path] {
        let modified = fs::metadata(path).unwrap().modified().unwrap();
        let length = fs::metadata(path).unwrap().len();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(0).unwrap();
        file.set_len(length).unwrap();
        file.set_modified(modified).unwrap();
    }
    fs::remove_file(rig.catalog.runsc_lock_path()).unwrap();
    let folders = [rig.catalog.platform_dir(), rig.catalog.runsc_answers_dir()];
    let times = || {
        folders
            .clone()
            .map(|path| fs::metadata(path).unwrap().modified().unwrap())
    };
    let before = times();
    assert_eq!(take(&rig), package);
    assert_eq!(times(), before);
}

#[test]
fn the_latest_release_wins_wherever_it_is() {
    let rig = rig();
    let fetched = take(&rig);
    let origin = |version: &str| {
        rig.runsc.on_path("bin/runsc", version);
        let taken = take(&rig);
        assert_eq!(rig.catalog.installed_runsc(None).unwrap().unwrap(), taken);
        assert_eq!(
            taken.path == fetched.path,
            taken.origin == RunscOrigin::Package
        );
        taken.origin
    };
    assert_eq!(origin("0.0~20221219.0"), RunscOrigin::Package);
    assert_eq!(origin("release-20240723.0"), RunscOrigin::Package);
    assert_eq!(origin("VERSION_MISSING"), RunscOrigin::Package);
    assert_eq!(origin("0.0~20240729.0"), RunscOrigin::OnPath);
    assert_eq!(origin("release-20260810.0"), RunscOrigin::OnPath);

    // Also of two on PATH, whichever comes first.
    rig.runsc.on_path("other/runsc", "release-20260820.0");
    rig.runsc.on_path("last/runsc", "release-20260101.0");
    assert_eq!(take(&rig).version, "release-20260820.0");
    assert_eq!(rig.runsc.count(), 1);
}

#[test]
fn one_on_path_that_can_be_used_makes_a_fetch_needless_and_one_that_is_too_old_does_not() {
    let rig = rig();
    let path = rig.runsc.on_path("bin/runsc", "release-20230801.0");
    let taken = take(&rig);
    assert_eq!(taken.path, fs::canonicalize(&path).unwrap());
    assert_eq!(taken.origin, RunscOrigin::OnPath);
    assert_eq!(rig.runsc.count(), 0);

    rig.runsc.on_path("bin/runsc", "0.0~20221219.0");
    assert_eq!(rig.catalog.installed_runsc(None).unwrap(), None);
    assert_eq!(take(&rig).origin, RunscOrigin::Package);
    assert_eq!(rig.runsc.count(), 1);
}

#[test]
fn the_callers_choice_is_used_or_refused_and_never_replaced() {
    let rig = rig();
    rig.runsc.on_path("bin/runsc", "release-20260810.0");
    let chosen = rig.folder.path().join("chosen");
    script(&chosen, "echo runsc version release-20230801.0");
    let taken = rig.catalog.runsc(Some(&chosen), &NoMonitor).unwrap();
    assert_eq!(
        (&*taken.path, taken.origin),
        (&*chosen, RunscOrigin::Override)
    );
    let found = rig.catalog.installed_runsc(Some(&chosen)).unwrap();
    assert_eq!(found, Some(taken));

    script(&chosen, "echo runsc version 0.0~20221219.0");
    for error in [
        rig.catalog.runsc(Some(&chosen), &NoMonitor).unwrap_err(),
        rig.catalog.installed_runsc(Some(&chosen)).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(
            text.contains("chosen") && text.contains("systrap"),
            "{text}"
        );
        assert!(matches!(
            error,
            CatalogError::RunscUnusable {
                origin: RunscOrigin::Override,
                ..
            }
        ));
    }
    assert_eq!(rig.runsc.count(), 0);
}

#[test]
fn a_package_that_was_damaged_or_lost_is_fetched_again() {
    let rig = rig();
    let first = take(&rig);
    let dir = first.path.parent().unwrap();
    let damages: [&dyn Fn(); 4] = [
        &|| fs::remove_file(&first.path).unwrap(),
        &|| fs::write(dir.join("runsc.json"), "nonsense").unwrap(),
        &|| script(&first.path, "echo runsc version 0.0~20990729.0"),
        &|| fs::remove_dir_all(dir).unwrap(),
    ];
    for (number, damage) in damages.iter().enumerate() {
        damage();
        assert_eq!(rig.catalog.installed_runsc(None).unwrap(), None);
        assert_eq!(take(&rig), first);
        assert_eq!(rig.runsc.count(), number + 2);
        assert!(left_over(&rig.catalog).is_empty());
    }
    assert_eq!(packages(&rig), 1);
}

#[test]
fn a_copied_cache_is_accepted_by_its_digest() {
    let rig = rig();
    let first = take(&rig);
    let copy = first.path.with_extension("copy");
    fs::copy(&first.path, &copy).unwrap();
    fs::rename(&copy, &first.path).unwrap();
    assert_eq!(rig.catalog.installed_runsc(None).unwrap(), None);
    assert_eq!(take(&rig), first);
    assert_eq!(rig.runsc.count(), 1);
    assert!(rig.catalog.installed_runsc(None).unwrap().is_some());
}

#[test]
fn a_newer_pyros_package_is_passed_over_and_not_overwritten() {
    let rig = rig();
    let manifest = take(&rig).path.with_file_name("runsc.json");
    fs::write(&manifest, r#"{"schema_version": 2}"#).unwrap();
    let error = rig.catalog.runsc(None, &NoMonitor).unwrap_err();
    assert!(
        matches!(error, CatalogError::NewerManifest { found: 2, .. }),
        "{error}"
    );
    rig.runsc.publishes("0.0~20250101.0");
    assert_eq!(take(&rig).released, "2025-01-01");
}

#[test]
fn a_pull_asks_the_archive_whatever_is_there() {
    let rig = rig();
    let first = take(&rig);
    assert_eq!(rig.catalog.pull_runsc(&NoMonitor).unwrap(), first);
    rig.runsc.publishes("0.0~20260101.0");
    let second = rig.catalog.pull_runsc(&NoMonitor).unwrap();
    assert_eq!(second.released, "2026-01-01");
    assert_eq!(take(&rig), second);
    assert_eq!((rig.runsc.count(), packages(&rig)), (3, 2));
}

/// Tells the archive, once, that somebody waits for it.
struct Waits<'a> {
    archive: &'a FakeRunsc,
    told: Cell<bool>,
}

impl ProgressMonitor for Waits<'_> {
    fn progress(&self, step: &Step) {
        if step.phase == Phase::Waiting && !self.told.replace(true) {
            self.archive.waiting.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn cancelled(&self) -> bool {
        false
    }
}

#[test]
fn four_at_once_fetch_once() {
    let rig = rig();
    rig.runsc.others.store(3, Ordering::SeqCst);
    let fetch = || {
        let monitor = Waits {
            archive: &rig.runsc,
            told: Cell::new(false),
        };
        rig.catalog.runsc(None, &monitor).unwrap()
    };
    let found: Vec<Runsc> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(fetch)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(rig.runsc.count(), 1);
    assert!(found.iter().all(|one| *one == found[0]));
}

#[test]
fn a_failed_or_cancelled_fetch_leaves_nothing_and_the_next_one_works() {
    let rig = rig();
    *rig.runsc.fails_with.lock().unwrap() = Some(failure("E: no route to host"));
    let error = rig.catalog.runsc(None, &NoMonitor).unwrap_err();
    assert!(matches!(error, CatalogError::FetchFailed { .. }), "{error}");
    assert!(error.to_string().contains("no route to host"));

    // At each of the places where a fetch asks whether it is still wanted.
    let mut calls = 0;
    while let Err(error) = rig.catalog.runsc(None, &CancelAfter::calls(calls)) {
        assert!(matches!(error, CatalogError::Cancelled), "{calls}: {error}");
        assert!(left_over(&rig.catalog).is_empty());
        assert_eq!(packages(&rig), 0);
        calls += 1;
    }
    assert!(calls > 3, "{calls}");
    assert!(left_over(&rig.catalog).is_empty());
}

#[test]
fn a_waiting_fetch_can_be_cancelled() {
    let rig = rig();
    fs::create_dir_all(rig.catalog.platform_dir()).unwrap();
    let _held = Lock::try_acquire(&rig.catalog.runsc_lock_path())
        .unwrap()
        .unwrap();
    let error = rig.catalog.runsc(None, &CancelAfter::calls(1)).unwrap_err();
    assert!(matches!(error, CatalogError::Cancelled), "{error}");
}

#[test]
fn what_a_killed_fetch_left_goes_with_the_next_one() {
    let rig = rig();
    let dead = rig.catalog.platform_dir().join(".partial-runsc-1-00000000");
    fs::create_dir_all(dead.join("fetch")).unwrap();
    take(&rig);
    assert!(left_over(&rig.catalog).is_empty());
}

#[test]
fn a_full_disk_and_a_missing_tool_are_named() {
    let rig = rig();
    let full = io::Error::from(io::ErrorKind::StorageFull);
    for error in [
        failure("dpkg-deb: error: failed to write: No space left on device"),
        failure("E: You don't have enough free space in /x/."),
        CatalogError::writing("write", rig.catalog.cache_dir())(full),
    ] {
        *rig.runsc.fails_with.lock().unwrap() = Some(error);
        let error = rig.catalog.runsc(None, &NoMonitor).unwrap_err();
        assert!(matches!(error, CatalogError::NoSpace { .. }), "{error}");
        assert!(left_over(&rig.catalog).is_empty());
    }
    *rig.runsc.unprepared.lock().unwrap() = Some(CatalogError::ToolMissing {
        tool: "apt-get",
        package: "apt",
        needed_to: "fetch gVisor's `runsc`",
        looked_in: Vec::new(),
    });
    let error = rig.catalog.runsc(None, &NoMonitor).unwrap_err();
    assert!(matches!(error, CatalogError::ToolMissing { .. }), "{error}");
}

#[test]
fn a_package_that_cannot_be_used_here_is_not_kept() {
    let rig = rig();
    rig.runsc.publishes("0.0~20221219.0");
    match rig.catalog.runsc(None, &NoMonitor).unwrap_err() {
        CatalogError::RunscUnusable { origin, reason, .. } => {
            assert_eq!(origin, RunscOrigin::Package);
            assert!(
                reason.contains("0.0~20221219.0-1 of made-up://here"),
                "{reason}"
            );
        }
        other => panic!("{other}"),
    }
    assert_eq!(packages(&rig), 0);
    assert!(left_over(&rig.catalog).is_empty());
}
