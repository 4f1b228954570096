//! Images in the cache, told through a writer that unpacks nothing.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyro_oci::Digest;

use super::*;
use crate::NoMonitor;
use crate::testing::{Rig, left_over, rig};

#[derive(Default)]
struct FakeWriter {
    writes: AtomicUsize,
    fails: std::sync::atomic::AtomicBool,
}

impl DiskWriter for FakeWriter {
    fn write(
        &self,
        image: &Image,
        _limits: Limits,
        folder: &Path,
        rootfs: &Path,
        _monitor: &dyn ProgressMonitor,
    ) -> Result<Applied, Box<dyn std::error::Error + Send + Sync>> {
        assert_eq!(rootfs.parent(), Some(folder));
        self.writes.fetch_add(1, Ordering::SeqCst);
        let disk = fs::File::create_new(rootfs)?;
        disk.set_len(1 << 30)?;
        disk.write_all_at(image.digest.hex().as_bytes(), 70_000)?;
        if self.fails.load(Ordering::SeqCst) {
            return Err("no room in there".into());
        }
        Ok(Applied {
            devices_left_out: 2,
            ..Applied::default()
        })
    }
}

struct World {
    rig: Rig,
    writer: Arc<FakeWriter>,
    catalog: Catalog,
}

impl World {
    fn new() -> Self {
        let rig = rig();
        let writer = Arc::new(FakeWriter::default());
        Self {
            catalog: rig.catalog.clone().with_disk_writer(writer.clone()),
            rig,
            writer,
        }
    }

    fn layout(&self) -> PathBuf {
        self.rig.folder.path().join("layout")
    }

    /// A layout of one image without layers.
    fn writes_image(&self, label: &str) -> &'static EnvironmentSpec {
        let blobs = self.layout().join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |text: String| {
            let digest = Digest::of(text.as_bytes());
            fs::write(blobs.join(digest.hex()), &text).unwrap();
            format!(r#""digest":"{digest}","size":{}"#, text.len())
        };
        let config = put(format!(
            r#"{{"os":"linux","architecture":"amd64","config":{{"Labels":{{"is":"{label}"}}}},
                "rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        ));
        let manifest = put(format!(
            r#"{{"schemaVersion":2,"layers":[],
                "config":{{"mediaType":"application/vnd.oci.image.config.v1+json",{config}}}}}"#
        ));
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[
                {{"mediaType":"application/vnd.oci.image.manifest.v1+json",{manifest}}}]}}"#
        );
        // In the place of the one before, as tools do it.
        let new = self.layout().join("new");
        fs::write(&new, index).unwrap();
        fs::rename(new, self.layout().join("index.json")).unwrap();
        find(&format!("oci:{}", self.layout().display())).unwrap()
    }

    fn writes(&self) -> usize {
        self.writer.writes.load(Ordering::SeqCst)
    }

    fn label(&self, spec: &'static EnvironmentSpec) -> String {
        let installed = self.catalog.ensure(spec, &NoMonitor).unwrap();
        installed.image.unwrap().config.labels["is"].clone()
    }
}

#[test]
fn an_image_is_made_once_and_again_when_it_is_another_one() {
    let world = World::new();
    let spec = world.writes_image("one");
    assert!(world.catalog.installed(spec).unwrap().is_none());
    let first = world.catalog.pull(spec, &NoMonitor).unwrap();
    let image = first.image.clone().unwrap();
    assert_eq!(first.source, format!("{}@{}", spec.name, image.digest));
    assert_eq!(image.devices_left_out, 2);
    // With the kernel of the smallest environment that has one.
    assert_eq!(world.rig.builder.count(), 1);
    assert!(
        world
            .catalog
            .installed(find(FOR_ITS_KERNEL).unwrap())
            .unwrap()
            .is_some()
    );

    world.catalog.pull(spec, &NoMonitor).unwrap();
    assert_eq!((world.label(spec).as_str(), world.writes()), ("one", 1));
    // Written again as it was.
    world.writes_image("one");
    assert!(!world.catalog.installed(spec).unwrap().unwrap().is_current());
    assert_eq!((world.label(spec).as_str(), world.writes()), ("one", 1));
    assert!(world.catalog.installed(spec).unwrap().unwrap().is_current());

    world.writes_image("two");
    assert_eq!((world.label(spec).as_str(), world.writes()), ("two", 2));
    let second = world.catalog.installed(spec).unwrap().unwrap();
    assert_ne!(second.rootfs_digest, first.rootfs_digest);
    assert_eq!(second.install_dir, first.install_dir);
    assert!(left_over(&world.catalog).is_empty());
}

