//! Sandboxes of workspaces on a bad day: each of their processes is killed while they are made and used,
//! and what they stand on is gone, or something else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGKILL, SIGSTOP};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::world::{Running, finish};
use pyro_tests::{Surface, Workspace, World, cache, tree};
use serde_json::json;

use super::kill_points::forget_the_killed;
use super::{assert_at_work, assert_only_listed, layers, set_to_work, shims};
use crate::error;
use crate::mounts::Mounts;
use crate::processes::descendants;

crate::stories![Gvisor:
    whoever_is_killed_while_one_is_made_leaves_all_or_nothing,
    who_serves_files_beside_a_guest_may_be_killed,
    a_layer_that_is_gone_or_something_else_is_told,
    a_reset_that_fails_leaves_the_old_state,
    without_the_environments_tree_it_is_told,
    without_runsc_nothing_is_lost,
];

/// Processes of this world's workspaces with these words in their arguments.
fn with_words(world: &World, words: &str) -> Vec<Pid> {
    let mut all = shims(world);
    let below: Vec<_> = all.iter().flat_map(|shim| descendants(shim.pid)).collect();
    all.extend(below);
    all.retain(|process| process.command.contains(words));
    all.iter()
        .map(|process| Pid::from_raw(process.pid))
        .collect()
}

/// The shim of a disk, of the sandbox on it, the agent on the disk, and the first process of a sandbox.
const WHO: [&str; 3] = ["pyro shim ", "pyro-agent --files", " run --bundle "];

fn whoever_is_killed_while_one_is_made_leaves_all_or_nothing(world: &World) {
    let surface = CommandLine(world);
    let many: Vec<String> = (0..200).map(|number| format!("file-{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "seed\n")).collect();
    let seed = tree::plant(&world.folder().join("seed"), &many);
    let arguments = json!({ "environment": "debian:12", "mem_mib": 256, "seed_path": seed });
    let create = || Running::start(&mut surface.command("workspace_create", &arguments));
    let mut met = 0;
    for round in 0..10 {
        let words = WHO[round % WHO.len()];
        let create = create();
        let late = Duration::from_millis(40 * u64::try_from(round / WHO.len()).unwrap());
        let (since, mut killed) = (Instant::now(), false);
        // As soon as it is there, and a while later each time.
        while !killed && since.elapsed() < Duration::from_secs(20) {
            if !with_words(world, words).is_empty() {
                std::thread::sleep(late);
                for pid in with_words(world, words) {
                    killed |= kill(pid, SIGKILL).is_ok();
                }
                break;
            }
        }
        met += u32::from(killed);
        let ran = create.wait();
        if ran.code() != 0 {
            let told = ran.json();
            assert!(told["hint"].is_string(), "{words}: {told:#}");
            assert!(assert_only_listed(world, &surface).is_empty(), "{words}");
            continue;
        }
        let id = ran.json()["workspace_id"].clone();
        let exec = json!({ "workspace_id": id, "command": "cat * | sort | uniq -c" });
        let said = surface.call("workspace_exec", exec).unwrap();
        assert_eq!(
            said["stdout"].as_str().unwrap().trim(),
            "200 seed",
            "{words}: {said:#}"
        );
        let delete = json!({ "workspace_id": id });
        surface.call("workspace_delete", delete).unwrap();
    }
    assert!(met > 5, "{met} were met");
    assert!(assert_only_listed(world, &surface).is_empty());
    forget_the_killed(world);
}

fn who_serves_files_beside_a_guest_may_be_killed(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    workspace.write("file", "one\n");
    let beside = || with_words(world, "pyro-agent --files");
    let [first] = beside()[..] else {
        panic!("{:?}", beside());
    };
    kill(first, SIGKILL).unwrap();
    assert_eq!(workspace.read("file"), "one\n");
    // In the middle of something, again and again.
    let big = "x".repeat(8 << 20);
    let source = tree::plant(
        &world.folder().join("source"),
        &[("a", "new\n"), ("big", &big), ("file", "new\n")],
    );
    for round in 0..6 {
        workspace.output("echo old > a; echo old > big; echo old > file");
        let push = json!({ "workspace_id": workspace.id(), "source_path": source });
        let push = Running::start(&mut surface.command("workspace_sync_push", &push));
        std::thread::sleep(Duration::from_millis(30 * round));
        for pid in beside() {
            let _ = kill(pid, SIGKILL);
        }
        let ran = push.wait();
        let said = workspace.output("cat a file; stat -c %s big; ls -A");
        let whole = said == format!("new\nnew\n{}\na\nbig\nfile\n", 8 << 20);
        if ran.code() == 0 {
            assert!(whole, "{said}");
        } else {
            let told = ran.json();
            assert!(told["hint"].is_string(), "{told:#}");
            // What was begun is done or taken back by the next one who works on files.
            workspace.write("next", "");
            let said = workspace.output("rm next; cat a file; stat -c %s big; ls -A");
            let old = said == "old\nold\n4\na\nbig\nfile\n";
            assert!(
                old || said == format!("new\nnew\n{}\na\nbig\nfile\n", 8 << 20),
                "{said}"
            );
        }
    }
    // One that stands still is not waited for for ever.
    for pid in beside() {
        kill(pid, SIGSTOP).unwrap();
    }
    workspace.done("stop", json!({}));
    assert_eq!(workspace.output("cat a"), workspace.read("a"));
    assert_eq!(shims(world).len(), 1);
    drop(workspace);
    forget_the_killed(world);
}

/// A workspace with a state of its own in each of its layers.
fn layered<'a>(world: &World, surface: &'a dyn Surface) -> Workspace<'a> {
    let seed = tree::plant(&world.folder().join("seed"), &[("file", "of the seed\n")]);
    let workspace = Workspace::with(world, surface, json!({ "seed_path": seed }));
    workspace.output("echo one > one; sync");
    workspace.snapshot("one");
    workspace.reset_to("one");
    workspace.output("echo two > two; sync");
    workspace
}

