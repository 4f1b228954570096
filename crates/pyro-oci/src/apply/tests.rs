use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use tar::EntryType;
use tempfile::TempDir;

use super::*;
use crate::testing::{Tar, gzip, layer, zstd};
use crate::{Config, Digest, Image, Layer};

const LIMITS: Limits = Limits {
    bytes: 1 << 24,
    entries: 1000,
};

fn image(layers: Vec<Layer>) -> Image {
    Image {
        digest: Digest::of(b""),
        config: Config::default(),
        layers,
    }
}

fn apply_in(folder: &Path, layers: Vec<Layer>, limits: Limits) -> Result<Applied, ApplyError> {
    let image = image(layers);
    let (plan, _open) = Plan::of(&image, limits).unwrap();
    // As it comes to the other process.
    let plan: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    apply(&plan, folder, &mut |_, _| ControlFlow::Continue(()))
}

fn try_apply(layers: Vec<Tar>) -> (TempDir, Result<Applied, ApplyError>) {
    let folder = tempfile::tempdir().unwrap();
    let layers = layers.into_iter().map(|tar| {
        let bytes = tar.bytes();
        layer(&bytes, &bytes)
    });
    let applied = apply_in(folder.path(), layers.collect(), LIMITS);
    (folder, applied)
}

fn applied(layers: Vec<Tar>) -> (TempDir, Applied) {
    let (folder, applied) = try_apply(layers);
    (folder, applied.unwrap())
}

