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

    /// Runs a script in a mount namespace of its own, so that nothing stays mounted whatever happens.
    fn unshared(&self, script: &str) -> String {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-c", script]);
        let output = unshare.arg(self.here.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
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
    rig.unshared(script);
    copy_layer(&rig.from("upper"), &rig.to("upper"), &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    let shown = rig.unshared(
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
    assert!(matches!(rig.copy(), Err(CopyError::TooDeep { .. })));
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

/// Two layers `one` and `two` on `lower`, and a place for what is made of them.
fn pair() -> Rig {
    let rig = Rig::new();
    for name in ["lower", "one", "two", "made"] {
        fs::create_dir(rig.here.path().join(name)).unwrap();
    }
    for name in ["one", "two", "made"] {
        for part in ["upper", "work"] {
            fs::create_dir(rig.here.path().join(name).join(part)).unwrap();
        }
    }
    rig
}

impl Rig {
    fn merge(&self) -> Result<Copied, CopyError> {
        let upper = |name: &str| self.here.path().join(name).join("upper");
        merge_layers(&upper("one"), &upper("two"), &upper("made"), &mut |_| {
            ControlFlow::Continue(())
        })
    }

    /// What an overlay of these shows on `lower`.
    fn shown(&self, layers: &[&str]) -> String {
        let lower: String = layers.iter().map(|name| format!("{name}/upper:")).collect();
        self.unshared(&format!(
            r#"set -e
            cd "$0"; mount -t tmpfs tmpfs to; mkdir to/merged to/empty
            mount -t overlay overlay -o "ro,userxattr,lowerdir={lower}lower:to/empty" to/merged
            cd to/merged
            find . -type d -printf '%p %m %U %G %T@\n' | sort
            find . ! -type d -printf '%p %y %m %U %G %l %T@ %n\n' | sort
            find . -type f | sort | xargs -r -d '\n' md5sum"#
        ))
    }
}

#[test]
fn one_layer_of_two_shows_what_both_show() {
    if !geteuid().is_root() {
        eprintln!("not played: only root mounts without further ado");
        return;
    }
    let mut random = 0x2545_f491_u32;
    let mut next = |below: u32| {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        random % below
    };
    let mut removals = 0;
    let mut opaque = 0;
    for round in 0..12 {
        let rig = pair();
        let path = |next: &mut dyn FnMut(u32) -> u32| {
            let parts = (0..=next(3)).map(|_| ["a", "b", "c", "d"][next(4) as usize]);
            parts.collect::<Vec<_>>().join("/")
        };
        let changes = |count: u32, next: &mut dyn FnMut(u32) -> u32| {
            let mut script = String::new();
            for number in 0..count {
                let (one, other) = (path(next), path(next));
                script += &match next(8) {
                    0 | 1 => format!("mkdir -p {one}\n"),
                    2 => format!("mkdir -p $(dirname {one}); echo {round}.{number} > {one}\n"),
                    3 => format!("rm -rf {one}; mkdir -p {one}; echo {number} > {one}/new\n"),
                    4 => format!("rm -rf {one}\n"),
                    5 => format!("[ -f {one} ] && ln {one} {other}\n"),
                    6 => format!("rm -rf {one}; ln -s {other} {one}\n"),
                    _ => format!("chmod 7{number:02} {one}; chown -h {number}:7 {one}\n")
                        .replace(['8', '9'], "1"),
                };
            }
            script
        };
        let below = changes(30, &mut next);
        let (one, two) = (changes(40, &mut next), changes(40, &mut next));
        rig.unshared(&format!(
            r#"cd "$0" && mkdir merged
            (cd lower; {below}) 2> /dev/null
            mount() {{ command mount -t overlay overlay -o "userxattr,$1" merged || exit 1; }}
            mount "lowerdir=lower,upperdir=one/upper,workdir=one/work"
            (cd merged; {one}) 2> /dev/null
            umount merged || exit 1
            mount "lowerdir=one/upper:lower,upperdir=two/upper,workdir=two/work"
            (cd merged; {two}) 2> /dev/null
            umount merged"#
        ));
        let before = rig.shown(&["two", "one"]);
        rig.merge().unwrap();
        // Files with other names as well have more of them while both are there.
        let layers = ["one", "two"].map(|name| rig.here.path().join(name));
        for layer in &layers {
            fs::remove_dir_all(layer).unwrap();
        }
        assert_eq!(
            rig.shown(&["made"]),
            before,
            "round {round}: {below}/ {one}/ {two}"
        );
        for (path, seen) in seen(&rig.here.path().join("made/upper")) {
            removals += u32::from(seen.mode & 0o170_000 == 0o020_000);
            let path = rig.here.path().join("made/upper").join(path);
            opaque += u32::from(path.is_dir() && attribute(&path, c"user.overlay.opaque") == b"y");
        }
    }
    // That it was about something.
    assert!(removals > 5 && opaque > 5, "{removals} {opaque}");
}

#[test]
fn removals_that_are_marked_by_attributes_are_merged_too() {
    let rig = pair();
    let at = |name: &str| rig.here.path().join(name);
    fs::create_dir(at("one/upper/folder")).unwrap();
    fs::create_dir(at("two/upper/folder")).unwrap();
    for name in ["removed", "kept"] {
        fs::write(at("one/upper/folder").join(name), "old").unwrap();
    }
    fs::write(at("two/upper/folder/removed"), "").unwrap();
    fs::write(at("two/upper/folder/empty"), "").unwrap();
    set(&at("two/upper/folder"), c"user.overlay.opaque", b"x");
    set(
        &at("two/upper/folder/removed"),
        c"user.overlay.whiteout",
        b"y",
    );
    if !device(&at("probe"), SFlag::S_IFCHR, 0) {
        eprintln!("not played: this user may not make removals");
        return;
    }
    assert_eq!(rig.merge().unwrap().entries, 4);
    let removed = fs::symlink_metadata(at("made/upper/folder/removed")).unwrap();
    assert!(removed.file_type().is_char_device() && removed.rdev() == 0);
    assert_eq!(fs::read(at("made/upper/folder/kept")).unwrap(), b"old");
    assert_eq!(fs::read(at("made/upper/folder/empty")).unwrap(), b"");
    let opaque = attribute(&at("made/upper/folder"), c"user.overlay.opaque");
    assert_eq!(opaque, b"");
}

#[test]
fn a_folder_over_what_hid_something_hides_it_still() {
    let rig = pair();
    let at = |name: &str| rig.here.path().join(name);
    fs::write(at("one/upper/file"), "old").unwrap();
    fs::create_dir_all(at("one/upper/hides/below")).unwrap();
    set(&at("one/upper/hides"), c"user.overlay.opaque", b"y");
    for name in ["file", "hides", "hides/below"] {
        fs::create_dir(at("two/upper").join(name)).unwrap();
    }
    rig.merge().unwrap();
    let opaque = |name: &str| attribute(&at("made/upper").join(name), c"user.overlay.opaque");
    assert_eq!(opaque("file"), b"y");
    assert_eq!(opaque("hides"), b"y");
    assert_eq!(opaque("hides/below"), b"");
}

#[test]
fn a_merge_takes_no_space_and_changes_neither_layer() {
    let rig = pair();
    let at = |name: &str| rig.here.path().join(name);
    fs::write(at("one/upper/large"), vec![1; 1 << 20]).unwrap();
    fs::hard_link(at("one/upper/large"), at("one/upper/again")).unwrap();
    fs::write(at("one/upper/other"), "old").unwrap();
    fs::write(at("two/upper/other"), "new").unwrap();
    let before = [seen(&at("one")), seen(&at("two"))];
    let inode = |name: &str| fs::metadata(at(name)).unwrap().ino();
    let done = rig.merge().unwrap();
    assert_eq!((done.entries, done.bytes), (3, (1 << 20) + 3));
    assert_eq!(inode("made/upper/large"), inode("one/upper/large"));
    assert_eq!(inode("made/upper/again"), inode("made/upper/large"));
    assert_eq!(fs::read(at("made/upper/other")).unwrap(), b"new");
    fs::remove_dir_all(at("made")).unwrap();
    assert_eq!([seen(&at("one")), seen(&at("two"))], before);
}

#[test]
fn what_cannot_be_linked_is_copied() {
    if !geteuid().is_root() {
        return;
    }
    // Another file system.
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    let rig = pair();
    let at = |name: &str| rig.here.path().join(name);
    fs::write(at("one/upper/file"), "content").unwrap();
    fs::hard_link(at("one/upper/file"), at("one/upper/again")).unwrap();
    let (one, two) = (at("one/upper"), at("two/upper"));
    let done = merge_layers(&one, &two, other.path(), &mut |_| ControlFlow::Continue(()));
    assert_eq!(done.unwrap().entries, 2);
    let inode = |name: &str| fs::metadata(other.path().join(name)).unwrap().ino();
    assert_eq!(inode("file"), inode("again"));
    assert_eq!(fs::read(other.path().join("file")).unwrap(), b"content");
}