fn a_layer_that_is_gone_or_something_else_is_told(world: &World) {
    let surface = CommandLine(world);
    let workspace = layered(world, &surface);
    workspace.done("stop", json!({}));
    let aside = world.folder().join("aside");
    let image = world.folder().join("image");
    let layers = layers(world, &workspace);
    assert!(layers.len() >= 3, "{layers:?}");
    for layer in &layers {
        for part in [layer.clone(), layer.join("upper")] {
            for put in ["nothing", "file", "link", "pipe"] {
                fs::rename(&part, &aside).unwrap();
                match put {
                    "file" => fs::write(&part, "").unwrap(),
                    "link" => symlink(&aside, &part).unwrap(),
                    "pipe" => nix::unistd::mkfifo(&part, nix::sys::stat::Mode::S_IRWXU).unwrap(),
                    _ => {}
                }
                for (operation, arguments) in [
                    ("start", json!({})),
                    ("disk_list", json!({ "path": "." })),
                    ("disk_read", json!({ "path": "file" })),
                    ("disk_export", json!({ "output_path": image })),
                ] {
                    match workspace.call(operation, arguments) {
                        Ok(done) => panic!("{put} for {}: {operation} {done:#}", part.display()),
                        Err(told) => assert_eq!(
                            told["code"],
                            "damaged",
                            "{put} for {}: {operation} {told:#}",
                            part.display()
                        ),
                    }
                    assert!(!image.exists());
                }
                match put {
                    "nothing" => {}
                    _ => fs::remove_file(&part).unwrap(),
                }
                fs::rename(&aside, &part).unwrap();
            }
        }
    }
    assert_eq!(
        workspace.output("cat file one two"),
        "of the seed\none\ntwo\n"
    );
    workspace.reset_to("one");
    assert_eq!(workspace.output("cat *"), "of the seed\none\n");
    workspace.reset_to("baseline");
    assert_eq!(workspace.output("cat *"), "of the seed\n");
}

