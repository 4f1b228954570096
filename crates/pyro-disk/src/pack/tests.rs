use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;
use crate::testing::{edit, image};

fn go_on(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn packed(source: &Path, edits: &[&str]) -> (Vec<u8>, Packed) {
    let here = tempfile::tempdir().unwrap();
    let disk = here.path().join("disk");
    image(source, &disk, "1024", 16, 0xee);
    for command in edits {
        edit(&disk, command);
    }
    let mut archive = Vec::new();
    let done = pack(&[Layer::raw(&disk)], &mut archive, &mut go_on).unwrap();
    (archive, done)
}

/// Kind, mode, the contents or the target, and what the records before it say but for the time.
type Member = (tar::EntryType, u32, String, Vec<(String, String)>);

/// Paths with what `tar` says of each.
fn read(archive: &[u8]) -> BTreeMap<String, Member> {
    let mut all = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let records = entry.pax_extensions().unwrap();
        let records = records.into_iter().flatten().map(|record| {
            let record = record.unwrap();
            let value = String::from_utf8_lossy(record.value_bytes()).into_owned();
            (record.key().unwrap().to_owned(), value)
        });
        let mut records: Vec<_> = records.collect();
        records.retain(|(key, _)| key != "mtime");
        let (kind, mode) = (entry.header().entry_type(), entry.header().mode().unwrap());
        let mut text = match entry.link_name().unwrap() {
            Some(target) => target.display().to_string(),
            None => String::new(),
        };
        entry.read_to_string(&mut text).unwrap();
        assert!(all.insert(path, (kind, mode, text, records)).is_none());
    }
    all
}

#[test]
fn an_archive_has_all_that_the_disk_has_and_an_image_may_have() {
    let source = tempfile::tempdir().unwrap();
    let at = |name: &str| source.path().join(name);
    fs::create_dir_all(at("var/lib/pyro/services")).unwrap();
    fs::write(at("var/lib/pyro/index"), "the agent's").unwrap();
    fs::create_dir_all(at("a/deep")).unwrap();
    fs::write(at("a/file"), "hello").unwrap();
    fs::hard_link(at("a/file"), at("a/same")).unwrap();
    fs::set_permissions(at("a/file"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(at("a/.wh.gone"), "").unwrap();
    let long = format!("a/deep/{}", "n".repeat(150));
    fs::write(at(&long), "long").unwrap();
    fs::write(at("a/ä"), "").unwrap();
    symlink("../a/file", at("a/link")).unwrap();
    mkfifo(&at("a/pipe"), Mode::S_IRUSR).unwrap();
    let sparse = fs::File::create(at("a/sparse")).unwrap();
    sparse.set_len(3_000_000).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(at("a/socket")).unwrap();
    drop(socket);
    let (archive, done) = packed(
        source.path(),
        &[
            "set_inode_field a/deep uid 3000000",
            "ea_set a/file user.note kept",
            "mknod disk b 8 0",
        ],
    );
    assert_eq!(archive.len() % 512, 0);
    let all = read(&archive);
    let of = |path: &str| all[path].clone();
    let names: Vec<_> = all.keys().map(String::as_str).collect();
    let expected = [
        "a/", "a/deep/", &long, "a/file", "a/link", "a/pipe", "a/same", "a/sparse", "a/ä", "var/",
        "var/lib/",
    ];
    assert_eq!(names, expected);
    use tar::EntryType;
    // The order of names in a folder is the file system's, and the first one has the contents.
    let (first, second) = match of("a/file").0 {
        EntryType::Regular => ("a/file", "a/same"),
        _ => ("a/same", "a/file"),
    };
    let (kind, mode, text, records) = of(first);
    assert_eq!((kind, mode, &*text), (EntryType::Regular, 0o4755, "hello"));
    let note = ("SCHILY.xattr.user.note".to_owned(), "kept".to_owned());
    assert_eq!(records, [note]);
    let (kind, _, text, _) = of(second);
    assert_eq!((kind, &*text), (EntryType::Link, first));
    let (kind, _, text, _) = of("a/link");
    assert_eq!((kind, &*text), (EntryType::Symlink, "../a/file"));
    assert_eq!(of("a/pipe").0, EntryType::Fifo);
    assert_eq!(of(&long).2, "long");
    assert_eq!(of("a/sparse").2.len(), 3_000_000);
    assert!(
        of("a/deep/")
            .3
            .contains(&("uid".to_owned(), "3000000".to_owned()))
    );
    let left_out = (
        done.devices_left_out,
        done.sockets_left_out,
        done.names_left_out,
    );
    assert_eq!(left_out, (1, 1, 1));
    assert_eq!(done.entries, all.len() as u64);
}

#[test]
fn an_archive_that_nobody_waits_for_ends() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), vec![1; 3 << 20]).unwrap();
    let here = tempfile::tempdir().unwrap();
    let disk = here.path().join("disk");
    image(source.path(), &disk, "1024", 16, 0);
    let mut seen = 0;
    let mut progress = |_, _| {
        seen += 1;
        match seen {
            1..3 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    };
    let done = pack(&[Layer::raw(&disk)], &mut std::io::sink(), &mut progress);
    assert!(matches!(done, Err(PackError::Cancelled)), "{done:?}");
}