#[test]
fn an_image_that_is_gone_stays_of_use_until_it_is_pruned() {
    let world = World::new();
    let spec = world.writes_image("one");
    let installed = world.catalog.ensure(spec, &NoMonitor).unwrap();
    let names =
        |catalog: &Catalog| -> Vec<_> { catalog.all().iter().map(|spec| spec.name).collect() };
    assert!(names(&world.catalog).contains(&spec.name));
    assert!(world.catalog.prune(&|_| false).unwrap().deleted.is_empty());

    fs::remove_dir_all(world.layout()).unwrap();
    assert_eq!(world.label(spec), "one");
    assert!(
        world
            .catalog
            .prune(&|path| path == installed.install_dir)
            .unwrap()
            .deleted
            .is_empty()
    );
    let pruned = world.catalog.prune(&|_| false).unwrap();
    assert_eq!(pruned.deleted, [spec.dir_name()]);
    assert!(!names(&world.catalog).contains(&spec.name));
    let gone = world.catalog.ensure(spec, &NoMonitor).unwrap_err();
    assert!(matches!(gone, CatalogError::Image { .. }), "{gone:?}");
}

#[test]
fn what_fails_leaves_what_was_there_and_nothing_half() {
    let world = World::new();
    let spec = world.writes_image("one");
    world.writer.fails.store(true, Ordering::SeqCst);
    let failed = world.catalog.pull(spec, &NoMonitor).unwrap_err();
    assert!(
        matches!(failed, CatalogError::DiskWriter { .. }),
        "{failed:?}"
    );
    assert!(world.catalog.installed(spec).unwrap().is_none());
    world.writer.fails.store(false, Ordering::SeqCst);
    world.catalog.ensure(spec, &NoMonitor).unwrap();

    fs::write(world.layout().join("index.json"), "{").unwrap();
    let failed = world.catalog.ensure(spec, &NoMonitor).unwrap_err();
    assert!(matches!(failed, CatalogError::Image { .. }), "{failed:?}");
    let kept = world.catalog.installed(spec).unwrap().unwrap();
    assert_eq!(kept.image.unwrap().config.labels["is"], "one");
    assert!(left_over(&world.catalog).is_empty());

    // A catalog without anybody who writes disks says so.
    let other = find(&format!("{}:other", spec.name)).unwrap();
    assert!(matches!(
        world.rig.catalog.ensure(other, &NoMonitor),
        Err(CatalogError::NoDiskWriter)
    ));
}

#[test]
fn a_pull_at_work_keeps_what_is_of_its_image() {
    let world = World::new();
    let spec = world.writes_image("one");
    world.catalog.ensure(spec, &NoMonitor).unwrap();
    let dir = world.catalog.platform_dir();
    let partial = format!(".partial-{}-1-0", spec.subject());
    fs::create_dir(dir.join(&partial)).unwrap();
    fs::remove_file(world.catalog.install_dir(spec).join(ENVIRONMENT_FILE)).unwrap();
    let lock = world.catalog.lock_path(&spec.subject());
    let held = crate::lock::Lock::try_acquire(&lock).unwrap().unwrap();
    assert!(world.catalog.prune(&|_| false).unwrap().deleted.is_empty());
    drop(held);
    let pruned = world.catalog.prune(&|_| false).unwrap();
    assert_eq!(pruned.deleted, [partial, spec.dir_name()]);
}
