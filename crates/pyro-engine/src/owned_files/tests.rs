//! Played as whoever runs the tests and, where that is root, as a user with subordinate ids as well.

use std::fs;
use std::time::{Duration, Instant};

use pyro_api::ErrorCode;
use pyro_disk::{FileKind, Tree, TreeError};
use pyro_namespace::remove_tree;

use super::testing::{REAL, also_as_user, chain, in_namespace, remove_chain, set_pyro};
use super::*;
use crate::Config;

struct World {
    here: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self {
            here: tempfile::tempdir().unwrap(),
        };
        set_pyro(world.here.path(), REAL);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.here.path().join(name)
    }

    fn engine(&self) -> Engine {
        let mut config = Config::from_environment().unwrap();
        config.state_dir = self.path("state");
        config.pyro = Some(self.path("pyro"));
        Engine::new(config)
    }

    fn helper(&self) -> Helper {
        Helper::new(&self.path("pyro"), "It failed".to_owned()).unwrap()
    }

    fn chain(&self) -> [PathBuf; 3] {
        chain(self.here.path())
    }

    fn serve(&self, folders: &[PathBuf], root: &str) -> Result<Tree, Error> {
        let folders = folders.iter().map(PathBuf::as_path);
        self.helper().serve(folders, Path::new(root))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for name in ["from", "to"] {
            let _ = remove_tree(&self.path(name));
        }
        remove_chain(self.here.path());
    }
}

fn names(tree: &Tree, path: &[u8]) -> String {
    let entries = tree.list(path).unwrap();
    let names = entries
        .into_iter()
        .map(|entry| String::from_utf8(entry.name).unwrap());
    names.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_layer_is_copied_with_its_owners_and_removals() {
    let world = World::new();
    let (from, to) = (world.path("from"), world.path("to"));
    for folder in [&from, &to] {
        fs::create_dir(folder).unwrap();
    }
    let script = r#"mkdir private; echo secret > private/file; mknod private/gone c 0 0
        chown -R 33:44 private; chmod 700 private; chmod 4500 private/file"#;
    in_namespace(&from, script);

    let (engine, caller) = (world.engine(), Caller::new());
    let copied = engine.copy_layer(&from, &to, &caller).await.unwrap();
    assert_eq!((copied.entries, copied.devices_left_out), (3, 0));
    let seen = in_namespace(&to, "stat -c '%n %F %a %u %g' private private/*");
    assert_eq!(
        seen,
        "private directory 700 33 44\n\
         private/file regular file 4500 33 44\n\
         private/gone character special file 644 33 44\n"
    );
    let again = engine.copy_layer(&from, &to, &caller).await.unwrap_err();
    assert_eq!(again.code, ErrorCode::HostIo);
    assert!(again.causes[0].contains("is not empty"), "{again:?}");
    also_as_user("owned_files::tests::a_layer_is_copied_with_its_owners_and_removals");
}

#[test]
fn a_chain_is_served_as_the_guest_saw_it() {
    let world = World::new();
    let chain = world.chain();
    let tree = world.serve(&chain, "/").unwrap();
    assert_eq!(names(&tree, b""), "etc usr var workspace");
    assert_eq!(names(&tree, b"etc"), "old passwd");
    assert_eq!(names(&tree, b"etc/old"), "new");
    assert_eq!(names(&tree, b"workspace"), "again file out pipe secret");
    // From outside only its owner may read it, who is nobody here.
    assert_eq!(
        tree.read(b"workspace/secret/key", 100).unwrap(),
        b"secret\n"
    );
    let stat = |path: &[u8]| tree.stat(path).unwrap().unwrap();
    assert_eq!(stat(b"workspace/secret/key").mode, 0o4600);
    assert_eq!(stat(b"etc/passwd").mode, 0o640);
    assert_eq!(stat(b"workspace/pipe").kind, FileKind::Special);
    // Links stay inside.
    assert_eq!(tree.resolve(b"workspace/out", true).unwrap(), b"etc/passwd");
    let count = tree.count(b"").unwrap();
    assert_eq!((count.entries, count.bytes), (17, 4 + 4 + 7 + 4 + 4 + 7));

    let below = world.serve(&chain, "/workspace").unwrap();
    assert_eq!(names(&below, b""), "again file out pipe secret");
    assert!(below.stat(b"etc").unwrap().is_none());
    // One tree alone is a chain, too.
    let alone = world.serve(&chain[2..], "/").unwrap();
    assert_eq!(names(&alone, b"etc"), "gone old passwd");
    also_as_user("owned_files::tests::a_chain_is_served_as_the_guest_saw_it");
}

#[test]
fn what_cannot_be_served_is_told() {
    let world = World::new();
    let chain = world.chain();
    let refused = |folders: &[PathBuf], root: &str| match world.serve(folders, root) {
        Ok(_) => panic!("it was served"),
        Err(error) => error,
    };
    for (folders, root) in [
        (&chain[..], "/nowhere"),
        (&chain[..], "/etc/passwd"),
        (&chain[..], "/workspace/out"),
        (&[world.path("nowhere"), chain[2].clone()][..], "/"),
    ] {
        let error = refused(folders, root);
        assert_eq!(error.code, ErrorCode::HostIo, "{error:?}");
    }
    set_pyro(world.here.path(), "exit 0");
    assert_eq!(refused(&chain, "/").code, ErrorCode::Internal);
}

#[test]
fn a_process_that_serves_ends_with_the_tree_and_its_end_is_told() {
    let world = World::new();
    let chain = world.chain();
    // Says that it is ready, and ends when it is asked something.
    let script = r#"echo '"ready"'; head -c 1 > /dev/null; echo > HERE/asked; exit 0"#;
    set_pyro(world.here.path(), script);
    let tree = world.serve(&chain, "/").unwrap();
    for _ in 0..2 {
        let error = tree.stat(b"etc").unwrap_err();
        assert!(matches!(error, TreeError::Gone { .. }), "{error:?}");
    }
    assert!(world.path("asked").exists());

    // One that would stay.
    set_pyro(
        world.here.path(),
        r#"exec 9> HERE/lock; flock 9; echo '"ready"'; exec sleep 600"#,
    );
    let tree = world.serve(&chain, "/").unwrap();
    let lives = || {
        let lock = fs::File::open(world.path("lock")).unwrap();
        nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusiveNonblock).is_err()
    };
    assert!(lives());
    drop(tree);
    let until = Instant::now() + Duration::from_secs(10);
    while lives() {
        assert!(Instant::now() < until, "it lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
}
