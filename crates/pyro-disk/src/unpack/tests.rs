use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

use super::*;
use crate::error::TreeError;
use crate::testing::{attribute, edit, image, layer, seen};

fn whole(layers: &[Layer], folder: &Path) -> Result<Unpacked, UnpackError> {
    unpack(layers, folder, &mut |_, _| ControlFlow::Continue(()))
}

/// An image of a folder, and an empty folder.
struct Rig {
    here: tempfile::TempDir,
}

impl Rig {
    fn new(source: &Path) -> Self {
        let rig = Self {
            here: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(rig.target()).unwrap();
        image(source, &rig.disk(), "1024", 16, 0xee);
        rig
    }

    fn disk(&self) -> PathBuf {
        self.here.path().join("disk")
    }

    fn target(&self) -> PathBuf {
        self.here.path().join("target")
    }

    fn unpack(&self) -> Result<Unpacked, UnpackError> {
        whole(&[Layer::raw(&self.disk())], &self.target())
    }
}

/// One of everything.
fn source() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("a/deep/er")).unwrap();
    fs::write(at("a/file"), "hello").unwrap();
    fs::write(at("empty"), "").unwrap();
    let large: Vec<u8> = (0..1_500_000_u32).map(|at| (at / 7) as u8).collect();
    fs::write(at("a/deep/large"), large).unwrap();
    let sparse = File::create(at("a/sparse")).unwrap();
    for piece in 0..50 {
        sparse.write_all_at(b"piece", piece * 50_000).unwrap();
    }
    sparse.set_len(30_000_000).unwrap();
    fs::hard_link(at("a/file"), at("a/deep/er/again")).unwrap();
    symlink("a/file", at("short")).unwrap();
    symlink("x/".repeat(200), at("long")).unwrap();
    symlink("/etc/passwd", at("away")).unwrap();
    mkfifo(&at("pipe"), Mode::from_bits_truncate(0o640)).unwrap();
    drop(UnixListener::bind(at("socket")).unwrap());
    fs::write(at("a").join(OsStr::from_bytes(b"odd\n\xff")), "odd").unwrap();
    for (name, mode) in [
        ("a/file", 0o4755),
        ("a/deep", 0o3771),
        ("a/deep/er", 0o000),
        ("empty", 0o000),
    ] {
        fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
    }
    folder
}

#[test]
fn everything_is_as_it_was() {
    let source = source();
    let rig = Rig::new(source.path());
    let done = rig.unpack().unwrap();
    let blocks = fs::metadata(rig.target().join("a/sparse"))
        .unwrap()
        .blocks();
    let mut before = seen(source.path());
    let mut after = seen(&rig.target());
    let lost = after.remove(Path::new("lost+found")).unwrap();
    assert_eq!(lost.mode, 0o40_700);
    // The root of the file system is not the folder that it was made from.
    for all in [&mut before, &mut after] {
        all.remove(Path::new("")).unwrap();
    }
    assert_eq!(before, after);
    assert_eq!(done.entries, before.len() as u64 + 1);
    assert_eq!((done.devices, done.attributes), (0, 0));
    assert!(done.allocated < 4_000_000, "{done:?}");
    assert!(done.allocated >= done.bytes, "{done:?}");
    assert!(blocks < 2000, "{blocks} blocks for a file of holes");
    let inode = |name| fs::metadata(rig.target().join(name)).unwrap().ino();
    assert_eq!(inode("a/file"), inode("a/deep/er/again"));
}

#[test]
fn a_chain_of_layers_is_unpacked_like_the_disk_that_it_shows() {
    let source = source();
    let rig = Rig::new(source.path());
    let (base, top) = (rig.here.path().join("base"), rig.here.path().join("top"));
    fs::write(
        &base,
        vec![0; fs::metadata(rig.disk()).unwrap().len() as usize],
    )
    .unwrap();
    let chain = [Layer::raw(&base), layer(&base, &rig.disk(), &top)];
    whole(&chain, &rig.target()).unwrap();
    let direct = rig.here.path().join("direct");
    fs::create_dir(&direct).unwrap();
    whole(&[Layer::raw(&rig.disk())], &direct).unwrap();
    assert_eq!(seen(&direct), seen(&rig.target()));
}

