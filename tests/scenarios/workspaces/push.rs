//! `workspace_sync_push`.

use std::fs;
use std::os::unix::fs::symlink;

use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::{Surface, Workspace, World, tree};
use serde_json::json;

crate::stories! { [process, vm] [library]: only_what_differs_travels }
crate::stories! { [process] [command_line, library]:
    a_destination_is_made_and_stays_inside,
    nothing_is_deleted_and_files_are_replaced,
    what_is_in_the_way_leaves_everything_as_it_was,
}
crate::stories! { [process]: a_push_that_is_refused_leaves_no_copy_on_the_host }

fn only_what_differs_travels(world: &World, door: &dyn Surface) {
    let seed = tree::plant_all_kinds(&world.folder().join("seed"));
    let workspace = Workspace::with(world, door, json!({ "seed_path": seed }));
    let push =
        || workspace.done("sync_push", json!({ "source_path": seed }))["workspace_sync"].clone();
    let same = push();
    assert_eq!(same["changed_count"], 0, "{same:#}");
    assert_eq!(same["entry_count"], tree::look(&seed).len());
    fs::write(seed.join("README"), "hello again\n").unwrap();
    tree::mode(&seed.join("no newline"), 0o755);
    tree::plant(&seed, &[("new/file", "new\n")]);
    let changed = push();
    assert!(
        (3..=5).contains(&changed["changed_count"].as_u64().unwrap()),
        "{changed:#}"
    );
    assert_eq!(changed["destination"], "/workspace");
    assert_eq!(
        workspace.changes(),
        ["modified README", "added new/file", "modified no newline"]
    );
    let out = world.folder().join("out");
    workspace.done("export", json!({ "path": ".", "output_path": out }));
    assert_eq!(tree::look(&out), tree::look(&seed));
}

fn a_destination_is_made_and_stays_inside(world: &World, door: &dyn Surface) {
    let workspace = Workspace::new(world, door);
    let source = tree::plant(&world.folder().join("source"), &[("file", "pushed\n")]);
    let push = |dest: &str| json!({ "source_path": source, "dest": dest });
    for dest in ["a/b", "/workspace/c", "./d//e"] {
        workspace.done("sync_push", push(dest));
    }
    assert_eq!(
        workspace.output("cat a/b/file c/file d/e/file"),
        "pushed\n".repeat(3)
    );
    for dest in ["..", "a/../../b", "/etc", "/workspacex", "/", ""] {
        workspace.refused("sync_push", push(dest), "bad_path");
    }
    workspace.exec("ln -s /tmp out");
    workspace.refused("sync_push", push("out/further"), "bad_path");
    let told = workspace.refused(
        "sync_push",
        json!({ "source_path": source.join("missing") }),
        "bad_seed",
    );
    assert!(told.to_string().contains("missing"), "{told:#}");
}

fn nothing_is_deleted_and_files_are_replaced(world: &World, door: &dyn Surface) {
    let workspace = Workspace::new(world, door);
    workspace.exec("mkdir -p dir; echo own > dir/own; echo old > dir/both; ln -s old link");
    let source = tree::plant(&world.folder().join("source"), &[("dir/both", "new\n")]);
    symlink("new", source.join("link")).unwrap();
    workspace.done("sync_push", json!({ "source_path": source }));
    assert_eq!(
        workspace.output("cat dir/own dir/both; readlink link"),
        "own\nnew\nnew\n"
    );
}

fn what_is_in_the_way_leaves_everything_as_it_was(world: &World, door: &dyn Surface) {
    let workspace = Workspace::new(world, door);
    workspace.exec("mkdir -p z-folder/full; echo old > a-file");
    let source = tree::plant(
        &world.folder().join("source"),
        &[
            ("a-file", "new\n"),
            ("b-file", "new\n"),
            ("z-folder", "a file now\n"),
        ],
    );
    let told = workspace.refused("sync_push", json!({ "source_path": source }), "conflict");
    assert!(told.to_string().contains("z-folder"), "{told:#}");
    assert_eq!(
        workspace.output("cat a-file; ls"),
        "old\na-file\nz-folder\n"
    );
}

fn a_push_that_is_refused_leaves_no_copy_on_the_host(world: &World) {
    let world = World::new(world.backend);
    let temporary = world.folder().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let world = world.with("TMPDIR", &temporary);
    let door = CommandLine(&world);
    let workspace = Workspace::new(&world, &door);
    let source = tree::plant(&world.folder().join("source"), &[("file", "new\n")]);
    let push = |dest: &str| json!({ "source_path": source, "dest": dest });
    workspace.refused("sync_push", push("/etc"), "bad_path");
    workspace.exec("echo old > taken");
    workspace.refused("sync_push", push("taken"), "conflict");
    workspace.done("sync_push", push("fits"));
    drop(workspace);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    world.assert_empty();
}