fn a_reset_that_fails_leaves_the_old_state(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    workspace.output("echo of the snapshot > file");
    let before = layers(world, &workspace);
    workspace.snapshot("kept");
    let mut of_snapshot = layers(world, &workspace);
    of_snapshot.retain(|layer| !before.contains(layer));
    let [layer] = &of_snapshot[..] else {
        panic!("{of_snapshot:?}");
    };
    set_to_work(&workspace);
    let before = layers(world, &workspace);
    let is_as_before = || {
        assert_at_work(&workspace);
        assert_eq!(layers(world, &workspace), before);
    };
    let aside = world.folder().join("aside");
    fs::rename(layer, &aside).unwrap();
    let to_kept = json!({ "snapshot": "kept" });
    workspace.refused("reset", to_kept.clone(), "damaged");
    fs::rename(&aside, layer).unwrap();
    is_as_before();
    // The new sandbox does not come up.
    let mut reset = world.pyro([
        "workspace",
        "reset",
        workspace.id(),
        "--snapshot",
        "kept",
        "--json",
    ]);
    let ran = finish(reset.env("PYRO_RUNSC", "/bin/false"));
    assert_eq!(ran.code(), 1, "{}", ran.out());
    assert!(error::document(&ran)["hint"].is_string(), "{}", ran.out());
    is_as_before();
    // One that is stopped stays so, and starts as it was.
    workspace.done("stop", json!({}));
    fs::rename(layer, &aside).unwrap();
    workspace.refused("reset", to_kept, "damaged");
    fs::rename(&aside, layer).unwrap();
    assert_eq!(workspace.status()["state"], "stopped");
    assert_eq!(workspace.output("cat file"), "mine\n");
    workspace.reset_to("kept");
    assert_eq!(workspace.read("file"), "of the snapshot\n");
}

fn without_the_environments_tree_it_is_told(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    workspace.output("echo kept > file");
    workspace.done("stop", json!({}));
    let nothing = world.folder().join("nothing");
    fs::create_dir(&nothing).unwrap();
    // Neither the tree nor the image that it is made of.
    let mounts = ["trees", "linux-x86_64"]
        .iter()
        .fold(Mounts::new(), |mounts, part| {
            mounts.cover(&cache::shared().join(part), &nothing)
        });
    let id = workspace.id();
    for words in [
        &["workspace", "start", id, "--json"][..],
        &["workspace", "reset", id, "--json"],
        &["workspace", "disk", "read", id, "file", "--json"],
        &["workspace", "exec", id, "--json", "--", "true"],
    ] {
        let ran = finish(&mut mounts.around(&world.pyro(words)));
        error::has_code(&ran, "damaged");
        assert!(ran.out().contains("Restore the cache"), "{}", ran.out());
    }
    assert_eq!(workspace.output("cat file"), "kept\n");
}

fn without_runsc_nothing_is_lost(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    workspace.output("echo kept > file");
    let with = |words: &[&str], runsc: &Path| {
        let mut command = world.pyro(words);
        finish(command.env("PYRO_RUNSC", runsc))
    };
    let nowhere = Path::new("/nonexistent/runsc");
    let id = workspace.id();
    // What runs needs none.
    let exec = ["workspace", "exec", id, "--", "cat file"];
    assert_eq!(error::none(&with(&exec, nowhere)), "kept\n");
    workspace.done("stop", json!({}));
    for words in [
        &["workspace", "start", id][..],
        &["workspace", "reset", id],
        &exec,
    ] {
        error::tells(
            &with(words, nowhere),
            &["/nonexistent/runsc", "PYRO_RUNSC", "hint: "],
        );
    }
    // Nor does a disk that nobody works on.
    let read = ["workspace", "disk", "read", id, "file", "--content-only"];
    assert_eq!(error::none(&with(&read, nowhere)), "kept\n");
    assert_eq!(workspace.output("cat file"), "kept\n");
    let create = ["workspace", "create", "debian:12", "--mem-mib=256"];
    error::tells(
        &with(&create, nowhere),
        &["/nonexistent/runsc", "PYRO_RUNSC"],
    );
    assert_eq!(assert_only_listed(world, &surface), [id]);
}
