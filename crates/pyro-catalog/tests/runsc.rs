//! Fetches Debian's `runsc` for real, where this host reaches a mirror.

use std::process::Command;

use pyro_catalog::{Catalog, CatalogError, NoMonitor, RunscOrigin};

#[test]
fn debians_package_is_fetched_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(folder.path());
    let fetched = match catalog.pull_runsc(&NoMonitor) {
        Err(CatalogError::FetchFailed { log_tail, .. }) if is_unreachable(&log_tail) => {
            let said = log_tail.join("; ");
            return not_played(&format!("this host reaches no Debian mirror: {said}"));
        }
        fetched => fetched.unwrap(),
    };
    assert_eq!(fetched.origin, RunscOrigin::Package);
    assert!(&*fetched.released >= "2024-07-29", "{fetched:?}");

    let says = |argument: &str| {
        let output = Command::new(&fetched.path).arg(argument).output().unwrap();
        let streams = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&streams).into_owned()
    };
    let said = says("--version");
    assert!(said.contains(&fetched.version), "{said}");
    let said = says("flags");
    assert!(said.contains("systrap (default)"), "{said}");

    // The host may have a later one of its own.
    let found = catalog.installed_runsc(None).unwrap().unwrap();
    assert!(found.released >= fetched.released, "{found:?}");
    let chosen = catalog.runsc(Some(&fetched.path), &NoMonitor).unwrap();
    assert_eq!(chosen.version, fetched.version);
    assert!(catalog.prune(&|_| false).unwrap().deleted.is_empty());
    assert!(fetched.path.exists());
}

/// Whether apt said so, and not that something is wrong with what it got.
fn is_unreachable(log: &[String]) -> bool {
    let words = ["Could not resolve", "Could not connect", "timed out"];
    log.iter()
        .any(|line| words.iter().any(|words| line.contains(words)))
}

/// Says why a test is not played, and fails where all of them must be.
#[track_caller]
fn not_played(why: &str) {
    let must = std::env::var_os("PYRO_TESTS_PLAY_ALL").is_some_and(|value| !value.is_empty());
    assert!(
        !must,
        "not played although PYRO_TESTS_PLAY_ALL is set: {why}"
    );
    eprintln!("NOT PLAYED: {why}");
}
