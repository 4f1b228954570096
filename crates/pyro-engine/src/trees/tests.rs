//! Played as whoever runs the tests and, where that is root, as a user with subordinate ids as well:
//! then a test starts itself again as that user.

use std::env;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use pyro_catalog::Kernel;
use pyro_namespace::{Namespaces, Program, remove_tree};

use super::*;
use crate::Config;
use crate::owned_files::testing::{REAL, also_as_user, set_pyro};

/// Where such a pyro works.
const VICTIM: &str = "PYRO_TEST_VICTIM";

/// One that is in the middle of it for longer than anybody waits.
const ENDLESS: &str = r#"mkdir "$4/half" && chown 33:33 "$4/half" && chmod 0 "$4/half"
echo '{"progress":0.5}'
exec sleep 600"#;

/// Not a test by itself: a pyro that will be killed, or that has another disk.
#[tokio::test]
async fn as_a_victim() {
    if let Some(here) = env::var_os(VICTIM).map(PathBuf::from) {
        let (engine, caller) = (engine_at(&here, &here.join("cache")), Caller::new());
        let installed = installed_at(&here, "one");
        let outcome = engine.environment_tree(&installed, &caller).await;
        let left = fs::read_dir(here.join("cache/trees")).unwrap().flatten();
        let left = left.filter(|entry| entry.file_type().unwrap().is_dir());
        let told = format!("{:?} {}", outcome.unwrap_err().code, left.count());
        fs::write(here.join("outcome"), told).unwrap();
    }
}

struct World {
    here: tempfile::TempDir,
}

impl World {
    /// An image, and a `pyro` that is a script.
    fn new(script: &str) -> Self {
        let world = Self {
            here: tempfile::tempdir().unwrap(),
        };
        let source = world.path("source");
        fs::create_dir_all(source.join("folder")).unwrap();
        fs::write(source.join("folder/file"), "content").unwrap();
        let tool = |program: &str, arguments: &[&str]| {
            let mut tool = Command::new(program);
            let done = tool.args(arguments).output().unwrap();
            assert!(done.status.success(), "{program} {arguments:?} {done:?}");
        };
        let (image, source) = (world.path("image"), source.display().to_string());
        let image = image.display().to_string();
        tool("mke2fs", &["-q", "-t", "ext4", "-d", &source, &image, "8M"]);
        for field in ["uid 33", "gid 44", "mode 0104755"] {
            let edit = format!("set_inode_field folder/file {field}");
            tool("debugfs", &["-w", "-R", &edit, &image]);
        }
        world.set_pyro(script);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.here.path().join(name)
    }

    fn set_pyro(&self, script: &str) {
        set_pyro(self.here.path(), script);
    }

    fn engine(&self) -> Engine {
        self.engine_with_cache(&self.path("cache"))
    }

    fn engine_with_cache(&self, cache: &Path) -> Engine {
        engine_at(self.here.path(), cache)
    }

    fn installed(&self, digest: &str) -> Installed {
        installed_at(self.here.path(), digest)
    }

    /// How often an image was unpacked.
    fn calls(&self) -> usize {
        fs::read_to_string(self.path("calls")).map_or(0, |calls| calls.len())
    }

    /// What is in the cache besides locks.
    fn trees(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("cache/trees")).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with(".lock-")).collect();
        names.sort();
        names
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = remove_tree(&self.path("cache"));
        let _ = remove_tree(&self.path("state"));
    }
}

fn engine_at(here: &Path, cache: &Path) -> Engine {
    let mut config = Config::from_environment().unwrap();
    config.cache_dir = cache.to_owned();
    config.state_dir = here.join("state");
    config.pyro = Some(here.join("pyro"));
    Engine::new(config)
}

fn installed_at(here: &Path, digest: &str) -> Installed {
    let install_dir = here.join("install");
    Installed {
        layers: Vec::new(),
        spec: pyro_catalog::find("debian:12").unwrap(),
        manifest_path: install_dir.join("environment.json"),
        install_dir,
        rootfs: here.join("image"),
        rootfs_digest: digest.to_owned(),
        virtual_size: 0,
        kernel: Kernel {
            image: PathBuf::new(),
            modules_dir: PathBuf::new(),
            release: String::new(),
            digest: String::new(),
        },
        source: String::new(),
        created_at: String::new(),
        image: None,
    }
}

