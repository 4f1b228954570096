mod holes;
mod repositories;
mod selection;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::stat::Mode;
use pyro_wire::Bytes;
use pyro_wire::files::{Entry, EntryKind, Meta, Stamp};

use super::*;
use crate::archive::{ArchiveReader, ArchiveWriter, Member, MemberKind};
use crate::progress::Totals;

type Unpacked = BTreeMap<Vec<u8>, (Member, Vec<u8>)>;

fn go_on(_: Totals) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn pack(path: &Path, index: Option<&GuestIndex>) -> Result<(Packed, Unpacked), ImportError> {
    let (packed, unpacked, _) = pack_source(&Source::open(path, None)?, index)?;
    Ok((packed, unpacked))
}

fn pack_source(
    source: &Source,
    index: Option<&GuestIndex>,
) -> Result<(Packed, Unpacked, Survey), ImportError> {
    let survey = source.survey(&mut go_on)?;
    let mut bytes = Vec::new();
    let packed = source.pack(&survey, index, &mut bytes, &mut go_on)?;
    assert_eq!(packed.whole, survey.totals());

    let mut unpacked = Unpacked::new();
    let mut reader = ArchiveReader::new(bytes.as_slice());
    while let Some(member) = reader.next_member().unwrap() {
        let mut data = vec![0; usize::try_from(member.size).unwrap()];
        let mut buffer = [0; 1000];
        loop {
            let (at, count) = reader.read_part(&mut buffer).unwrap();
            if count == 0 {
                break;
            }
            let at = usize::try_from(at).unwrap();
            data[at..at + count].copy_from_slice(&buffer[..count]);
        }
        unpacked.insert(member.name.clone(), (member, data));
    }
    assert_eq!(packed.changed.entries, unpacked.len() as u64);
    Ok((packed, unpacked, survey))
}

/// What a guest would list that unpacked this after all changes here.
fn listing(unpacked: &Unpacked) -> GuestIndex {
    listing_since(unpacked, i64::MAX)
}

fn listing_since(unpacked: &Unpacked, landed_ns: i64) -> GuestIndex {
    listing_at(unpacked, landed_ns, i64::MAX)
}

fn listing_at(unpacked: &Unpacked, landed_ns: i64, now_ns: i64) -> GuestIndex {
    let entries = unpacked.values().map(|(member, _)| {
        let file = match &member.kind {
            MemberKind::HardLink { target } => &unpacked[target].0,
            _ => member,
        };
        let (kind, target) = match &file.kind {
            MemberKind::Folder => (EntryKind::Directory, None),
            MemberKind::Symlink { target } => (EntryKind::Symlink, Some(target)),
            _ => (EntryKind::File, None),
        };
        Entry {
            path: Bytes::from([b"to/", member.name.as_slice()].concat()),
            meta: Meta {
                kind,
                size: file.size,
                mode: file.mode,
                target: target.map(|target| Bytes::from(target.clone())),
                empty: false,
            },
            stamp: Stamp {
                inode: 1,
                size: file.size,
                mtime_ns: file.mtime_ns,
                ctime_ns: landed_ns,
            },
            unreadable: false,
        }
    });
    GuestIndex::new(entries, b"to", now_ns)
}

fn refusal(result: Result<(Packed, Unpacked), ImportError>) -> (String, String) {
    match result {
        Err(ImportError::Refused { name, why }) => (name, why),
        other => panic!("not refused: {other:?}"),
    }
}

fn set_time(path: &Path, since_epoch: Duration) {
    fs::File::open(path)
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH + since_epoch)
        .unwrap();
}

/// A folder with one of everything.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("src/empty")).unwrap();
    fs::write(at("src/main.rs"), "fn main() {}\n").unwrap();
    fs::write(at("run.sh"), vec![b'#'; 700_000]).unwrap();
    fs::set_permissions(at("run.sh"), fs::Permissions::from_mode(0o4755)).unwrap();
    set_time(&at("run.sh"), Duration::new(1_600_000_000, 123_456_789));
    fs::hard_link(at("run.sh"), at("src/again.sh")).unwrap();
    symlink("../run.sh", at("src/link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    let odd = OsStr::from_bytes(b"new\nline \"'\xff");
    fs::write(folder.path().join(odd), "odd").unwrap();
    fs::write(at(&"n".repeat(255)), "").unwrap();
    folder
}

