//! Disks of sandboxes, made as sandboxes make them. Played as whoever runs the tests and, where that
//! is root, as a user with subordinate ids as well.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use pyro_api::{Caller, ErrorCode};
use pyro_disk::FileKind;
use pyro_disk::layers::Layer;

use super::*;
use crate::owned_files::testing::{REAL, also_as_user, chain, remove_chain, set_pyro};
use crate::workspace::folder::WorkspaceFolder;

struct Rig {
    here: tempfile::TempDir,
    disk: StoppedDisk,
}

impl Rig {
    async fn new() -> Self {
        let here = tempfile::tempdir().unwrap();
        set_pyro(here.path(), REAL);
        let folder = WorkspaceFolder::of(here.path(), "0123456789ab");
        folder.create().unwrap();
        let disk = StoppedDisk {
            id: "0123456789ab".to_owned(),
            disk: DiskAtRest::Folders {
                folders: chain(here.path()).to_vec(),
                pyro: here.path().join("pyro"),
            },
            _held: folder.lock("0123456789ab", LockMode::Shared).await.unwrap(),
        };
        Self { here, disk }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        remove_chain(self.here.path());
    }
}

/// Where one works whose disk is too small.
const VICTIM: &str = "PYRO_TEST_VICTIM";

/// Not a test by itself.
#[tokio::test]
async fn as_a_victim() {
    if let Some(here) = std::env::var_os(VICTIM).map(std::path::PathBuf::from) {
        let rig = Rig::new().await;
        let out = here.join("out");
        let error = rig
            .disk
            .export(out.join("disk"), &Caller::new())
            .await
            .unwrap_err();
        let left = std::fs::read_dir(&out).unwrap().count();
        std::fs::write(here.join("outcome"), format!("{:?} {left}", error.code)).unwrap();
    }
}

fn debugfs(image: &Path, command: &str) -> String {
    let mut debugfs = Command::new("debugfs");
    debugfs.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = debugfs.args(["-R", command]).arg(image).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_files_of_folders_are_read_as_those_of_a_disk() {
    let rig = Rig::new().await;
    let read = |path: &'static str| {
        rig.disk.with_files("It cannot be read", move |tree| {
            let path = tree.resolve(path.as_bytes(), true)?;
            tree.read(&path, 100)
        })
    };
    assert_eq!(read("workspace/out").await.unwrap(), b"passwd\n");
    assert_eq!(read("workspace/secret/key").await.unwrap(), b"secret\n");
    for path in ["etc/gone", "workspace/secret", "workspace/pipe"] {
        let error = read(path).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::UnknownFile, "{path}: {error:?}");
    }
    // One that is killed when it is asked.
    set_pyro(rig.here.path(), r#"echo '"ready"'; head -c 1 > /dev/null"#);
    let error = read("workspace/file").await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Internal);
    assert!(error.causes[1].contains("killed"), "{error:?}");
    also_as_user("workspace::stopped::tests::the_files_of_folders_are_read_as_those_of_a_disk");
}

#[tokio::test]
async fn folders_are_exported_as_an_image_with_their_owners() {
    let rig = Rig::new().await;
    let to = rig.here.path().join("disk.ext4");
    let caller = Caller::new();
    let (path, size) = rig.disk.export(to.clone(), &caller).await.unwrap();
    let found = path.metadata().unwrap();
    assert_eq!((found.len(), size), (16 << 30, 16 << 30));
    assert!(found.blocks() * 512 < 64 << 20, "it is not sparse");
    let mut e2fsck = Command::new("e2fsck");
    e2fsck.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let checked = e2fsck.arg("-fn").arg(&path).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");

    let tree = Tree::disk(&[Layer::raw(&path)], b"").unwrap();
    let mut names = Vec::new();
    tree.walk(b"", |path, stat| {
        names.push((String::from_utf8(path.to_vec()).unwrap(), stat.kind));
    })
    .unwrap();
    let kind = |path: &str| {
        let found = names.iter().find(|(name, _)| name == path);
        found.map(|(_, kind)| *kind)
    };
    assert_eq!(kind("workspace/pipe"), Some(FileKind::Special));
    assert_eq!(kind("workspace/out"), Some(FileKind::Symlink));
    assert_eq!((kind("etc/gone"), kind("etc/old/file")), (None, None));
    // The agent's own.
    assert_eq!(
        (kind("var/lib"), kind("var/lib/pyro")),
        (Some(FileKind::Directory), None)
    );
    assert_eq!(tree.read(b"etc/old/new", 10).unwrap(), b"new\n");
    assert_eq!(tree.stat(b"").unwrap().unwrap().mode, 0o1751);
    let key = debugfs(&path, "stat workspace/secret/key");
    assert!(key.contains("Mode:  04600"), "{key}");
    let words: Vec<&str> = key.split_whitespace().collect();
    let owner = |what| words[words.iter().position(|word| *word == what).unwrap() + 1];
    assert_eq!((owner("User:"), owner("Group:")), ("33", "44"));
    let inode = |name| debugfs(&path, &format!("stat workspace/{name}"))[..12].to_owned();
    assert_eq!(inode("file"), inode("again"));

    let times = |tree: &Tree| {
        let mut times = Vec::new();
        let told = tree.walk(b"workspace", |path, stat| {
            times.push((path.to_vec(), stat.mtime_ns));
        });
        times.sort();
        told.map(|_| times)
    };
    let of_folders = rig.disk.with_files("They cannot be read", times).await;
    let of_folders = of_folders.unwrap();
    assert!(of_folders.contains(&(b"workspace/file".to_vec(), 5_000_000_000_250_000_000)));
    assert_eq!(times(&tree).unwrap(), of_folders);

    // What is there is not touched.
    let error = rig.disk.export(to, &caller).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict, "{error:?}");
    also_as_user("workspace::stopped::tests::folders_are_exported_as_an_image_with_their_owners");
}

#[tokio::test]
async fn an_export_that_fails_or_is_given_up_leaves_nothing() {
    let rig = Rig::new().await;
    let caller = Caller::new();
    let out = rig.here.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let left = || std::fs::read_dir(&out).unwrap().count();
    for (script, code) in [
        (
            r#"echo '{"failed":{"errno":28,"causes":["full"]}}'"#,
            ErrorCode::NoSpace,
        ),
        ("exit 1", ErrorCode::Internal),
    ] {
        set_pyro(rig.here.path(), script);
        let error = rig
            .disk
            .export(out.join("disk"), &caller)
            .await
            .unwrap_err();
        assert_eq!(error.code, code, "{error:?}");
        assert_eq!(left(), 0);
    }
    set_pyro(
        rig.here.path(),
        r#"echo '{"progress":0.5}'; exec sleep 600"#,
    );
    let given_up = tokio::time::timeout(
        std::time::Duration::from_secs(1),
        rig.disk.export(out.join("disk"), &caller),
    );
    assert!(given_up.await.is_err());
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while left() > 0 {
        assert!(std::time::Instant::now() < until, "it goes on");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[test]
fn a_disk_that_is_too_small_for_an_image_is_told_and_nothing_is_left_on_it() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let here = tempfile::tempdir().unwrap();
    std::fs::create_dir(here.path().join("out")).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=128k tmpfs {}/out && exec {} --exact {}",
        here.path().display(),
        std::env::current_exe().unwrap().display(),
        "workspace::stopped::tests::as_a_victim",
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", &script]);
    let output = unshare.env(VICTIM, here.path()).output().unwrap();
    let outcome = std::fs::read_to_string(here.path().join("outcome"));
    assert_eq!(outcome.ok().as_deref(), Some("NoSpace 0"), "{output:?}");
}
