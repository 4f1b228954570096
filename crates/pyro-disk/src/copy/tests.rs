use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::{geteuid, mkfifo};

use super::*;
use crate::testing::{attribute, seen};

struct Rig {
    here: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let here = tempfile::tempdir().unwrap();
        let rig = Self { here };
        fs::create_dir(rig.from("")).unwrap();
        fs::create_dir(rig.to("")).unwrap();
        rig
    }

    fn from(&self, name: &str) -> PathBuf {
        self.here.path().join("from").join(name)
    }

    fn to(&self, name: &str) -> PathBuf {
        self.here.path().join("to").join(name)
    }

    fn copy(&self) -> Result<Copied, CopyError> {
        copy_layer(&self.from(""), &self.to(""), &mut |_| {
            ControlFlow::Continue(())
        })
    }
}

/// A device of these numbers, where the kernel lets this user have it.
fn device(path: &Path, kind: SFlag, number: u64) -> bool {
    mknod(path, kind, Mode::S_IRUSR, number).is_ok()
}

fn set(path: &Path, name: &std::ffi::CStr, value: &[u8]) {
    crate::xattr::set(&File::open(path).unwrap(), name, value).unwrap();
}

#[test]
fn a_copy_is_like_the_layer() {
    let rig = Rig::new();
    fs::create_dir_all(rig.from("a/deep/er")).unwrap();
    fs::write(rig.from("a/file"), "hello").unwrap();
    fs::write(rig.from("empty"), "").unwrap();
    let large: Vec<u8> = (0..1_500_000_u32).map(|at| (at / 7) as u8).collect();
    fs::write(rig.from("a/large"), large).unwrap();
    let sparse = File::create(rig.from("a/sparse")).unwrap();
    for piece in 0..30 {
        sparse.write_all_at(b"piece", piece * 90_000).unwrap();
    }
    sparse.set_len(30_000_000).unwrap();
    fs::hard_link(rig.from("a/file"), rig.from("a/deep/er/again")).unwrap();
    symlink("/etc/passwd", rig.from("away")).unwrap();
    symlink("nowhere", rig.from("a/link")).unwrap();
    mkfifo(&rig.from("pipe"), Mode::from_bits_truncate(0o640)).unwrap();
    drop(UnixListener::bind(rig.from("socket")).unwrap());
    let removal = device(&rig.from("a/removed"), SFlag::S_IFCHR, 0);
    set(&rig.from("a/deep"), c"user.overlay.opaque", b"y");
    set(&rig.from("a/file"), c"user.comment", b"kept");
    if geteuid().is_root() {
        std::os::unix::fs::lchown(rig.from("a/link"), Some(12), Some(34)).unwrap();
        std::os::unix::fs::lchown(rig.from("a/file"), Some(56), Some(78)).unwrap();
    }
    let modes = [
        ("a/file", 0o4755),
        ("a/deep", 0o3771),
        ("a/sparse", 0o400),
        ("", 0o751),
    ];
    for (name, mode) in modes {
        fs::set_permissions(rig.from(name), Permissions::from_mode(mode)).unwrap();
    }

    let done = rig.copy().unwrap();
    let (before, after) = (seen(&rig.from("")), seen(&rig.to("")));
    assert_eq!(before, after);
    // Itself is none of them.
    assert_eq!(done.entries, before.len() as u64 - 1);
    assert_eq!((done.devices, done.attributes), (0, 0));
    assert!(fs::metadata(rig.to("a/sparse")).unwrap().blocks() < 2000);
    let inode = |name| fs::metadata(rig.to(name)).unwrap().ino();
    assert_eq!(inode("a/file"), inode("a/deep/er/again"));
    assert_eq!(attribute(&rig.to("a/deep"), c"user.overlay.opaque"), b"y");
    assert_eq!(attribute(&rig.to("a/file"), c"user.comment"), b"kept");
    if removal {
        let copy = fs::symlink_metadata(rig.to("a/removed")).unwrap();
        assert!(copy.file_type().is_char_device() && copy.rdev() == 0);
    }
    let time = |path: PathBuf| {
        let found = fs::symlink_metadata(path).unwrap();
        (found.mtime(), found.mtime_nsec())
    };
    for name in ["", "a", "a/deep", "a/file", "a/link", "pipe"] {
        assert_eq!(time(rig.from(name)), time(rig.to(name)), "{name}");
    }
}