/// Each could be on such a disk, and all of them are more than anybody has room for.
#[test]
fn holes_without_end_are_refused() {
    let source = tempfile::tempdir().unwrap();
    let sparse = |name: &str| {
        let file = fs::File::create(source.path().join(name)).unwrap();
        file.set_len(15 << 20).unwrap();
    };
    let here = tempfile::tempdir().unwrap();
    let disk = here.path().join("disk");
    sparse("a");
    sparse("b");
    image(source.path(), &disk, "1024", 16, 0);
    let layers = [Layer::raw(&disk)];
    let done = pack(&layers, &mut std::io::sink(), &mut go_on).unwrap();
    assert_eq!(done.bytes, 30 << 20);

    sparse("c");
    image(source.path(), &disk, "1024", 16, 0);
    let mut archive = Vec::new();
    let done = pack(&layers, &mut archive, &mut go_on);
    assert!(
        matches!(done, Err(PackError::TooMuch { most }) if most == 32 << 20),
        "{done:?}"
    );
    assert!(archive.len() <= 32 << 20);
}

#[test]
fn names_that_lead_elsewhere_are_in_no_archive() {
    let source = tempfile::tempdir().unwrap();
    const NAME: &[u8] = b"a-name";
    fs::write(source.path().join("a-name"), "").unwrap();
    fs::write(source.path().join("other"), "").unwrap();
    let here = tempfile::tempdir().unwrap();
    let disk = here.path().join("disk");
    image(source.path(), &disk, "1024", 16, 0);
    let sound = fs::read(&disk).unwrap();
    let mut places = (0..sound.len()).filter(|&at| sound[at..].starts_with(NAME));
    let (Some(place), None) = (places.next(), places.next()) else {
        panic!("the name is on the disk once");
    };
    // How long a name is stands two bytes before it.
    let packed_as = |name: &[u8]| {
        let mut bytes = sound.clone();
        bytes[place..place + name.len()].copy_from_slice(name);
        bytes[place - 2] = u8::try_from(name.len()).unwrap();
        fs::write(&disk, bytes).unwrap();
        let mut archive = Vec::new();
        pack(&[Layer::raw(&disk)], &mut archive, &mut go_on)
            .map(|_| read(&archive).into_keys().collect::<Vec<_>>())
    };
    assert_eq!(packed_as(b"a-nam").unwrap(), ["a-nam", "other"]);
    for name in [&b"/etc"[..], b"../a", b"a/b", b"a\0b", b"/", b"\0", b""] {
        let told = packed_as(name);
        let refused = matches!(told, Err(PackError::Disk(TreeError::Damaged { .. })));
        assert!(refused, "{name:?}: {told:?}");
    }
    // These two are in every folder, and are no members.
    for name in [&b".."[..], b"."] {
        assert_eq!(packed_as(name).unwrap(), ["other"]);
    }
}
