use std::fs::{self, File};

use super::*;
use crate::testing::{Rig, left_over, rig};
use crate::{NoMonitor, find};

fn nothing(_: &Path) -> bool {
    false
}

/// What a workspace of `debian:12` would be kept as.
fn parts(rig: &Rig) -> Parts {
    let installed = rig
        .catalog
        .ensure(find("debian:12").unwrap(), &NoMonitor)
        .unwrap();
    let layer = rig.folder.path().join("layer");
    fs::write(&layer, "what a guest has written").unwrap();
    Parts {
        layers: vec![Part::at(layer)],
        source: "workspace 0123".to_owned(),
        ..rig.catalog.parts(&installed).unwrap()
    }
}

fn keep(rig: &Rig, name: &KeptName, parts: &Parts) -> Result<Installed, CatalogError> {
    let keeping = rig.catalog.keeping(name, false, &NoMonitor)?;
    keeping.take(parts.clone())?.publish(&NoMonitor)
}

fn name(text: &str) -> KeptName {
    KeptName::parse(text).unwrap()
}

#[test]
fn names_that_could_mean_something_else_are_refused() {
    for good in [
        "app",
        "a",
        "0",
        "my.app",
        "team/app",
        "a/b-c/d_e:1.0",
        "python:3.13",
        "app:V1_x",
    ] {
        assert_eq!(KeptName::parse(good).unwrap().as_str(), good);
    }
    let why = |text: &str| match KeptName::parse(text) {
        Err(CatalogError::BadKeptName { why, .. }) => why,
        other => panic!("{text}: {other:?}"),
    };
    assert!(why("").contains("empty"));
    assert!(why(&"x".repeat(129)).contains("longer"));
    for registry in [
        "ghcr.io/app",
        "localhost/app",
        "host:5000/app:1",
        ".build/x",
        "../a",
    ] {
        assert!(why(registry).contains("registry"), "{registry}");
    }
    for transport in ["oci:app", "docker-archive:x", "oci-archive:x"] {
        assert!(why(transport).contains("where an image is"), "{transport}");
    }
    for part in ["App", "-a", "a//b", "/a", "a/", "a b", "a\n", "ä", "a@b"] {
        assert!(why(part).contains("each part"), "{part}");
    }
    assert!(why("app:").contains("a tag"));
    assert!(why("app:a b").contains("a tag"));
    for own in ["debian:12", "debian", "debian:mine"] {
        assert!(why(own).contains("pyro's own"), "{own}");
    }
    assert!(KeptName::hidden("0f-1").unwrap().is_hidden());
    assert!(KeptName::hidden("../x").is_err() && KeptName::hidden("").is_err());
}

#[test]
fn a_kept_environment_is_one_like_the_others_and_nothing_is_copied() {
    let rig = rig();
    let parts = parts(&rig);
    assert!(rig.catalog.find("app").unwrap().is_image());
    let kept = keep(&rig, &name("app"), &parts).unwrap();
    let spec = rig.catalog.find("app").unwrap();
    assert!(spec.is_kept() && !spec.is_image() && !spec.is_hidden());
    for slip in ["ap", "pap", "apq", "aapp"] {
        let told = rig.catalog.find(slip);
        let Err(CatalogError::UnknownEnvironment { nearest, .. }) = told else {
            panic!("{told:?}");
        };
        assert_eq!(nearest, Some("app"), "{slip}");
    }
    assert!(rig.catalog.find("apple").unwrap().is_image());
    assert_eq!(rig.builder.count(), 1);
    let inode = |path: &Path| Stamp::of(path).unwrap().inode;
    assert_eq!(inode(&kept.rootfs), inode(&parts.rootfs.path));
    assert_eq!(inode(&kept.layers[0]), inode(&parts.layers[0].path));
    let base = rig.catalog.installed(find("debian:12").unwrap()).unwrap();
    assert_ne!(kept.rootfs_digest, base.unwrap().rootfs_digest);
    assert_eq!(kept.source, "workspace 0123");
    assert!(rig.catalog.all().contains(&spec));
    for again in [
        rig.catalog.ensure(spec, &NoMonitor).unwrap(),
        rig.catalog.pull(spec, &NoMonitor).unwrap(),
        rig.catalog.verify(spec).unwrap(),
    ] {
        assert_eq!(again.rootfs_digest, kept.rootfs_digest);
        assert_eq!(again.layers, kept.layers);
    }
    // Its parts are known with their digests, for what is kept upon it.
    let again = rig.catalog.parts(&kept).unwrap();
    assert!(again.layers[0].digest.is_some() && again.rootfs.digest == parts.rootfs.digest);
    assert_eq!(left_over(&rig.catalog), Vec::<String>::new());
}

