use std::ffi::OsStr;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::archive::{ArchiveWriter, Member, MemberKind};
use crate::progress::Totals;

fn go_on(_: Totals) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn entry(name: &str, kind: MemberKind, mode: u32, data: &[u8]) -> (Member, Vec<u8>) {
    let member = Member {
        name: name.as_bytes().to_vec(),
        kind,
        mode,
        mtime_ns: 1_500_000_000_000_000_007,
        size: data.len() as u64,
    };
    (member, data.to_vec())
}

fn file(name: &str, data: &str) -> (Member, Vec<u8>) {
    entry(name, MemberKind::File, 0o644, data.as_bytes())
}

fn folder(name: &str, mode: u32) -> (Member, Vec<u8>) {
    entry(name, MemberKind::Folder, mode, b"")
}

fn symbolic(name: &str, target: &str) -> (Member, Vec<u8>) {
    let target = target.as_bytes().to_vec();
    entry(name, MemberKind::Symlink { target }, 0o777, b"")
}

fn link(name: &str, target: &str) -> (Member, Vec<u8>) {
    let target = target.as_bytes().to_vec();
    entry(name, MemberKind::HardLink { target }, 0o644, b"")
}

fn tar(members: &[(Member, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new());
    for (member, data) in members {
        writer.member(member).unwrap();
        writer.data(data).unwrap();
    }
    writer.finish().unwrap()
}

fn prepare(to: &Path, overwrite: bool) -> Result<Destination, ExportError> {
    Destination::prepare(to, OsStr::new("name"), None, overwrite)
}

fn export(bytes: &[u8], to: &Path, overwrite: bool) -> Result<Received, ExportError> {
    let mut destination = prepare(to, overwrite)?;
    let received = destination.unpack(bytes, &mut go_on)?;
    destination.commit()?;
    Ok(received)
}

fn counts(received: &Received) -> (u64, u64) {
    (received.totals.entries, received.totals.bytes)
}

/// Every name in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_folder_comes_out_as_it_is() {
    let here = tempfile::tempdir().unwrap();
    let to = here.path().join("new/parents/out");
    let bytes = tar(&[
        folder(".", 0o750),
        folder("dir", 0o555),
        file("dir/a", "hello"),
        entry("run", MemberKind::File, 0o7755, b"#!"),
        link("dir/b", "dir/a"),
        symbolic("out", "/etc/passwd"),
        symbolic("up", "../../../x"),
        file("implied/deep/c", "c"),
        folder("empty", 0o700),
    ]);
    let received = export(&bytes, &to, false).unwrap();
    assert_eq!(received.kind, ArtifactKind::Folder);
    assert_eq!(counts(&received), (8, 8));
    assert!(received.skipped.is_empty());
    let note = received.note().unwrap();
    assert!(note.ends_with("bit: `run`"), "{note}");

    let mode = |name: &str| fs::symlink_metadata(to.join(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode(""), 0o750);
    assert_eq!(mode("dir"), 0o555);
    assert_eq!(mode("run"), 0o1755);
    assert_eq!(mode("implied/deep"), 0o755);
    assert_eq!(fs::read(to.join("dir/b")).unwrap(), b"hello");
    assert_eq!(fs::metadata(to.join("dir/a")).unwrap().nlink(), 2);
    assert_eq!(
        fs::read_link(to.join("out")).unwrap(),
        Path::new("/etc/passwd")
    );
    assert_eq!(
        fs::read_link(to.join("up")).unwrap(),
        Path::new("../../../x")
    );
    for name in ["", "dir", "dir/a", "up", "empty"] {
        let metadata = fs::symlink_metadata(to.join(name)).unwrap();
        let time = (metadata.mtime(), metadata.mtime_nsec());
        assert_eq!(time, (1_500_000_000, 7), "{name}");
    }
    assert_eq!(names(&here.path().join("new/parents")), ["out"]);
    // So that those who are not root can remove it.
    fs::set_permissions(to.join("dir"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_lone_file_or_link_takes_the_path_itself() {
    let here = tempfile::tempdir().unwrap();
    let to = here.path().join("file");
    let received = export(&tar(&[file(".", "hello")]), &to, false).unwrap();
    assert_eq!(received.kind, ArtifactKind::File);
    assert_eq!(counts(&received), (1, 5));
    assert_eq!(fs::read(&to).unwrap(), b"hello");

    let to = here.path().join("link");
    let received = export(&tar(&[symbolic(".", "/nowhere")]), &to, false).unwrap();
    assert_eq!(received.kind, ArtifactKind::Symlink);
    assert_eq!(fs::read_link(&to).unwrap(), Path::new("/nowhere"));

    let to = here.path().join("empty");
    let received = export(&tar(&[]), &to, false).unwrap();
    assert_eq!(received.kind, ArtifactKind::Folder);
    assert!(names(&to).is_empty());
}

#[test]
fn what_exists_is_replaced_only_when_told_and_then_as_a_whole() {
    let here = tempfile::tempdir().unwrap();
    let bytes = tar(&[folder(".", 0o755), file("new", "new")]);
    let to = here.path().join("out");
    fs::create_dir(&to).unwrap();
    export(&bytes, &to, false).unwrap();
    assert_eq!(names(&to), ["new"]);

    fs::create_dir_all(to.join("old/deep")).unwrap();
    fs::set_permissions(to.join("old"), fs::Permissions::from_mode(0o500)).unwrap();
    let refused = export(&bytes, &to, false);
    assert!(matches!(refused, Err(ExportError::Exists { .. })));
    assert_eq!(names(&to), ["new", "old"]);
    export(&bytes, &to, true).unwrap();
    assert_eq!(names(&to), ["new"]);

    // A link is replaced itself; what it points to stays.
    let target = here.path().join("target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("keep"), "").unwrap();
    let link = here.path().join("link");
    symlink(&target, &link).unwrap();
    let refused = export(&bytes, &link, false);
    assert!(matches!(refused, Err(ExportError::Exists { .. })));
    export(&bytes, &link, true).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_dir());
    assert_eq!(names(&target), ["keep"]);
    assert_eq!(names(here.path()), ["link", "out", "target"]);
}

#[test]
fn a_file_goes_into_a_folder_and_neither_replaces_the_other() {
    let here = tempfile::tempdir().unwrap();
    let at = |name: &str| here.path().join(name);
    fs::create_dir_all(at("project/.git")).unwrap();
    fs::write(at("project/other"), "mine").unwrap();
    fs::create_dir(at("empty")).unwrap();
    for (to, overwrite) in [("project", false), ("empty", true)] {
        let received = export(&tar(&[file(".", "new")]), &at(to), overwrite).unwrap();
        assert_eq!(received.kind, ArtifactKind::File);
        assert_eq!(fs::read(at(to).join("name")).unwrap(), b"new");
    }
    assert_eq!(names(&at("project")), [".git", "name", "other"]);

    let newer = tar(&[file(".", "newer")]);
    let refused = export(&newer, &at("project"), false);
    assert!(matches!(refused, Err(ExportError::Exists { path }) if path.ends_with("project/name")));
    export(&newer, &at("project"), true).unwrap();
    assert_eq!(fs::read(at("project/name")).unwrap(), b"newer");
    assert_eq!(names(&at("project")), [".git", "name", "other"]);

    // A link is not followed: a guest may have chosen where it leads.
    symlink(at("empty"), at("link")).unwrap();
    export(&newer, &at("link"), true).unwrap();
    assert_eq!(fs::read(at("link")).unwrap(), b"newer");

    fs::create_dir_all(at("project/sub/name")).unwrap();
    let refused = export(&newer, &at("project/sub"), true);
    assert!(
        matches!(refused, Err(ExportError::IsFolder { .. })),
        "{refused:?}"
    );
    let refused = export(&tar(&[folder(".", 0o755)]), &at("project/other"), true);
    assert!(
        matches!(refused, Err(ExportError::IsFile { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read(at("project/other")).unwrap(), b"mine");
    assert_eq!(names(here.path()), ["empty", "link", "project"]);
}

#[test]
fn home_and_the_working_folder_are_never_replaced() {
    let here = tempfile::tempdir().unwrap();
    let home = here.path().join("home/me");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("x"), "").unwrap();
    let current = std::env::current_dir().unwrap();
    let above = here.path().join("home");
    for path in [&home, &above, Path::new("~"), &current] {
        let name = OsStr::new("name");
        let mut destination = Destination::prepare(path, name, Some(&home), true).unwrap();
        let refused = destination.stage(ArtifactKind::Folder).map(drop);
        assert!(
            matches!(refused, Err(ExportError::Protected { .. })),
            "{path:?}"
        );
    }
}

#[test]
fn a_lying_guest_changes_nothing() {
    let outside = tempfile::tempdir().unwrap();
    let here = tempfile::tempdir().unwrap();
    let out = outside.path().to_str().unwrap();
    let to = here.path().join("parent/out");
    let attacks = [
        vec![file("../x", "")],
        vec![file(&format!("{out}/x"), "")],
        vec![symbolic("s", out), file("s/x", "")],
        vec![symbolic("s", "."), folder("s/x", 0o755)],
        vec![symbolic("s", out), file("s", "")],
        vec![symbolic("s", out), folder("s", 0o777)],
        vec![file("a", ""), file("a", "")],
        vec![file("a", ""), folder("a", 0o755)],
        vec![file("a", ""), file("a/b", "")],
        vec![folder("a", 0o755), file("a", "")],
        vec![link("h", "/etc/passwd")],
        vec![link("h", "../x")],
        vec![symbolic("s", "/etc"), link("h", "s/passwd")],
        vec![symbolic("s", "/etc/passwd"), link("h", "s")],
        vec![folder("d", 0o755), link("h", "d")],
        vec![file(".", "x"), file("a", "")],
        vec![folder(".", 0o755), file(".", "x")],
        vec![link(".", "a")],
    ];
    for attack in &attacks {
        let failed = export(&tar(attack), &to, false);
        assert!(
            matches!(failed, Err(ExportError::Hostile { .. })),
            "{attack:?}: {failed:?}"
        );
        assert!(names(outside.path()).is_empty(), "{attack:?}");
        assert!(names(here.path()).is_empty(), "{attack:?}");
    }

    let whole = tar(&[folder(".", 0o755), file("a", "hello")]);
    for length in 0..whole.len() / 512 {
        let failed = export(&whole[..length * 512], &to, false);
        // One block of zeros is as good an end mark as two.
        if length < whole.len() / 512 - 1 {
            assert!(matches!(failed, Err(ExportError::Archive { .. })));
            assert!(names(here.path()).is_empty());
        }
    }
}

#[test]
fn a_size_that_is_a_lie_ends_with_the_stream() {
    let here = tempfile::tempdir().unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("big").unwrap();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(1 << 60);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    let bytes = [header.as_bytes().as_slice(), &[1; 5000]].concat();
    let failed = export(&bytes, &here.path().join("out"), false);
    assert!(
        matches!(failed, Err(ExportError::Archive { .. })),
        "{failed:?}"
    );
    assert!(names(here.path()).is_empty());
}

#[test]
fn zeros_take_no_space() {
    let here = tempfile::tempdir().unwrap();
    let mut data = vec![0; 8 << 20];
    data[4 << 20] = 1;
    let to = here.path().join("sparse");
    export(
        &tar(&[entry(".", MemberKind::File, 0o600, &data)]),
        &to,
        false,
    )
    .unwrap();
    assert_eq!(fs::read(&to).unwrap(), data);
    assert!(fs::metadata(&to).unwrap().blocks() * 512 < 1 << 20);
}

#[test]
fn holes_stay_holes() {
    let here = tempfile::tempdir().unwrap();
    let (member, _) = entry(".", MemberKind::File, 0o600, b"");
    let size = 3 << 30;
    let part = pyro_wire::sparse::Part {
        offset: 1 << 30,
        length: 3,
    };
    let mut writer = ArchiveWriter::new(Vec::new());
    writer.sparse(&Member { size, ..member }, &[part]).unwrap();
    writer.data(b"abc").unwrap();
    let to = here.path().join("sparse");
    let received = export(&writer.finish().unwrap(), &to, false).unwrap();
    assert_eq!(received.totals.bytes, size);
    let metadata = fs::metadata(&to).unwrap();
    assert_eq!(metadata.len(), size);
    assert!(metadata.blocks() * 512 < 1 << 20);
}

#[test]
fn a_path_that_is_too_long_is_left_out_and_named() {
    let here = tempfile::tempdir().unwrap();
    let long = |first: &str, last: &str| format!("{first}/{}{last}", "name/".repeat(900));
    let middle = |number| long("deep", &format!("{number}{}", "/name".repeat(40)));
    let bytes = tar(&[
        file(&long("deep", "one.txt"), "x"),
        file(&middle(1), "x"),
        file(&middle(2), "x"),
        file(&long("deep", "two.txt"), "x"),
        file("a", ""),
    ]);
    let received = export(&bytes, &here.path().join("out"), false).unwrap();
    assert_eq!(received.totals.entries, 1);
    let [one, alike, two] = &received.skipped[..] else {
        panic!("{:#?}", received.skipped);
    };
    for (line, end) in [(one, "/one.txt: "), (two, "/two.txt: ")] {
        assert!(
            line.starts_with("deep/name/") && line.contains(end),
            "{line}"
        );
        assert!(line.contains(" […4312 bytes…] "), "{line}");
        assert!(line.ends_with("longer than Linux allows"), "{line}");
    }
    assert!(alike.ends_with("allows (2 of them)"), "{alike}");
}

#[test]
fn devices_are_left_out_and_named() {
    let here = tempfile::tempdir().unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("fi\x1bfo").unwrap();
    header.set_entry_type(tar::EntryType::Fifo);
    header.set_size(0);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    let bytes = [header.as_bytes().as_slice(), &tar(&[file("a", "")])].concat();
    let received = export(&bytes, &here.path().join("out"), false).unwrap();
    assert_eq!(received.skipped, ["fi\\u{1b}fo: a FIFO"]);
    assert_eq!(received.totals.entries, 1);
}

#[test]
fn cancelling_leaves_nothing() {
    let here = tempfile::tempdir().unwrap();
    let to = here.path().join("a/b/out");
    let mut destination = prepare(&to, false).unwrap();
    let bytes = tar(&[file("a", "hello")]);
    let stop = &mut |_| ControlFlow::Break(());
    let failed = destination.unpack(bytes.as_slice(), stop);
    assert!(matches!(failed, Err(ExportError::Cancelled)));
    drop(destination);
    assert!(names(here.path()).is_empty());
}

#[test]
fn what_a_killed_export_left_goes_and_what_a_living_one_has_stays() {
    let here = tempfile::tempdir().unwrap();
    let to = |name: &str| here.path().join(name);
    let dead = to(".pyro-export-dead");
    fs::create_dir_all(dead.join("content/dir")).unwrap();
    fs::set_permissions(dead.join("content"), fs::Permissions::from_mode(0o500)).unwrap();
    fs::write(to(".pyro-export-file"), "no folder").unwrap();
    let mut living = prepare(&to("one"), false).unwrap();
    living
        .unpack(tar(&[file(".", "1")]).as_slice(), &mut go_on)
        .unwrap();
    assert!(!dead.exists());
    export(&tar(&[file(".", "2")]), &to("two"), false).unwrap();
    living.commit().unwrap();
    assert_eq!(names(here.path()), [".pyro-export-file", "one", "two"]);
}

#[test]
fn two_exports_to_one_path_do_not_mix() {
    let here = tempfile::tempdir().unwrap();
    let to = here.path().join("out");
    let bytes = tar(&[folder(".", 0o755), file("a", "hello")]);
    let mut first = prepare(&to, false).unwrap();
    let mut second = prepare(&to, false).unwrap();
    first.unpack(bytes.as_slice(), &mut go_on).unwrap();
    second.unpack(bytes.as_slice(), &mut go_on).unwrap();
    first.commit().unwrap();
    assert!(matches!(second.commit(), Err(ExportError::Exists { .. })));
    assert_eq!(names(&to), ["a"]);
    assert_eq!(names(here.path()), ["out"]);
}

#[test]
fn a_path_below_a_file_or_without_a_name_is_told() {
    let here = tempfile::tempdir().unwrap();
    fs::write(here.path().join("file"), "").unwrap();
    let below = prepare(&here.path().join("file/out"), true).map(drop);
    assert!(
        matches!(below, Err(ExportError::Unwritable { .. })),
        "{below:?}"
    );
    let nameless = prepare(&here.path().join("x/.."), true).map(drop);
    assert!(matches!(nameless, Err(ExportError::NoName { .. })));
    let odd = std::ffi::OsStr::from_bytes(b"\xff\n");
    export(&tar(&[file(".", "")]), &here.path().join(odd), false).unwrap();
}

#[test]
fn a_path_that_ends_as_a_folder_is_one() {
    let here = tempfile::tempdir().unwrap();
    let at = |name: &str| here.path().join(name);
    fs::create_dir_all(at("folder/inner")).unwrap();
    symlink(at("folder"), at("ln")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    fs::write(at("file"), "own").unwrap();
    let lone = tar(&[file(".", "hello")]);
    for (to, overwrite, lands) in [
        ("ln/", false, "folder/name"),
        ("ln/", true, "folder/name"),
        ("folder/inner/..", true, "folder/name"),
        ("folder/inner/.", false, "folder/inner/name"),
    ] {
        export(&lone, &at(to), overwrite).unwrap();
        assert_eq!(fs::read(at(lands)).unwrap(), b"hello", "{to}");
        fs::remove_file(at(lands)).unwrap();
    }
    assert!(fs::symlink_metadata(at("ln")).unwrap().is_symlink());
    for to in ["new/", "file/", "dangling/"] {
        let refused = export(&lone, &at(to), true);
        assert!(
            matches!(refused, Err(ExportError::NoFolder { .. })),
            "{to}: {refused:?}"
        );
    }
    assert_eq!(names(here.path()), ["dangling", "file", "folder", "ln"]);
    export(&tar(&[folder(".", 0o755)]), &at("new/"), false).unwrap();
    assert!(at("new").is_dir());
    let root = prepare(Path::new("/"), true)
        .unwrap()
        .stage(ArtifactKind::Folder)
        .map(drop);
    assert!(matches!(
        root,
        Err(ExportError::Protected { .. } | ExportError::Exists { .. })
    ));
}

#[test]
fn what_lost_a_bit_is_called_by_its_name() {
    let here = tempfile::tempdir().unwrap();
    for (bytes, called) in [
        (
            tar(&[entry(".", MemberKind::File, 0o4755, b"")]),
            "1 file or folder loses its set-user-id or set-group-id bit: `name`",
        ),
        (
            tar(&[folder(".", 0o2755)]),
            "1 file or folder loses its set-user-id or set-group-id bit: `name`",
        ),
    ] {
        let to = here.path().join("out");
        let received = export(&bytes, &to, false).unwrap();
        assert_eq!(received.note().unwrap(), called);
        fs::remove_file(&to)
            .or_else(|_| fs::remove_dir(&to))
            .unwrap();
    }
}