#[test]
fn an_overlay_shows_the_same_over_a_copy() {
    if !geteuid().is_root() {
        eprintln!("not played: only root mounts without further ado");
        return;
    }
    let rig = Rig::new();
    // In a mount namespace of its own, so that nothing stays mounted whatever happens.
    let script = r#"set -e
        cd "$0"
        mkdir lower merged again from/upper from/work to/upper to/work
        mkdir lower/folder lower/gone
        echo old > lower/folder/file; echo old > lower/folder/other; echo old > lower/gone/file
        mount -t overlay overlay -o userxattr,lowerdir=lower,upperdir=from/upper,workdir=from/work merged
        rm merged/folder/file
        rm -r merged/gone; mkdir merged/gone; echo new > merged/gone/new
        echo more >> merged/folder/other
        umount merged
    "#;
    let unshared = |script: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-c", script]);
        let output = unshare.arg(rig.here.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    unshared(script);
    copy_layer(&rig.from("upper"), &rig.to("upper"), &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    let shown = unshared(
        r#"set -e
        cd "$0"
        mount -t overlay overlay -o userxattr,lowerdir=lower,upperdir=to/upper,workdir=to/work again
        cd again; find . | sort; cat folder/other gone/new
    "#,
    );
    assert_eq!(
        shown,
        ".\n./folder\n./folder/other\n./gone\n./gone/new\nold\nmore\nnew\n"
    );
}

#[test]
fn other_devices_stay_out() {
    let rig = Rig::new();
    if device(
        &rig.from("null"),
        SFlag::S_IFCHR,
        nix::sys::stat::makedev(1, 3),
    ) {
        assert!(device(&rig.from("disk"), SFlag::S_IFBLK, 0));
        let done = rig.copy().unwrap();
        assert_eq!((done.entries, done.devices), (0, 2));
        assert_eq!(fs::read_dir(rig.to("")).unwrap().count(), 0);
    }
}

#[test]
fn what_a_link_leads_to_is_not_copied_and_not_written_to() {
    let rig = Rig::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    symlink(outside.path(), rig.from("folder")).unwrap();
    symlink(outside.path().join("secret"), rig.from("file")).unwrap();
    rig.copy().unwrap();
    for name in ["folder", "file"] {
        assert!(fs::symlink_metadata(rig.to(name)).unwrap().is_symlink());
    }
    // Nor is a link taken for the place to copy from or to.
    symlink(rig.from(""), rig.here.path().join("other")).unwrap();
    let other = rig.here.path().join("other");
    let refused = copy_layer(&other, &rig.to(""), &mut |_| ControlFlow::Continue(()));
    assert!(matches!(refused, Err(CopyError::Folder { .. })));
}

#[test]
fn what_cannot_be_copied_is_told() {
    let rig = Rig::new();
    let mut deep = rig.from("");
    deep.extend(std::iter::repeat_n("d", 500));
    fs::create_dir_all(&deep).unwrap();
    assert!(matches!(rig.copy(), Err(CopyError::TooLarge { .. })));
    assert!(matches!(rig.copy(), Err(CopyError::NotEmpty { .. })));

    let rig = Rig::new();
    fs::write(rig.from("file"), "content").unwrap();
    let cancelled = copy_layer(&rig.from(""), &rig.to(""), &mut |_| ControlFlow::Break(()));
    assert!(matches!(cancelled, Err(CopyError::Cancelled)));
    let missing = copy_layer(&rig.from("none"), &rig.to(""), &mut |_| {
        ControlFlow::Break(())
    });
    assert!(matches!(missing, Err(CopyError::Folder { .. })));
}