#[test]
fn a_name_is_given_once_unless_it_is_to_be_replaced() {
    let rig = rig();
    let parts = parts(&rig);
    let first = keep(&rig, &name("app"), &parts).unwrap();
    let refused = keep(&rig, &name("app"), &parts).unwrap_err();
    assert!(matches!(refused, CatalogError::NameTaken { name: "app" }));
    fs::write(rig.folder.path().join("other"), "something else").unwrap();
    let others = Parts {
        layers: vec![Part::at(rig.folder.path().join("other"))],
        ..parts.clone()
    };
    // One that is given up leaves what there is.
    let keeping = rig.catalog.keeping(&name("app"), true, &NoMonitor).unwrap();
    drop(keeping.take(others.clone()).unwrap());
    let spec = rig.catalog.find("app").unwrap();
    let found = rig.catalog.installed(spec).unwrap().unwrap();
    assert_eq!(found.rootfs_digest, first.rootfs_digest);
    let keeping = rig.catalog.keeping(&name("app"), true, &NoMonitor).unwrap();
    let second = keeping.take(others).unwrap().publish(&NoMonitor).unwrap();
    assert_ne!(second.rootfs_digest, first.rootfs_digest);
    let hidden = KeptName::hidden("step-1").unwrap();
    for _ in 0..2 {
        keep(&rig, &hidden, &parts).unwrap();
    }
    assert_eq!(left_over(&rig.catalog), Vec::<String>::new());
}

#[test]
fn what_was_changed_is_told_and_what_cannot_be_had_again_is_not_built() {
    let rig = rig();
    let parts = parts(&rig);
    let kept = keep(&rig, &name("app"), &parts).unwrap();
    let layer = &kept.layers[0];
    // As after a copy of the cache.
    let file = File::options().write(true).open(layer).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert!(matches!(
        rig.catalog.installed(kept.spec),
        Err(CatalogError::Damaged { .. })
    ));
    rig.catalog.ensure(kept.spec, &NoMonitor).unwrap();
    assert!(rig.catalog.installed(kept.spec).unwrap().is_some());

    fs::write(layer, "what a guest has wrItten").unwrap();
    for failed in [
        rig.catalog.verify(kept.spec).map(drop),
        rig.catalog.ensure(kept.spec, &NoMonitor).map(drop),
        rig.catalog.pull(kept.spec, &NoMonitor).map(drop),
    ] {
        assert!(
            matches!(failed, Err(CatalogError::Damaged { .. })),
            "{failed:?}"
        );
    }
    assert!(rig.catalog.prune(&nothing).unwrap().deleted.is_empty());
    assert_eq!(rig.builder.count(), 1);
    rig.catalog.delete_environment(kept.spec).unwrap();
    let gone = rig.catalog.ensure(kept.spec, &NoMonitor).unwrap_err();
    assert!(
        matches!(gone, CatalogError::NotKept { name: "app" }),
        "{gone:?}"
    );
    assert!(rig.catalog.find("app").unwrap().is_image());
    assert!(rig.catalog.find_recorded("app").unwrap().is_kept());
}

#[test]
fn a_prune_takes_what_nobody_has_named_and_the_kernel_stays_with_the_rest() {
    let rig = rig();
    let parts = parts(&rig);
    let kept = keep(&rig, &name("team/app:1"), &parts).unwrap();
    let hidden = keep(&rig, &KeptName::hidden("step").unwrap(), &parts).unwrap();
    assert_eq!(rig.catalog.hidden(), [hidden.spec]);
    assert!(!rig.catalog.all().contains(&hidden.spec));
    let in_use = |path: &Path| path == hidden.install_dir;
    assert!(rig.catalog.prune(&in_use).unwrap().deleted.is_empty());
    let pruned = rig.catalog.prune(&nothing).unwrap();
    assert_eq!(pruned.deleted, [hidden.spec.dir_name()]);
    rig.catalog
        .delete_environment(find("debian:12").unwrap())
        .unwrap();
    assert!(rig.catalog.prune(&nothing).unwrap().deleted.is_empty());
    rig.catalog.verify(kept.spec).unwrap();
    let kernel = rig.catalog.kernel_at(&kept.kernel.image).unwrap();
    assert_eq!(Some(&kernel), rig.catalog.latest_kernel().as_ref());
    assert_eq!(kernel, kept.kernel);
}

#[test]
fn what_is_freed_is_what_nobody_else_has_a_name_for() {
    let rig = rig();
    let parts = parts(&rig);
    const LARGE: u64 = 1 << 20;
    fs::write(&parts.layers[0].path, vec![1; 1 << 20]).unwrap();
    let kept = keep(&rig, &name("app"), &parts).unwrap();
    assert!(rig.catalog.disk_bytes(kept.spec) > LARGE);
    let delete = |spec| rig.catalog.delete_environment(spec).unwrap().freed_bytes;
    let freed = delete(kept.spec);
    assert!(freed < LARGE, "{freed}");
    let kept = keep(&rig, &name("app"), &parts).unwrap();
    fs::remove_file(&parts.layers[0].path).unwrap();
    let freed = delete(kept.spec);
    assert!(freed >= LARGE, "{freed}");
    let base = find("debian:12").unwrap();
    delete(base);
    let gone = rig.catalog.delete_environment(base).unwrap_err();
    assert!(matches!(gone, CatalogError::NotInstalled { .. }));
}

