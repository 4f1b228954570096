//! `workspace_sync_push`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::{Surface, Workspace, World, tree};
use serde_json::json;

crate::stories! { [process, vm, gvisor] [library]: only_what_differs_travels }
crate::stories! { [process] [command_line, library]:
    a_destination_is_made_and_stays_inside,
    nothing_is_deleted_and_files_are_replaced,
    what_the_guest_committed_stays,
    what_is_in_the_way_leaves_everything_as_it_was,
}
crate::stories! { [process]: a_push_that_is_refused_leaves_no_copy_on_the_host }

fn only_what_differs_travels(world: &World, surface: &dyn Surface) {
    let seed = tree::plant_all_kinds(&world.folder().join("seed"));
    let workspace = Workspace::with(world, surface, json!({ "seed_path": seed }));
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

fn a_destination_is_made_and_stays_inside(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
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
    // A repository's own folder is changed by its own commands.
    workspace.exec("git init -q --template=; ln -s .git own");
    for dest in [
        ".git",
        ".git/hooks",
        "sub/.GIT/x",
        "a/.hg",
        "/workspace/.jj/repo",
    ] {
        let told = workspace.refused("sync_push", push(dest), "bad_path");
        assert!(
            told.to_string().contains("belongs to a repository"),
            "{told:#}"
        );
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

fn nothing_is_deleted_and_files_are_replaced(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.exec("mkdir -p dir; echo own > dir/own; echo old > dir/both; ln -s old link");
    let source = tree::plant(&world.folder().join("source"), &[("dir/both", "new\n")]);
    symlink("new", source.join("link")).unwrap();
    workspace.done("sync_push", json!({ "source_path": source }));
    assert_eq!(
        workspace.output("cat dir/own dir/both; readlink link"),
        "own\nnew\nnew\n"
    );
}

/// A repository of this host with a commit, and with another one in it.
fn repositories(folder: &Path) {
    tree::plant(folder, &[("file", "one\n"), ("inner/file", "one\n")]);
    for folder in [folder, &folder.join("inner")] {
        git(folder, "init -q -b main");
        git(folder, "add file");
        git(folder, "commit -q -m first");
    }
}

fn git(folder: &Path, words: &str) {
    let ran = Command::new("git")
        .args(["-c", "user.name=n", "-c", "user.email=e@x"])
        .args(words.split(' '))
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{words}: {ran:?}");
}

fn what_the_guest_committed_stays(world: &World, surface: &dyn Surface) {
    let seed = world.folder().join("seed");
    repositories(&seed);
    let workspace = Workspace::with(world, surface, json!({ "seed_path": seed }));
    let push = |dest: &str| {
        let asked = json!({ "source_path": seed, "dest": dest });
        workspace.done("sync_push", asked)["workspace_sync"].clone()
    };
    assert_eq!(push("/workspace")["notes"], json!([]));
    let guest = "for here in . inner; do cd $here; git checkout -q -b agent; echo guest > new; \
                 git add new; git -c user.name=n -c user.email=e@x commit -q -m guest; done";
    workspace.exec(guest);
    tree::plant(&seed, &[("file", "two\n"), ("inner/file", "two\n")]);
    for folder in [&seed, &seed.join("inner")] {
        git(folder, "commit -q -a -m second");
    }
    let pushed = push("/workspace");
    let note = pushed["notes"][0].as_str().unwrap();
    assert!(
        note.starts_with("the workspace keeps `.git`, `inner/.git`,"),
        "{pushed:#}"
    );
    let look = "for here in . inner; do cd $here; git log -1 --format=%s; git branch --format='%(refname)'; \
                git status --porcelain file new; done";
    let branches = "guest\nrefs/heads/agent\nrefs/heads/main\n M file\n";
    assert_eq!(workspace.output(look), branches.repeat(2));
    // The same from an archive.
    let archive = world.folder().join("seed.tar");
    let packed = Command::new("tar")
        .args(["-cf".as_ref(), archive.as_os_str(), "-C".as_ref()])
        .args([seed.as_os_str(), ".".as_ref()])
        .status();
    assert!(packed.unwrap().success());
    let pushed = workspace.done("sync_push", json!({ "source_path": archive }));
    let notes = pushed["workspace_sync"]["notes"].to_string();
    assert!(
        notes.contains("`inner/.git`, with what was committed there"),
        "{notes}"
    );
    assert_eq!(workspace.output(look), branches.repeat(2));
    // Where the guest has none, it comes along.
    assert_eq!(push("copy")["notes"], json!([]));
    assert_eq!(
        workspace.output("cd copy/inner && git log --format=%s"),
        "second\nfirst\n"
    );
}

fn what_is_in_the_way_leaves_everything_as_it_was(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
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
    let surface = CommandLine(&world);
    let workspace = Workspace::new(&world, &surface);
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