fn refusal(layers: Vec<Tar>) -> String {
    let (_, applied) = try_apply(layers);
    let error = applied.unwrap_err();
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn tar() -> Tar {
    Tar::default()
}

fn text(folder: &TempDir, path: &str) -> String {
    fs::read_to_string(folder.path().join(path)).unwrap()
}

fn is_there(folder: &TempDir, path: &str) -> bool {
    folder.path().join(path).symlink_metadata().is_ok()
}

#[test]
fn files_folders_and_links_are_as_the_layer_says() {
    let (folder, applied) = applied(vec![
        tar()
            .folder("./", 0o755)
            .folder("app/", 0o750)
            .file("app/one", "content")
            .symlink("app/link", "../app/one")
            .hard_link("app/two", "app/one")
            .file_with_mode("app/setuid", 0o4755)
            .special(EntryType::Fifo, "app/pipe")
            .special(EntryType::Char, "app/null")
            .file("deep/down/in/it", "made on the way"),
    ]);
    let of = |path: &str| folder.path().join(path).symlink_metadata().unwrap();
    assert_eq!(text(&folder, "app/two"), "content");
    assert_eq!(of("app/one").ino(), of("app/two").ino());
    assert_eq!(of("app").mode() & 0o7777, 0o750);
    assert_eq!(of("app/setuid").mode() & 0o7777, 0o4755);
    for path in ["app", "app/one", "app/link", "app/pipe"] {
        assert_eq!(of(path).mtime(), 1_000_000_000, "{path}");
    }
    assert!(of("app/pipe").file_type().is_fifo());
    assert_eq!(
        fs::read_link(folder.path().join("app/link")).unwrap(),
        Path::new("../app/one")
    );
    assert_eq!(text(&folder, "deep/down/in/it"), "made on the way");
    assert!(!is_there(&folder, "app/null"));
    assert_eq!(applied.devices_left_out, 1);
    assert_eq!(applied.entries, 8);
    assert_eq!(applied.bytes, 22);
}

#[test]
fn a_whiteout_takes_away_what_lies_below_and_nothing_else() {
    let (folder, _) = applied(vec![
        tar()
            .file("a/gone", "1")
            .file("a/stays", "1")
            .file("tree/of/files", "1"),
        tar()
            .file("a/.wh.gone", "")
            .file("a/.wh.never", "")
            .file(".wh.tree", ""),
        // In one layer a whiteout means those below it, wherever it stands.
        tar()
            .file("tree/again", "3")
            .file(".wh.tree", "")
            .file("a/.wh.new", "")
            .file("a/new", "3"),
    ]);
    assert!(!is_there(&folder, "a/gone") && !is_there(&folder, "tree/of"));
    assert!(is_there(&folder, "a/stays") && is_there(&folder, "a/new"));
    assert_eq!(text(&folder, "tree/again"), "3");
    assert!(!is_there(&folder, "a/.wh.gone"));
}

#[test]
fn an_opaque_folder_has_only_what_its_layer_has() {
    let (folder, _) = applied(vec![
        tar()
            .file("d/old", "1")
            .file("d/sub/old", "1")
            .file("d/sub/both", "1")
            .file("e", "1"),
        // The mark may come after what it spares.
        tar()
            .file("d/new", "2")
            .file("d/sub/both", "2")
            .file("d/.wh..wh..opq", "")
            .file(".wh..wh.plnk", ""),
    ]);
    assert!(!is_there(&folder, "d/old") && !is_there(&folder, "d/sub/old"));
    assert_eq!(text(&folder, "d/new") + &text(&folder, "d/sub/both"), "22");
    assert!(is_there(&folder, "e") && !is_there(&folder, ".wh..wh.plnk"));

    let (folder, _) = applied(vec![
        tar().file("old", "1"),
        tar().file(".wh..wh..opq", "").file("new", "2"),
    ]);
    assert!(!is_there(&folder, "old") && is_there(&folder, "new"));
}

#[test]
fn a_layer_above_replaces_whatever_kind_it_was() {
    // A folder that nothing says is one does not take a file's place.
    let implied = vec![tar().file("file", "1"), tar().file("file/inner", "2")];
    assert!(refusal(implied).contains("`file` cannot be made"));
    let (folder, _) = applied(vec![
        tar()
            .file("file", "1")
            .file("folder/inner", "1")
            .symlink("link", "folder")
            .file("linked", "1")
            .hard_link("other", "linked"),
        tar()
            .folder("file", 0o755)
            .file("file/inner", "2")
            .file("folder", "2")
            .folder("link", 0o700)
            .file("linked", "2"),
    ]);
    assert_eq!(text(&folder, "file/inner"), "2");
    assert_eq!(text(&folder, "folder"), "2");
    assert!(
        fs::symlink_metadata(folder.path().join("link"))
            .unwrap()
            .is_dir()
    );
    // Another name keeps what it had.
    assert_eq!(text(&folder, "linked") + &text(&folder, "other"), "21");
}

#[test]
fn a_second_name_may_be_in_a_layer_above_and_belongs_to_the_same_file() {
    let (folder, _) = applied(vec![
        tar().file("bin/tool", "1").symlink("sbin", "bin"),
        tar()
            .hard_link("bin/alias", "/bin/tool")
            .hard_link("bin/again", "sbin/tool"),
    ]);
    let of = |path: &str| folder.path().join(path).metadata().unwrap().ino();
    assert_eq!(of("bin/tool"), of("bin/alias"));
    assert_eq!(of("bin/tool"), of("bin/again"));
    // Of itself it changes nothing.
    let (folder, _) = applied(vec![tar().file("a", "1").hard_link("a", "./a")]);
    assert_eq!(text(&folder, "a"), "1");
    let (folder, _) = applied(vec![
        tar()
            .file("bin/a", "1")
            .symlink("sbin", "bin")
            .hard_link("sbin/a", "bin/a"),
    ]);
    assert_eq!(text(&folder, "bin/a"), "1");
    assert!(refusal(vec![tar().hard_link("a", "nowhere")]).contains("what is not there"));
    assert!(refusal(vec![tar().folder("d", 0o755).hard_link("a", "d")]).contains("of a folder"));
}

#[test]
fn a_link_in_the_way_leads_where_it_would_in_a_guest() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let (folder, _) = applied(vec![
        tar().folder("usr/lib", 0o755).symlink("lib", "usr/lib"),
        tar().file("lib/new", "2"),
        // Out of the root, there is the root.
        tar()
            .symlink("up", "../../../../../..")
            .file("up/from", "3")
            .folder(target.trim_start_matches('/'), 0o755)
            .symlink("out", target)
            .file("out/file", "3"),
    ]);
    assert_eq!(text(&folder, "usr/lib/new"), "2");
    assert!(
        fs::symlink_metadata(folder.path().join("lib"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(text(&folder, "from"), "3");
    assert!(is_there(
        &folder,
        &format!("{}/file", target.trim_start_matches('/'))
    ));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn nothing_outside_is_ever_touched() {
    let outside = tempfile::tempdir().unwrap();
    let treasure = outside.path().join("treasure");
    fs::write(&treasure, "whole").unwrap();
    fs::set_permissions(&treasure, fs::Permissions::from_mode(0o600)).unwrap();
    let link = treasure.to_str().unwrap();
    let folder = outside.path().to_str().unwrap();
    for layers in [
        vec![tar().file("../escape", "x")],
        vec![tar().file("a/../../escape", "x")],
        vec![tar().symlink("link", folder).file("link/treasure", "x")],
        vec![
            tar().symlink("link", folder),
            tar().file("link/.wh.treasure", ""),
        ],
        vec![
            tar().symlink("link", folder),
            tar().file("link/.wh..wh..opq", ""),
        ],
        vec![
            tar()
                .symlink("link", folder)
                .hard_link("mine", "link/treasure"),
        ],
        vec![tar().hard_link("mine", link)],
        vec![tar().hard_link("mine", "../../../../../../etc/passwd")],
        vec![tar().symlink("link", link).file("link", "replaced")],
        vec![tar().symlink("link", link).hard_link("second", "link")],
        vec![tar().file(".wh...", "")],
        vec![tar().file(".wh..", "")],
    ] {
        let (_folder, _) = try_apply(layers);
        assert_eq!(fs::read_to_string(&treasure).unwrap(), "whole");
        let found = treasure.metadata().unwrap();
        assert_eq!((found.nlink(), found.mode() & 0o7777), (1, 0o600));
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }
    assert!(refusal(vec![tar().file("../escape", "x")]).contains("`../escape` leads out"));
    assert!(refusal(vec![tar().file(".wh...", "")]).contains("whiteout of nothing"));
}

#[test]
fn what_is_compressed_is_known_by_its_first_bytes() {
    let bytes = tar().file("a", "content").bytes();
    // Several streams after one another are one, as `pigz` and `zstd` write them.
    let (head, tail) = bytes.split_at(700);
    for stored in [
        bytes.clone(),
        gzip(&bytes),
        zstd(&bytes),
        [gzip(head), gzip(tail)].concat(),
        [zstd(head), zstd(tail)].concat(),
    ] {
        let folder = tempfile::tempdir().unwrap();
        apply_in(folder.path(), vec![layer(&stored, &bytes)], LIMITS).unwrap();
        assert_eq!(text(&folder, "a"), "content");
    }
}

#[test]
fn a_layer_is_believed_by_both_of_its_digests_only() {
    let (bytes, other) = (tar().file("a", "1").bytes(), tar().file("a", "2").bytes());
    let wrong = |layer: Layer| {
        let folder = tempfile::tempdir().unwrap();
        apply_in(folder.path(), vec![layer], LIMITS)
            .unwrap_err()
            .to_string()
    };
    let mut stored = layer(&gzip(&bytes), &bytes);
    stored.digest = Some(Digest::of(b"other"));
    assert!(wrong(stored).contains("layer 1 is not what its digest says"));
    assert!(wrong(layer(&gzip(&bytes), &other)).contains("layer 1 is not what its digest says"));
    // What comes after the end of the archive counts.
    let longer = [bytes.clone(), b"more".to_vec()].concat();
    assert!(wrong(layer(&longer, &bytes)).contains("is not what its digest says"));
    assert!(wrong(layer(&gzip(&bytes)[..60], &bytes)).contains("layer 1"));
    assert!(wrong(layer(&bytes[..512], &bytes[..512])).contains("no sound archive"));
    // One bit of it: whatever unpacking says of that, the digest says more.
    for stored in [gzip(&bytes), zstd(&bytes), bytes.clone()] {
        for at in [30, stored.len() - 9] {
            let mut flipped = layer(&stored, &bytes);
            let mut changed = stored.clone();
            changed[at] ^= 0x10;
            flipped.blob = layer(&changed, &bytes).blob;
            assert!(wrong(flipped.clone()).contains("layer 1 is not what its digest says"));
            // Docker's archives have no digest of what is stored.
            flipped.digest = None;
            if stored == bytes {
                assert!(wrong(flipped).contains("layer 1 is not what its digest says"));
            }
        }
    }
}

#[test]
fn a_layer_may_have_no_end_mark_and_no_filling() {
    let (whole, text) = (tar().file("a", "1").file("b", "23").bytes(), "23");
    let ends = whole.len() - 1024;
    for length in [ends, ends - 512 + text.len()] {
        let folder = tempfile::tempdir().unwrap();
        let bytes = &whole[..length];
        apply_in(folder.path(), vec![layer(&gzip(bytes), bytes)], LIMITS).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("b")).unwrap(), text);
    }
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let zeros = "0".repeat(1 << 20);
    let mut bomb = tar();
    for number in 0..20 {
        bomb = bomb.file(&format!("file{number}"), &zeros);
    }
    let bytes = bomb.bytes();
    for limit in [1 << 20, bytes.len() as u64 - 1] {
        for stored in [gzip(&bytes), zstd(&bytes)] {
            let folder = tempfile::tempdir().unwrap();
            let limits = Limits {
                bytes: limit,
                ..LIMITS
            };
            let refused = apply_in(folder.path(), vec![layer(&stored, &bytes)], limits);
            assert!(matches!(refused, Err(ApplyError::TooLarge { most }) if most == limit));
        }
    }
    // Together count as much as one.
    let half = tar().file("a", &zeros).bytes();
    let layers = || vec![layer(&half, &half), layer(&half, &half)];
    let limits = |bytes| Limits { bytes, entries: 2 };
    let folder = tempfile::tempdir().unwrap();
    let all = half.len() as u64 * 2;
    assert!(matches!(
        apply_in(folder.path(), layers(), limits(all - 1)),
        Err(ApplyError::TooLarge { .. })
    ));
    apply_in(folder.path(), layers(), limits(all)).unwrap();
    let one = Limits {
        bytes: all,
        entries: 1,
    };
    assert!(matches!(
        apply_in(folder.path(), layers(), one),
        Err(ApplyError::TooMany { most: 1 })
    ));
}

#[test]
fn owners_that_no_guest_has_are_told_and_attributes_of_overlays_left_out() {
    let told = refusal(vec![tar().pax("uid", "70000").file("mine", "x")]);
    assert!(told.contains("`mine` belongs to 70000:"), "{told}");
    let (_, applied) = applied(vec![
        tar()
            .pax("SCHILY.xattr.user.overlay.redirect", "/etc")
            .file("a", "x")
            .pax("SCHILY.xattr.user.note", "kept")
            .file("b", "x"),
    ]);
    assert_eq!(applied.attributes_left_out, 1);
}

#[test]
fn an_image_of_one_program_gets_what_a_guest_needs() {
    let (folder, _) = applied(vec![
        tar()
            .file("program", "x")
            .folder("etc", 0o755)
            .symlink("etc/resolv.conf", "/run/nowhere"),
    ]);
    for (path, mode) in [
        ("tmp", 0o1777),
        ("proc", 0o755),
        ("root", 0o700),
        ("workspace", 0o755),
    ] {
        let found = folder.path().join(path).metadata().unwrap();
        assert_eq!(found.mode() & 0o7777, mode, "{path}");
    }
    assert_eq!(text(&folder, "etc/resolv.conf"), "");
    assert_eq!(text(&folder, "etc/hosts"), "");

    // What an image has of these stays as it is.
    let (folder, _) = applied(vec![
        tar()
            .folder("tmp", 0o700)
            .file("etc/hosts", "own")
            .symlink("run", "tmp"),
    ]);
    assert_eq!(
        folder.path().join("tmp").metadata().unwrap().mode() & 0o7777,
        0o700
    );
    assert_eq!(text(&folder, "etc/hosts"), "own");
    assert!(
        folder
            .path()
            .join("run")
            .symlink_metadata()
            .unwrap()
            .is_symlink()
    );
}

#[test]
fn nobody_who_wants_it_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = tar().file("a", "1").bytes();
    let image = image(vec![layer(&bytes, &bytes)]);
    let (plan, _open) = Plan::of(&image, LIMITS).unwrap();
    let ended = apply(&plan, folder.path(), &mut |_, _| ControlFlow::Break(()));
    assert!(matches!(ended, Err(ApplyError::Unwanted)));
    // A folder that is a link is none.
    let link = folder.path().join("link");
    symlink("/tmp", &link).unwrap();
    assert!(apply(&plan, &link, &mut |_, _| ControlFlow::Continue(())).is_err());
}
