//! `workspace_export`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pyro_tests::{Surface, Workspace, World, tree};
use serde_json::json;

crate::stories! { [process] [command_line, library]:
    a_file_goes_where_nothing_was,
    what_is_there_is_replaced_only_on_demand,
    nothing_of_the_host_is_reached_through_links,
}

fn a_file_goes_where_nothing_was(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.exec("echo out > file; chmod 751 file; ln -s file link; mkdir -p dir/empty");
    let out = world.folder().join("made/on/the/way");
    let exported = workspace.done("export", json!({ "path": "file", "output_path": out }));
    assert_eq!(exported["artifact_type"], "file");
    assert_eq!(
        (&exported["entry_count"], &exported["bytes_written"]),
        (&json!(1), &json!(4))
    );
    assert_eq!(exported["output_path"], json!(out));
    assert_eq!(fs::read_to_string(&out).unwrap(), "out\n");
    assert_eq!(
        fs::metadata(&out).unwrap().permissions().mode() & 0o777,
        0o751
    );
    let link = world.folder().join("a-link");
    let exported = workspace.done("export", json!({ "path": "link", "output_path": link }));
    assert_eq!(exported["artifact_type"], "symlink");
    assert_eq!(fs::read_link(link).unwrap().to_str(), Some("file"));
    let dir = world.folder().join("a-dir");
    let exported = workspace.done("export", json!({ "path": "dir", "output_path": dir }));
    assert_eq!(
        (&exported["artifact_type"], &exported["entry_count"]),
        (&json!("directory"), &json!(1))
    );
    assert!(dir.join("empty").is_dir());
    let missing = json!({ "path": "missing", "output_path": world.folder().join("never") });
    workspace.refused("export", missing, "unknown_file");
    assert!(!world.folder().join("never").exists());
}

fn what_is_there_is_replaced_only_on_demand(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.exec("mkdir dir; echo new > dir/file");
    let out = tree::plant(&world.folder().join("out"), &[("mine", "precious")]);
    let export =
        |overwrite: bool| json!({ "path": "dir", "output_path": out, "overwrite": overwrite });
    workspace.refused("export", export(false), "conflict");
    assert_eq!(fs::read_to_string(out.join("mine")).unwrap(), "precious");
    workspace.done("export", export(true));
    assert_eq!(tree::look(&out).keys().collect::<Vec<_>>(), ["file"]);
    let empty = world.folder().join("empty");
    fs::create_dir(&empty).unwrap();
    workspace.done("export", json!({ "path": "dir", "output_path": empty }));
    assert!(empty.join("file").exists());
    // As with `cp`: a file goes into a folder, and neither replaces the other.
    let file = |to: &Path, overwrite: bool| json!({ "path": "dir/file", "output_path": to, "overwrite": overwrite });
    tree::plant(&out, &[(".git/HEAD", ""), ("file", "mine")]);
    workspace.refused("export", file(&out, false), "conflict");
    let exported = workspace.done("export", file(&out, true));
    assert_eq!(exported["output_path"], json!(out.join("file")));
    assert_eq!(fs::read_to_string(out.join("file")).unwrap(), "new\n");
    assert!(out.join(".git/HEAD").exists());
    let over = json!({ "path": "dir", "output_path": out.join("file"), "overwrite": true });
    workspace.refused("export", over, "conflict");
    // Nothing that was set aside or half-made lies beside them.
    let beside: Vec<_> = fs::read_dir(world.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(beside.len(), 3, "{beside:?}");
}

fn nothing_of_the_host_is_reached_through_links(world: &World, surface: &dyn Surface) {
    let outside = tree::plant(&world.folder().join("outside"), &[("secret", "secret")]);
    let workspace = Workspace::new(world, surface);
    workspace.exec(&format!(
        "mkdir dir; ln -s {} dir/out; ln -s ../../.. dir/up",
        outside.display()
    ));
    let out = world.folder().join("out");
    workspace.done("export", json!({ "path": "dir", "output_path": out }));
    assert_eq!(fs::read_link(out.join("out")).unwrap(), outside);
    assert!(out.join("up").symlink_metadata().unwrap().is_symlink());
    let through = json!({ "path": "dir/out/secret", "output_path": world.folder().join("got") });
    workspace.refused("export", through, "bad_path");
    for path in ["/etc/passwd", "../x"] {
        let arguments = json!({ "path": path, "output_path": world.folder().join("got") });
        workspace.refused("export", arguments, "bad_path");
    }
    assert!(!world.folder().join("got").exists());
}