#[test]
fn times_are_kept_to_the_nanosecond() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    fs::write(folder.path().join("folder/file"), "").unwrap();
    symlink("nowhere", folder.path().join("link")).unwrap();
    let rig = Rig::new(folder.path());
    // Two bits are for the years after 2038; the rest are nanoseconds.
    let extra = 123_456_789_u32 << 2 | 1;
    for name in ["folder", "folder/file", "link"] {
        for field in ["mtime", "atime"] {
            edit(
                &rig.disk(),
                &format!("set_inode_field {name} {field} @1000"),
            );
            edit(
                &rig.disk(),
                &format!("set_inode_field {name} {field}_extra {extra}"),
            );
        }
    }
    rig.unpack().unwrap();
    for name in ["folder", "folder/file", "link"] {
        let found = fs::symlink_metadata(rig.target().join(name)).unwrap();
        let seconds = 1000 + (1 << 32);
        assert_eq!((found.mtime(), found.mtime_nsec()), (seconds, 123_456_789));
        assert_eq!((found.atime(), found.atime_nsec()), (seconds, 123_456_789));
    }
}

#[test]
fn owners_are_kept_by_root_and_told_by_others() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    fs::set_permissions(folder.path().join("file"), Permissions::from_mode(0o6755)).unwrap();
    symlink("nowhere", folder.path().join("link")).unwrap();
    let rig = Rig::new(folder.path());
    for name in ["file", "link"] {
        edit(&rig.disk(), &format!("set_inode_field {name} uid 101234"));
        edit(&rig.disk(), &format!("set_inode_field {name} gid 105678"));
    }
    match rig.unpack() {
        Ok(_) => {
            for (name, mode) in [("file", 0o106_755), ("link", 0o120_777)] {
                let found = fs::symlink_metadata(rig.target().join(name)).unwrap();
                assert_eq!((found.uid(), found.gid()), (101_234, 105_678));
                assert_eq!(found.mode(), mode);
            }
            assert!(geteuid().is_root());
        }
        Err(UnpackError::Owner { owner, group, .. }) => {
            assert_eq!((owner, group), (101_234, 105_678));
            assert!(!geteuid().is_root());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn devices_and_what_an_overlay_would_believe_stay_out() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let rig = Rig::new(folder.path());
    edit(&rig.disk(), "mknod whiteout c 0 0");
    edit(&rig.disk(), "mknod disk b 8 0");
    edit(&rig.disk(), "ea_set file user.overlay.opaque y");
    edit(&rig.disk(), "ea_set file user.comment kept");
    let done = rig.unpack().unwrap();
    assert_eq!((done.devices, done.attributes), (2, 1));
    assert!(!rig.target().join("whiteout").exists());
    assert_eq!(
        attribute(&rig.target().join("file"), c"user.comment"),
        b"kept"
    );
    assert_eq!(
        attribute(&rig.target().join("file"), c"user.overlay.opaque"),
        b""
    );
}

#[test]
fn attributes_in_the_inode_and_in_a_block_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "content").unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    let rig = Rig::new(folder.path());
    let values =
        [("a", 5), ("b", 300), ("c", 60)].map(|(name, length)| (name, name.repeat(length)));
    for file in ["file", "folder"] {
        for (name, value) in &values {
            edit(&rig.disk(), &format!("ea_set {file} user.{name} {value}"));
        }
    }
    let done = rig.unpack().unwrap();
    assert_eq!(done.attributes, 0);
    for file in ["file", "folder"] {
        for (name, value) in &values {
            let name = std::ffi::CString::new(format!("user.{name}")).unwrap();
            let kept = attribute(&rig.target().join(file), &name);
            assert_eq!(kept, value.as_bytes());
        }
    }
    assert_eq!(fs::read(rig.target().join("file")).unwrap(), b"content");
}

#[test]
fn what_a_file_may_do_survives_its_change_of_owner() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ping"), "program").unwrap();
    let rig = Rig::new(folder.path());
    // As `setcap cap_net_raw=ep` writes it.
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let value = rig.here.path().join("value");
    fs::write(&value, capability).unwrap();
    let command = format!("ea_set -f {} ping security.capability", value.display());
    edit(&rig.disk(), &command);
    let done = rig.unpack().unwrap();
    let kept = attribute(&rig.target().join("ping"), c"security.capability");
    match geteuid().is_root() {
        true => assert_eq!((&kept[4..12], done.attributes), (&capability[4..12], 0)),
        false => assert_eq!((kept.as_slice(), done.attributes), (&b""[..], 1)),
    }
}

