//! `workspace_create` and `workspace_sync_push` from archives.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use pyro_tests::{Surface, Workspace, World, tree};
use serde_json::json;
use tar::{Builder, EntryType, Header};

crate::stories! { [process] [library]:
    every_kind_of_archive_is_taken,
    an_archive_that_would_leave_is_refused_by_name,
    an_archive_that_is_cut_off_is_refused,
}

fn every_kind_of_archive_is_taken(world: &World, surface: &dyn Surface) {
    let seed = tree::plant_all_kinds(&world.folder().join("seed"));
    let mut builder = Builder::new(Vec::new());
    builder.follow_symlinks(false);
    // As `tar -C seed .` does, with a member for the folder itself.
    builder.append_dir_all(".", &seed).unwrap();
    let plain = builder.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    let planted = tree::look(&seed);
    for (name, bytes) in [
        ("a.tar", &plain),
        ("a.tar.gz", &gzip),
        ("a.TGZ", &gzip),
        ("a.tar.zst", &zstd),
    ] {
        let archive = world.folder().join(name);
        fs::write(&archive, bytes).unwrap();
        let workspace = Workspace::with(world, surface, json!({ "seed_path": archive }));
        let told = &workspace.created["workspace_seed"];
        assert_eq!(told["mode"], "tar_archive", "{name}");
        assert_eq!(told["entry_count"], planted.len(), "{name}");
        let out = world.folder().join(format!("{name}.out"));
        workspace.done("export", json!({ "path": ".", "output_path": out }));
        assert_eq!(tree::look(&out), planted, "{name}");
    }
}

/// An archive with one member that is fine, and then this one, whatever its name.
fn archive(world: &World, name: &str, kind: EntryType, target: &str) -> PathBuf {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, target) in [("fine", EntryType::Regular, ""), (name, kind, target)] {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(0);
        // Names that no honest program would write.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        builder.append(&header, &[][..]).unwrap();
    }
    let path = world.folder().join("hostile.tar");
    fs::write(&path, builder.into_inner().unwrap()).unwrap();
    path
}

fn refused(world: &World, surface: &dyn Surface, archive: &Path) -> String {
    let told = Workspace::try_with(world, surface, json!({ "seed_path": archive })).unwrap_err();
    assert_eq!(told["code"], "bad_seed", "{told:#}");
    let listed = surface.call("workspace_list", json!({})).unwrap();
    assert_eq!(listed["count"], 0, "{listed:#}");
    told.to_string()
}

fn an_archive_that_would_leave_is_refused_by_name(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    for (name, kind, target) in [
        ("../above", EntryType::Regular, ""),
        ("in/../../above", EntryType::Regular, ""),
        ("/absolute", EntryType::Regular, ""),
        ("device", EntryType::Char, ""),
        ("disk", EntryType::Block, ""),
        ("pipe", EntryType::Fifo, ""),
        ("hard-out", EntryType::Link, "../../etc/passwd"),
    ] {
        let archive = archive(world, name, kind, target);
        let told =
            Workspace::try_with(world, surface, json!({ "seed_path": archive })).unwrap_err();
        assert_eq!(told["code"], "bad_seed", "{told:#}");
        assert!(told.to_string().contains(name), "{told:#}");
        let told = workspace.refused("sync_push", json!({ "source_path": archive }), "bad_seed");
        assert!(told.to_string().contains(name), "{told:#}");
    }
    assert_eq!(workspace.changes(), [""; 0]);
    let listed = surface.call("workspace_list", json!({})).unwrap();
    assert_eq!(listed["count"], 1, "{listed:#}");
}

fn an_archive_that_is_cut_off_is_refused(world: &World, surface: &dyn Surface) {
    let mut builder = Builder::new(Vec::new());
    let seed = tree::plant(
        &world.folder().join("seed"),
        &[("a", "a"), ("b", &"b".repeat(9999))],
    );
    builder.append_dir_all(".", &seed).unwrap();
    let whole = builder.into_inner().unwrap();
    let path = world.folder().join("cut.tar");
    for length in [whole.len() - 1024 - 5000, 1000, 512 + 100] {
        fs::write(&path, &whole[..length]).unwrap();
        refused(world, surface, &path);
    }
    fs::write(world.folder().join("cut.tar.zst"), b"no zstd at all").unwrap();
    refused(world, surface, &world.folder().join("cut.tar.zst"));
}
