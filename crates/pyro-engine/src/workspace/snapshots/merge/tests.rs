//! Layers of a stopped workspace that are folders. Played as whoever runs the tests and, where that is
//! root, as a user with subordinate ids as well.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use pyro_disk::Tree;

use super::*;
use crate::Config;
use crate::machine::facts::TREE;
use crate::owned_files::testing::{REAL, also_as_user, chain, remove_chain, set_pyro};
use crate::store::testing::workspace;

const ID: &str = "0123456789ab";

/// Where a pyro that will be killed works.
const VICTIM: &str = "PYRO_TEST_VICTIM";

/// Not a test by itself.
#[tokio::test]
async fn as_a_victim() {
    if let Some(here) = env::var_os(VICTIM).map(PathBuf::from) {
        let _ = engine_at(&here).merge_layers(ID, &Caller::new()).await;
    }
}

fn engine_at(here: &Path) -> Engine {
    let mut config = Config::from_environment().unwrap();
    config.state_dir = here.join("state");
    config.pyro = Some(here.join("pyro"));
    Engine::new(config)
}

struct Rig {
    here: tempfile::TempDir,
    engine: Engine,
}

impl Rig {
    /// A stopped workspace on a tree, with the layers `b`, `one` and `two`, of which nobody needs `one`.
    fn new() -> Self {
        let here = tempfile::tempdir().unwrap();
        chain(here.path());
        let engine = engine_at(here.path());
        let folder = engine.workspace_folder(ID);
        folder.create().unwrap();
        gvisor::create_layer(&folder.layer("b")).unwrap();
        for name in ["one", "two"] {
            fs::rename(here.path().join(name), folder.layer(name)).unwrap();
        }
        let mut stored = workspace();
        stored.layers = ["b", "one", "two"].map(String::from).to_vec();
        stored
            .record
            .metadata
            .insert(TREE.to_owned(), String::new());
        engine.store().unwrap().put_workspace(&stored).unwrap();
        let rig = Self { here, engine };
        rig.set_pyro(REAL);
        rig
    }

    fn set_pyro(&self, script: &str) {
        set_pyro(self.here.path(), script);
    }

    fn layers(&self) -> Vec<String> {
        self.engine.reload_workspace(ID).unwrap().layers
    }

    /// What is on the disk, with what is in the files.
    fn files(&self) -> Vec<(String, String, Vec<u8>)> {
        self.set_pyro(REAL);
        let folder = self.engine.workspace_folder(ID);
        let layers = self.layers();
        let layers = layers
            .iter()
            .rev()
            .map(|name| overlay::upper(&folder.layer(name)));
        let folders: Vec<_> = layers.chain([self.here.path().join("tree")]).collect();
        let helper = Helper::new(&self.here.path().join("pyro"), String::new()).unwrap();
        let folders = folders.iter().map(PathBuf::as_path);
        let tree: Tree = helper.serve(folders, Path::new("/")).unwrap();
        let mut files = Vec::new();
        tree.walk(b"", |path, stat| {
            let name = String::from_utf8(path.to_vec()).unwrap();
            files.push((name, format!("{stat:?}"), path.to_vec()));
        })
        .unwrap();
        for (_, _, content) in &mut files {
            *content = tree.read(&content.clone(), 1000).unwrap_or_default();
        }
        files
    }

    /// What lies in the folder of the workspace, and in that of its layers.
    fn names(&self, of_layers: bool) -> Vec<String> {
        let folder = self.engine.workspace_folder(ID);
        let folder = match of_layers {
            true => folder.disks(),
            false => folder.path().to_owned(),
        };
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    fn debris(&self) -> usize {
        let names = self.names(false);
        names
            .iter()
            .filter(|name| name.starts_with("merging-"))
            .count()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        remove_chain(self.here.path());
        let _ = pyro_namespace::remove_tree(&self.here.path().join("state"));
    }
}

#[tokio::test]
async fn two_folders_become_one_that_shows_the_same() {
    let rig = Rig::new();
    let before = rig.files();
    assert!(
        before
            .iter()
            .any(|(name, ..)| name == "workspace/secret/key")
    );
    rig.engine.merge_layers(ID, &Caller::new()).await.unwrap();
    let layers = rig.layers();
    assert_eq!((layers.len(), layers[0].as_str()), (2, "b"));
    assert_eq!(rig.files(), before);
    let mut named = layers.clone();
    named.sort();
    assert_eq!((rig.names(true), rig.debris()), (named, 0));
    // It is what the next sandbox writes to.
    let merged = rig.engine.workspace_folder(ID).layer(&layers[1]);
    gvisor::check_layers(&[merged]).unwrap();
    also_as_user("workspace::snapshots::merge::tests::two_folders_become_one_that_shows_the_same");
}

#[tokio::test]
async fn a_merge_that_is_killed_or_fails_changes_nothing() {
    let rig = Rig::new();
    let before = rig.files();
    rig.set_pyro(
        r#"mkdir "$5/half" && chown 33:33 "$5/half" && chmod 0 "$5/half" && echo > HERE/begun
           exec sleep 600"#,
    );
    let mut victim = Command::new(env::current_exe().unwrap());
    let name = "workspace::snapshots::merge::tests::as_a_victim";
    victim.args(["--exact", name]).env(VICTIM, rig.here.path());
    let mut victim = victim.stdout(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while !rig.here.path().join("begun").exists() {
        assert!(Instant::now() < until, "it did not come that far");
        sleep(Duration::from_millis(10)).await;
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_eq!((rig.layers().len(), rig.debris()), (3, 1));
    assert_eq!(rig.files(), before);

    rig.set_pyro(r#"echo '{"failed":{"errno":28,"causes":["full"]}}'"#);
    // Its process may take a moment to be gone, and for as long it is not cleared away.
    while rig.debris() > 0 {
        assert!(Instant::now() < until, "it is never cleared away");
        let error = rig
            .engine
            .merge_layers(ID, &Caller::new())
            .await
            .unwrap_err();
        assert_eq!(error.code, ErrorCode::NoSpace);
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(rig.layers().len(), 3);
    assert_eq!(rig.files(), before);
    rig.engine.merge_layers(ID, &Caller::new()).await.unwrap();
    assert_eq!((rig.layers().len(), rig.debris()), (2, 0));
    assert_eq!(rig.files(), before);
    also_as_user(
        "workspace::snapshots::merge::tests::a_merge_that_is_killed_or_fails_changes_nothing",
    );
}