#[tokio::test]
async fn a_tree_is_made_once_and_then_found() {
    let world = World::new(REAL);
    let (engine, caller) = (world.engine(), Caller::new());
    let installed = world.installed("one");
    let tree = engine.environment_tree(&installed, &caller).await.unwrap();
    let file = fs::metadata(tree.join("folder/file")).unwrap();
    let ids = IdMap::of_caller().unwrap();
    assert_eq!(file.uid(), ids.users.first + 32);
    assert_eq!(file.gid(), ids.groups.first + 43);
    assert_eq!(file.mode(), 0o104_755);
    assert_eq!(fs::read(tree.join("folder/file")).unwrap(), b"content");
    let above = fs::metadata(world.path("cache/trees")).unwrap();
    assert_eq!(above.mode() & 0o777, 0o700);

    let again = engine.environment_tree(&installed, &caller).await.unwrap();
    assert_eq!((again, world.calls()), (tree, 1));
    let other = world.installed("two");
    engine.environment_tree(&other, &caller).await.unwrap();
    assert_eq!((world.calls(), world.trees().len()), (2, 2));
    also_as_user("trees::tests::a_tree_is_made_once_and_then_found");
}

#[tokio::test]
async fn two_at_once_make_one() {
    let world = World::new(&format!("sleep 0.3\n{REAL}"));
    let (one, other, caller) = (world.engine(), world.engine(), Caller::new());
    let installed = world.installed("one");
    let (one, other) = tokio::join!(
        one.environment_tree(&installed, &caller),
        other.environment_tree(&installed, &caller),
    );
    assert_eq!(one.unwrap(), other.unwrap());
    assert_eq!((world.calls(), world.trees().len()), (1, 1));
}

#[tokio::test]
async fn who_gives_up_and_who_is_killed_leave_nothing_for_long() {
    let world = World::new(ENDLESS);
    let engine = world.engine();
    let installed = world.installed("one");
    // As another pyro that was killed left it.
    let dead = world.path("cache/trees/.partial-dead/root");
    fs::create_dir_all(&dead).unwrap();
    let mut mess = Program::new("/bin/sh", Namespaces::Files);
    let script = r#"/bin/mkdir "$0/deep" && /bin/chown 5:5 "$0/deep" && /bin/chmod 0 "$0/deep""#;
    mess.args(["-c", script]).arg(&dead);
    let mut mess = mess.start(&IdMap::of_caller().unwrap()).unwrap();
    assert!(mess.wait().unwrap().success());

    let caller = Caller::new();
    let unpacking = engine.environment_tree(&installed, &caller);
    let gave_up = tokio::time::timeout(Duration::from_secs(2), unpacking).await;
    assert!(gave_up.is_err());
    // The thread notices soon that nobody waits.
    let until = Instant::now() + Duration::from_secs(20);
    while !world.trees().is_empty() && Instant::now() < until {
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.trees(), [""; 0]);
    world.set_pyro(REAL);
    engine.environment_tree(&installed, &caller).await.unwrap();
    also_as_user("trees::tests::who_gives_up_and_who_is_killed_leave_nothing_for_long");
}

#[tokio::test]
async fn a_pyro_that_is_killed_takes_its_helper_along_and_the_next_clears_up() {
    let world = World::new(ENDLESS);
    let mut victim = Command::new(env::current_exe().unwrap());
    victim.args(["--exact", "trees::tests::as_a_victim"]);
    victim.env(VICTIM, world.here.path()).stdout(Stdio::null());
    let mut victim = victim.spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    let partial = loop {
        let names = world.trees();
        let half = |name: &String| world.path("cache/trees").join(name).join("root/half");
        if let Some(name) = names.into_iter().find(|name| half(name).exists()) {
            break world.path("cache/trees").join(name);
        }
        assert!(Instant::now() < until, "it did not come that far");
        sleep(Duration::from_millis(20)).await;
    };
    let is_busy = || {
        let busy = File::open(partial.join("busy.lock")).unwrap();
        Flock::lock(busy, FlockArg::LockExclusiveNonblock).is_err()
    };
    assert!(is_busy());
    victim.kill().unwrap();
    victim.wait().unwrap();
    while is_busy() {
        assert!(Instant::now() < until, "its helper lives on");
        sleep(Duration::from_millis(20)).await;
    }
    world.set_pyro(REAL);
    let installed = world.installed("one");
    let tree = world
        .engine()
        .environment_tree(&installed, &Caller::new())
        .await;
    assert!(tree.unwrap().join("folder/file").exists());
    assert_eq!(world.trees().len(), 1);
    also_as_user(
        "trees::tests::a_pyro_that_is_killed_takes_its_helper_along_and_the_next_clears_up",
    );
}