/// As on a file system that cannot exchange two names, where a kill came between the two steps.
#[test]
fn what_a_kill_left_aside_comes_back_with_its_kernel() {
    let rig = rig();
    let parts = parts(&rig);
    let kept = keep(&rig, &name("app"), &parts).unwrap();
    rig.catalog
        .delete_environment(find("debian:12").unwrap())
        .unwrap();
    let partial = format!(".partial-{}-1-00000000", kept.spec.subject());
    let dead = rig.catalog.platform_dir().join(partial);
    let leave_aside = || {
        fs::create_dir(&dead).unwrap();
        fs::rename(&kept.install_dir, dead.join("old")).unwrap();
    };
    leave_aside();
    let pruned = rig.catalog.prune(&nothing).unwrap();
    assert_eq!(
        pruned.deleted,
        [dead.file_name().unwrap().to_str().unwrap()]
    );
    assert_eq!(
        rig.catalog.verify(kept.spec).unwrap().layers[0],
        kept.layers[0]
    );
    leave_aside();
    let refused = keep(&rig, &name("app"), &parts).unwrap_err();
    assert!(matches!(refused, CatalogError::NameTaken { name: "app" }));
    rig.catalog.verify(kept.spec).unwrap();
    assert_eq!(left_over(&rig.catalog), Vec::<String>::new());
}

#[test]
fn another_tag_is_no_slip() {
    let rig = rig();
    let parts = parts(&rig);
    for kept in ["python:3.13", "team/app"] {
        keep(&rig, &name(kept), &parts).unwrap();
    }
    for other in ["python:3.12", "python", "team/app:1", "localhost:1/app"] {
        assert!(rig.catalog.find(other).unwrap().is_image(), "{other}");
    }
    for (slip, meant) in [("pyton:3.13", "python:3.13"), ("team/ap", "team/app")] {
        let told = rig.catalog.find(slip);
        let Err(CatalogError::UnknownEnvironment { nearest, .. }) = told else {
            panic!("{told:?}");
        };
        assert_eq!(nearest, Some(meant));
    }
}

#[test]
fn one_that_nobody_can_read_keeps_every_kernel() {
    let rig = rig();
    let parts = parts(&rig);
    let kept = keep(&rig, &name("app"), &parts).unwrap();
    rig.catalog
        .delete_environment(find("debian:12").unwrap())
        .unwrap();
    let manifest = fs::read(&kept.manifest_path).unwrap();
    for unreadable in ["{", r#"{"schema_version": 1000}"#] {
        fs::write(&kept.manifest_path, unreadable).unwrap();
        assert!(rig.catalog.prune(&nothing).unwrap().deleted.is_empty());
    }
    fs::remove_file(&kept.manifest_path).unwrap();
    assert!(rig.catalog.prune(&nothing).unwrap().deleted.is_empty());
    fs::write(&kept.manifest_path, manifest).unwrap();
    rig.catalog.verify(kept.spec).unwrap();
    rig.catalog.delete_environment(kept.spec).unwrap();
    let pruned = rig.catalog.prune(&nothing).unwrap().deleted;
    let kernel = KernelName {
        release: kept.kernel.release,
        digest: kept.kernel.digest,
    };
    assert_eq!(pruned, [kernel.dir_name()]);
}

/// Removes an environment, and lets go of it, when somebody waits for that.
struct Removes<'a> {
    catalog: &'a Catalog,
    spec: &'static EnvironmentSpec,
    held: std::cell::RefCell<Option<Lock>>,
}

impl ProgressMonitor for Removes<'_> {
    fn progress(&self, step: &crate::Step) {
        if step.phase == Phase::Waiting
            && let Some(held) = self.held.take()
        {
            fs::remove_dir_all(self.catalog.install_dir(self.spec)).unwrap();
            drop(held);
        }
    }

    fn cancelled(&self) -> bool {
        false
    }
}

#[test]
fn what_another_removes_meanwhile_is_made_again() {
    let rig = rig();
    let base = find("debian:12").unwrap();
    let first = rig.catalog.ensure(base, &NoMonitor).unwrap();
    let keep_as = |text: &str, monitor: &dyn ProgressMonitor| {
        let keeping = rig.catalog.keeping(&name(text), false, &NoMonitor).unwrap();
        let (taken, made) = keeping.take_installed(base, monitor).unwrap();
        let kept = taken.publish(&NoMonitor).unwrap();
        assert_eq!(kept.rootfs_digest, first.rootfs_digest);
        made
    };
    assert!(!keep_as("one", &NoMonitor));
    let lock = Lock::try_acquire(&rig.catalog.lock_path(&base.subject()));
    let removes = Removes {
        catalog: &rig.catalog,
        spec: base,
        held: std::cell::RefCell::new(lock.unwrap()),
    };
    assert!(keep_as("two", &removes));
    assert_eq!(rig.builder.count(), 2);
}