#[test]
fn a_folder_arrives_as_it_is() {
    let folder = project();
    let (packed, unpacked) = pack(folder.path(), None).unwrap();
    assert_eq!(packed.whole.entries, 9);
    assert_eq!(packed.whole.bytes, 13 + 700_000 + 3);
    assert_eq!(packed.changed, packed.whole);

    let script: Vec<&(Member, Vec<u8>)> = [&b"run.sh"[..], b"src/again.sh"]
        .map(|name| &unpacked[name])
        .to_vec();
    let (file, link) = match &script[0].0.kind {
        MemberKind::File => (script[0], script[1]),
        _ => (script[1], script[0]),
    };
    assert_eq!(file.1, vec![b'#'; 700_000]);
    assert_eq!(file.0.mode, 0o755);
    assert_eq!(file.0.mtime_ns, 1_600_000_000_123_456_789);
    let target = file.0.name.clone();
    assert_eq!(link.0.kind, MemberKind::HardLink { target });

    assert_eq!(unpacked[&b"src/empty"[..]].0.kind, MemberKind::Folder);
    let target = b"../run.sh".to_vec();
    assert_eq!(
        unpacked[&b"src/link"[..]].0.kind,
        MemberKind::Symlink { target }
    );
    assert_eq!(unpacked[&b"new\nline \"'\xff"[..]].1, b"odd");
    assert!(unpacked.contains_key(&vec![b'n'; 255]));
}