#[tokio::test]
async fn a_tree_goes_when_its_image_is_gone_and_nobody_needs_it() {
    let world = World::new(REAL);
    let (engine, caller) = (world.engine(), Caller::new());
    let installed = world.installed("one");
    let tree = engine.environment_tree(&installed, &caller).await.unwrap();
    let folder = tree.parent().unwrap();
    // Whoever found it has a minute to say that it is in use.
    assert_eq!(engine.prune_trees(), (Vec::new(), 0));
    let long_ago = || {
        let hour = SystemTime::now() - Duration::from_secs(3600);
        let manifest = File::open(folder.join("tree.json")).unwrap();
        manifest
            .set_times(FileTimes::new().set_modified(hour))
            .unwrap();
    };
    long_ago();
    let cache = TreeCache::at(world.path("cache/trees"));
    assert!(cache.prune(|_| true, |_| false).0.is_empty());
    assert!(cache.prune(|_| false, |_| true).0.is_empty());
    let (names, freed) = engine.prune_trees();
    let name = folder.file_name().unwrap().to_str().unwrap();
    assert_eq!(names, [format!("trees/{name}")]);
    assert!(freed >= 4096);
    assert_eq!(world.trees(), [""; 0]);
    also_as_user("trees::tests::a_tree_goes_when_its_image_is_gone_and_nobody_needs_it");
}

#[tokio::test]
async fn a_cache_that_is_not_ours_or_open_to_others_is_no_place() {
    let world = World::new(REAL);
    let caller = Caller::new();
    let installed = world.installed("one");
    let elsewhere = world.engine_with_cache(Path::new("/proc/nowhere"));
    let tree = elsewhere
        .environment_tree(&installed, &caller)
        .await
        .unwrap();
    assert!(tree.starts_with(world.path("state/trees")));

    let cache = world.path("cache/trees");
    fs::create_dir_all(&cache).unwrap();
    fs::set_permissions(&cache, Permissions::from_mode(0o755)).unwrap();
    let engine = world.engine();
    let other = world.installed("two");
    let tree = engine.environment_tree(&other, &caller).await.unwrap();
    assert!(tree.starts_with(&cache));
    assert_eq!(fs::metadata(&cache).unwrap().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn what_goes_wrong_is_told_and_leaves_nothing() {
    let world = World::new("exit 0");
    let (engine, caller) = (world.engine(), Caller::new());
    let installed = world.installed("one");
    let refused = engine.environment_tree(&installed, &caller).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::Internal);

    world.set_pyro(r#"echo '{"failed":{"errno":28,"causes":["`a` cannot be written"]}}'"#);
    let full = engine
        .environment_tree(&installed, &caller)
        .await
        .unwrap_err();
    assert_eq!(full.code, ErrorCode::NoSpace);
    assert_eq!(full.causes, ["`a` cannot be written"]);
    assert!(full.hint.unwrap().contains("env prune"));

    world.set_pyro(REAL);
    fs::write(world.path("image"), "no disk").unwrap();
    let damaged = engine
        .environment_tree(&installed, &caller)
        .await
        .unwrap_err();
    assert_eq!(damaged.code, ErrorCode::Damaged);
    assert!(damaged.hint.unwrap().contains("env pull"));
    fs::remove_file(world.path("image")).unwrap();
    let missing = engine
        .environment_tree(&installed, &caller)
        .await
        .unwrap_err();
    assert_eq!(missing.code, ErrorCode::Damaged);
    assert_eq!(world.trees(), [""; 0]);
}

#[test]
fn a_disk_that_is_too_small_is_told_and_nothing_is_left_on_it() {
    if !geteuid().is_root() {
        return;
    }
    let world = World::new(REAL);
    // More than is on the disk of the cache, and more than a full disk.
    let large = world.path("large");
    fs::write(&large, vec![1; 3 << 20]).unwrap();
    let image = world.path("image").display().to_string();
    let write = format!("write {} large", large.display());
    let debugfs = Command::new("debugfs")
        .args(["-w", "-R", &write, &image])
        .output();
    assert!(debugfs.unwrap().status.success());
    fs::create_dir(world.path("cache")).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=1m tmpfs {}/cache && exec {} --exact trees::tests::as_a_victim",
        world.here.path().display(),
        env::current_exe().unwrap().display(),
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", &script]);
    let output = unshare.env(VICTIM, world.here.path()).output().unwrap();
    let outcome = fs::read_to_string(world.path("outcome"));
    assert_eq!(outcome.ok().as_deref(), Some("NoSpace 0"), "{output:?}");
}