#[test]
fn a_folder_that_is_not_empty_and_a_call_that_is_cancelled_are_told() {
    let source = source();
    let rig = Rig::new(source.path());
    let mut calls = 0;
    let cancelled = unpack(
        &[Layer::raw(&rig.disk())],
        &rig.target(),
        &mut |done, all| {
            calls += 1;
            assert!(done <= all);
            match calls {
                5 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        },
    );
    assert!(matches!(cancelled, Err(UnpackError::Cancelled)));
    assert!(matches!(rig.unpack(), Err(UnpackError::NotEmpty { .. })));
    let file = rig.here.path().join("file");
    fs::write(&file, "").unwrap();
    let link = rig.here.path().join("link");
    symlink(rig.target(), &link).unwrap();
    for target in [file, link, rig.here.path().join("missing")] {
        let refused = whole(&[Layer::raw(&rig.disk())], &target);
        assert!(matches!(refused, Err(UnpackError::Folder { .. })));
    }
}

#[test]
fn a_folder_in_itself_or_in_two_places_is_refused() {
    for link in ["link outer outer/inner/again", "link outer twice"] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("outer/inner")).unwrap();
        let rig = Rig::new(folder.path());
        edit(&rig.disk(), link);
        match rig.unpack() {
            Err(UnpackError::Disk(TreeError::Damaged { what })) => {
                assert_eq!(what, "a folder is in two places");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn folders_that_are_too_deep_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut path = folder.path().to_owned();
    path.extend(std::iter::repeat_n("d", 500));
    fs::create_dir_all(&path).unwrap();
    let rig = Rig::new(folder.path());
    assert!(matches!(
        rig.unpack(),
        Err(UnpackError::Disk(TreeError::TooLarge { .. }))
    ));
}

#[test]
fn a_link_and_a_folder_of_one_name_lead_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("name1")).unwrap();
    fs::write(folder.path().join("name1/evil"), "evil").unwrap();
    symlink(outside.path(), folder.path().join("name2")).unwrap();
    let rig = Rig::new(folder.path());
    // Both get the name of the link, in the folder's own bytes.
    let mut disk = fs::read(rig.disk()).unwrap();
    let at = disk.windows(5).position(|bytes| bytes == b"name1").unwrap();
    disk[at + 4] = b'2';
    fs::write(rig.disk(), disk).unwrap();
    // The first of one name is the one that there is.
    let _ = rig.unpack();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn files_that_share_blocks_do_not_fill_this_host() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..20 {
        fs::write(folder.path().join(number.to_string()), vec![1; 1_000_000]).unwrap();
    }
    // One that is really 1 MB, and others that say that they are where it is.
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("disk");
    image(folder.path(), &path, "1024", 32, 0);
    let bytes = fs::read(&path).unwrap();
    // An image cut to less than its files take: what is beyond reads as zeros, and is refused.
    fs::write(&path, &bytes[..16 << 20]).unwrap();
    let target = here.path().join("target");
    fs::create_dir(&target).unwrap();
    let refused = whole(&[Layer::raw(&path)], &target);
    assert!(
        matches!(refused, Err(UnpackError::Disk(TreeError::Damaged { .. }))),
        "{refused:?}"
    );
}

#[test]
fn a_damaged_disk_gives_errors_and_no_panic() {
    let source = source();
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("disk");
    image(source.path(), &path, "1024", 8, 0);
    let whole_disk = fs::read(&path).unwrap();
    let interesting: Vec<usize> = (1024..whole_disk.len() - 1)
        .filter(|&at| {
            whole_disk[at] > 1 && !(at > 512 * 1024 && whole_disk[at] == whole_disk[at + 1])
        })
        .collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut unpacked = 0;
    for round in 0..100 {
        let mut disk = whole_disk.clone();
        for _ in 0..10 {
            let at = interesting[next() as usize % interesting.len()];
            disk[at] = next() as u8;
            disk[at + 1] ^= 1 << (next() % 8);
        }
        fs::write(&path, disk).unwrap();
        let target = here.path().join(format!("target{round}"));
        fs::create_dir(&target).unwrap();
        if whole(&[Layer::raw(&path)], &target).is_ok() {
            unpacked += 1;
        }
        let _ = seen_rights(&target);
        fs::remove_dir_all(&target).unwrap();
    }
    assert!(
        unpacked > 5,
        "only {unpacked} were damaged in an interesting way"
    );
}

/// Makes all folders readable, so that they can be removed.
fn seen_rights(folder: &Path) -> std::io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            seen_rights(&entry.path())?;
        }
    }
    Ok(())
}