#[test]
fn only_what_differs_is_sent() {
    let folder = project();
    let (_, unpacked) = pack(folder.path(), None).unwrap();
    let index = listing(&unpacked);
    let (packed, sent) = pack(folder.path(), Some(&index)).unwrap();
    assert_eq!((packed.changed, sent.len()), (Totals::default(), 0));
    assert_eq!(packed.whole.entries, 9);

    let at = |name: &str| folder.path().join(name);
    fs::write(at("src/main.rs"), "fn main() { }").unwrap();
    set_time(&at("src/main.rs"), Duration::from_secs(5));
    fs::set_permissions(at("src/empty"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::remove_file(at("dangling")).unwrap();
    symlink("elsewhere", at("dangling")).unwrap();
    fs::write(at("new"), "new").unwrap();
    // A third name of a file that is there: the file travels with it, as a link needs its target.
    fs::hard_link(at("run.sh"), at("third.sh")).unwrap();
    let (packed, sent) = pack(folder.path(), Some(&index)).unwrap();
    let names: Vec<&[u8]> = sent.keys().map(Vec::as_slice).collect();
    let expected = ["dangling", "new", "src/empty", "src/main.rs", "third.sh"];
    assert_eq!(names, expected.map(str::as_bytes));
    assert_eq!(sent[&b"third.sh"[..]].0.kind, MemberKind::File);
    assert_eq!(packed.changed.bytes, 13 + 3 + 700_000);
    assert_eq!(packed.whole.entries, 11);
}

#[test]
fn a_guest_whose_clock_is_ahead_is_not_believed_to_have_anything() {
    let folder = project();
    let (_, unpacked) = pack(folder.path(), None).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now_ns = now.unwrap().as_nanos() as i64;
    let (second, day) = (1_000_000_000, 86_400_000_000_000);
    let sent = |landed_ns: i64| {
        let index = listing_at(&unpacked, landed_ns, now_ns);
        let (packed, _) = pack(folder.path(), Some(&index)).unwrap();
        packed.changed.entries
    };
    assert_eq!(sent(now_ns + day), 9);
    // As far as clocks are apart that nobody sets.
    assert_eq!(sent(now_ns + second / 2), 0);
}

#[test]
fn what_cannot_go_into_a_workspace_is_refused_by_name() {
    let folder = project();
    let at = |name: &str| folder.path().join(name);
    let refused = |name: &str, why: &str| {
        let (told, reason) = refusal(pack(folder.path(), None));
        assert_eq!(told, name);
        assert!(reason.contains(why), "{reason}");
        fs::remove_file(at(name)).unwrap();
    };
    nix::unistd::mkfifo(&at("src/fifo"), Mode::S_IRUSR).unwrap();
    refused("src/fifo", "FIFO");
    pack(folder.path(), None).unwrap();
}

#[test]
fn a_folder_that_changes_while_it_is_sent_is_told() {
    // Each change is made when the first byte of the stream is written.
    struct Meddler<F: FnMut()>(F);
    impl<F: FnMut()> Write for Meddler<F> {
        fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
            (self.0)();
            Ok(data.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let grow = |path: &Path| {
        let mut file = fs::File::options().append(true).open(path).unwrap();
        file.write_all(b"more").unwrap();
    };
    let cut = |path: &Path| fs::write(path, "").unwrap();
    let rewrite = |path: &Path| set_time(path, Duration::from_secs(77));
    let changes: [&dyn Fn(&Path); 3] = [&grow, &cut, &rewrite];
    for change in changes {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, vec![1; 2 * 1024 * 1024]).unwrap();
        let source = Source::open(folder.path(), None).unwrap();
        let survey = source.survey(&mut go_on).unwrap();
        let mut meddler = Meddler(|| change(&file));
        let failed = source
            .pack(&survey, None, &mut meddler, &mut go_on)
            .unwrap_err();
        assert!(
            matches!(&failed, ImportError::Changed { name } if name == "file"),
            "{failed:?}"
        );
    }
    let folder = project();
    let source = Source::open(folder.path(), None).unwrap();
    let survey = source.survey(&mut go_on).unwrap();
    let mut meddler = Meddler(|| drop(fs::remove_dir_all(folder.path().join("src"))));
    let failed = source.pack(&survey, None, &mut meddler, &mut go_on);
    assert!(
        matches!(failed, Err(ImportError::Changed { .. })),
        "{failed:?}"
    );
}

#[test]
fn a_pass_can_be_cancelled_and_a_broken_stream_ends_it() {
    let folder = project();
    let source = Source::open(folder.path(), None).unwrap();
    let stop = &mut |_| ControlFlow::Break(());
    assert!(matches!(source.survey(stop), Err(ImportError::Cancelled)));
    let survey = source.survey(&mut go_on).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let failed = source.pack(&survey, None, writer, &mut go_on);
    assert!(matches!(failed, Err(ImportError::Stream { .. })));
}

fn file(name: &str, data: &str) -> (Member, Vec<u8>) {
    let (member, _) = special(name, MemberKind::File);
    let size = data.len() as u64;
    (Member { size, ..member }, data.as_bytes().to_vec())
}

fn special(name: &str, kind: MemberKind) -> (Member, Vec<u8>) {
    let member = Member {
        name: name.as_bytes().to_vec(),
        kind,
        mode: 0o644,
        mtime_ns: 1_500_000_000_000_000_001,
        size: 0,
    };
    (member, Vec::new())
}

fn link(name: &str, target: &str) -> (Member, Vec<u8>) {
    let target = target.as_bytes().to_vec();
    special(name, MemberKind::HardLink { target })
}

fn symbolic(name: &str, target: &str) -> (Member, Vec<u8>) {
    let target = target.as_bytes().to_vec();
    special(name, MemberKind::Symlink { target })
}

fn tar(members: &[(Member, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new());
    for (member, data) in members {
        writer.member(member).unwrap();
        writer.data(data).unwrap();
    }
    writer.finish().unwrap()
}

fn written(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

#[test]
fn archives_arrive_whatever_they_are_compressed_with() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = tar(&[
        special("./", MemberKind::Folder),
        special("./dir", MemberKind::Folder),
        file("./dir/a", "hello"),
        link("b", "./dir/a"),
        symbolic("dir/l", "../b"),
        file("./dir/a2", "old"),
        file("dir/a2", "newer"),
    ]);
    // As parallel compressors write it: several streams in a row.
    let halves = [gzip(&bytes[..700]), gzip(&bytes[700..])].concat();
    for (name, bytes) in [
        ("x.tar", bytes.clone()),
        ("x.TAR.GZ", halves),
        ("x.tgz", gzip(&bytes)),
        ("x.tar.zst", zstd::encode_all(bytes.as_slice(), 1).unwrap()),
    ] {
        let path = written(&folder, name, &bytes);
        let (packed, unpacked) = pack(&path, None).unwrap();
        assert_eq!(
            packed.whole,
            Totals {
                entries: 5,
                bytes: 10
            },
            "{name}"
        );
        assert_eq!(unpacked[&b"dir/a"[..]].1, b"hello");
        assert_eq!(unpacked[&b"dir/a2"[..]].1, b"newer");
        let target = b"dir/a".to_vec();
        assert_eq!(unpacked[&b"b"[..]].0.kind, MemberKind::HardLink { target });
        assert_eq!(
            Source::open(&path, None).unwrap().kind(),
            SourceKind::Archive
        );

        let index = listing(&unpacked);
        let (packed, _) = pack(&path, Some(&index)).unwrap();
        assert_eq!(packed.changed, Totals::default());
    }
}

/// Archives of a build often give all their members one time.
#[test]
fn what_changed_here_later_is_sent_whatever_its_time() {
    let folder = project();
    let archive = written(&folder, "x.tar", &tar(&[file("a", "1.0"), link("b", "a")]));
    for (path, files) in [(folder.path(), 6), (&archive, 2)] {
        let (whole, unpacked) = pack(path, None).unwrap();
        let (packed, sent) = pack(path, Some(&listing_since(&unpacked, 0))).unwrap();
        assert_eq!(packed.changed.bytes, whole.changed.bytes);
        assert_eq!(sent.len(), files);
    }
}

#[test]
fn a_hard_link_that_the_guest_lacks_brings_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let before = tar(&[file("a", "hello"), file("c", "same")]);
    let path = written(&folder, "x.tar", &before);
    let index = listing(&pack(&path, None).unwrap().1);
    let after = tar(&[
        file("a", "hello"),
        file("c", "same"),
        link("b", "a"),
        link("d", "b"),
    ]);
    let path = written(&folder, "x.tar", &after);
    let (_, sent) = pack(&path, Some(&index)).unwrap();
    let names: Vec<&[u8]> = sent.keys().map(Vec::as_slice).collect();
    assert_eq!(names, [b"a", b"b", b"d"]);
}

#[test]
fn unsafe_archives_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (member, why) in [
        (file("a/../b", ""), "`..`"),
        (file("/etc/x", ""), "absolute"),
        (link("h", "../x"), "outside"),
        (link("h", "nothing"), "not a file before it"),
        (link("h", "dir"), "not a file before it"),
        (file("dir", ""), "both as a folder"),
        (file("s/below", ""), "not a folder"),
        (file(".", "x"), "root"),
    ] {
        let name = String::from_utf8(member.0.name.clone()).unwrap();
        let bytes = tar(&[
            special("dir", MemberKind::Folder),
            symbolic("s", "dir"),
            member,
        ]);
        let path = written(&folder, "x.tar", &bytes);
        let (told, reason) = refusal(pack(&path, None));
        assert_eq!(told, name);
        assert!(reason.contains(why), "{name}: {reason}");
    }
    for (kind, why) in [
        (tar::EntryType::Fifo, "FIFO"),
        (tar::EntryType::Char, "device"),
        (tar::EntryType::Block, "device"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_path("odd").unwrap();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_cksum();
        let path = written(
            &folder,
            "x.tar",
            &[header.as_bytes().as_slice(), &[0; 1024]].concat(),
        );
        let (told, reason) = refusal(pack(&path, None));
        assert_eq!(told, "odd");
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn damaged_archives_are_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = tar(&[file("a", &"hello ".repeat(5000))]);
    let packed = gzip(&bytes);
    let mut wrong_sum = packed.clone();
    let end = wrong_sum.len() - 6;
    wrong_sum[end] ^= 1;
    for (name, bytes) in [
        ("cut.tar", &bytes[..bytes.len() - 1024]),
        ("cut.tgz", &packed[..packed.len() / 2]),
        ("sum.tgz", &wrong_sum),
        ("no.tgz", b"not compressed at all"),
        ("no.tar.zst", b"not compressed at all"),
        ("no.tar", &[b'x'; 2048]),
        ("empty.tar", b""),
    ] {
        let path = written(&folder, name, bytes);
        let failed = Source::open(&path, None)
            .unwrap()
            .survey(&mut go_on)
            .map(|survey| survey.totals());
        assert!(
            matches!(failed, Err(ImportError::Archive { .. })),
            "{name}: {failed:?}"
        );
    }
}

#[test]
fn an_archive_that_was_replaced_after_its_survey_is_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder, "x.tar", &tar(&[file("a", "1")]));
    let source = Source::open(&path, None).unwrap();
    let survey = source.survey(&mut go_on).unwrap();
    written(&folder, "y.tar", &tar(&[file("../a", "2")]));
    fs::rename(folder.path().join("y.tar"), &path).unwrap();
    let mut sent = Vec::new();
    let failed = source.pack(&survey, None, &mut sent, &mut go_on);
    assert!(matches!(failed, Err(ImportError::Changed { .. })));
    assert!(sent.is_empty());
}

#[test]
fn a_source_is_found_or_the_reason_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("real")).unwrap();
    symlink("real", folder.path().join("link")).unwrap();
    let home = Some(folder.path());
    let source = Source::open(Path::new("~/link"), home).unwrap();
    let real = fs::canonicalize(folder.path().join("real")).unwrap();
    assert_eq!(source.path(), real);
    let missing = Source::open(Path::new("~/missing"), home).map(drop);
    assert!(matches!(missing, Err(ImportError::Unusable { .. })));
    let zip = written(&folder, "x.zip", b"");
    let other = Source::open(&zip, home).map(drop);
    assert!(matches!(other, Err(ImportError::NotASource { .. })));
    assert!(fs::metadata(&zip).unwrap().size() == 0);
}
