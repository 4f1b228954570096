//! `snapshot_create`, `snapshot_list`, `snapshot_delete`, and resets to what they keep.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;

use pyro_tests::surfaces::engine::Library;
use pyro_tests::{Backend, Surface, Workspace, World, tree};
use serde_json::{Value, json};

crate::stories! { [process, vm, gvisor] [command_line, mcp]: states_are_kept_and_come_back }
crate::stories! { [vm]: layers_are_shared_merged_and_given_back }
crate::stories! { [gvisor]: folders_are_merged_where_no_sandbox_has_them }

fn names(workspace: &Workspace<'_>) -> Vec<String> {
    let listed = workspace.done("snapshot_list", json!({}));
    let snapshots = listed["snapshots"].as_array().unwrap();
    assert_eq!(listed["count"], snapshots.len());
    let name = |one: &Value| one["snapshot_name"].as_str().unwrap().to_owned();
    snapshots.iter().map(name).collect()
}

fn states_are_kept_and_come_back(world: &World, surface: &dyn Surface) {
    let seed = tree::plant(&world.folder().join("seed"), &[("file", "first\n")]);
    let workspace = Workspace::with(world, surface, json!({ "seed_path": seed }));
    workspace.output("echo second > file; mkdir -p d/e; ln -s file link; echo 12345 > d/e/more");
    let elsewhere = world.backend != Backend::Process;
    if elsewhere {
        workspace.output("echo installed > /usr/local/thing");
    }
    let one = workspace.snapshot("one");
    assert_eq!(one["snapshot_name"], "one");
    assert_eq!(
        (&one["kind"], &one["deletable"]),
        (&json!("named"), &json!(true))
    );
    assert_eq!(
        (&one["entry_count"], &one["bytes_written"]),
        (&json!(5), &json!(7 + 6))
    );
    // What runs goes on, in the state that was kept.
    assert_eq!(workspace.exec("true")["workspace_started"], false);
    workspace.output("echo third > file; rm -r d; echo new > new");
    // Spaces around are no part of a name.
    workspace.snapshot(" two.2_x-y ");
    assert_eq!(names(&workspace), ["baseline", "two.2_x-y", "one"]);
    let listed = workspace.done("snapshot_list", json!({}));
    assert_eq!(listed["snapshots"][0]["kind"], "baseline");
    assert_eq!(listed["snapshots"][0]["deletable"], false);
    assert_eq!(listed["snapshots"][0]["entry_count"], 1);
    assert_eq!(
        listed["snapshots"][0]["created_at"],
        workspace.created["created_at"]
    );

    // What cannot be is refused, and nothing is torn down for it.
    for (operation, name, code) in [
        ("snapshot_create", "one", "conflict"),
        ("snapshot_create", "baseline", "invalid_argument"),
        ("snapshot_delete", "baseline", "invalid_argument"),
        ("snapshot_delete", "never", "unknown_snapshot"),
    ] {
        let arguments = json!({ "snapshot_name": name });
        workspace.refused(operation, arguments, code);
    }
    for name in ["", "a/b", ".hidden", &"n".repeat(65)] {
        let arguments = json!({ "snapshot_name": name });
        assert!(workspace.call("snapshot_create", arguments).is_err());
    }
    workspace.refused("reset", json!({ "snapshot": "never" }), "unknown_snapshot");
    assert_eq!(workspace.read("new"), "new\n");
    assert_eq!(workspace.status()["reset_count"], 0);

    // A diff is always against the first state.
    let reset = workspace.reset_to("one");
    let source = &reset["workspace_reset"];
    assert_eq!(
        (&source["snapshot_name"], &source["kind"]),
        (&json!("one"), &json!("named"))
    );
    assert_eq!(source["entry_count"], 5);
    assert_eq!(reset["reset_count"], 1);
    assert_eq!(workspace.read("file"), "second\n");
    let changes = ["added d/e/more", "modified file", "added link"];
    let plain = |workspace: &Workspace<'_>| {
        let mut told = workspace.changes();
        for line in &mut told {
            *line = line.replace("/workspace/", "");
        }
        told.retain(|line| !line.ends_with(" d") && !line.ends_with(" d/e"));
        told
    };
    assert_eq!(plain(&workspace), changes);
    if elsewhere {
        assert_eq!(workspace.output("cat /usr/local/thing"), "installed\n");
    }
    workspace.output("echo fourth > file; touch only-here");
    // Also after a stop, and of a stopped one.
    workspace.done("stop", json!({}));
    assert_eq!(names(&workspace), ["baseline", "two.2_x-y", "one"]);
    workspace.reset_to("two.2_x-y");
    assert_eq!(workspace.output("cat file; ls"), "third\nfile\nlink\nnew\n");
    workspace.reset_to("baseline");
    assert_eq!(plain(&workspace), [""; 0]);
    if elsewhere {
        assert_ne!(workspace.exec("test -e /usr/local/thing")["exit_code"], 0);
    }
    // A stopped VM is started for a snapshot, and none is needed to delete one.
    workspace.done("stop", json!({}));
    let made = workspace.done("snapshot_create", json!({ "snapshot_name": "three" }));
    assert_eq!(made["workspace_started"], world.backend != Backend::Gvisor);
    workspace.done("stop", json!({}));
    workspace.delete_snapshot("one");
    workspace.refused("reset", json!({ "snapshot": "one" }), "unknown_snapshot");
    assert_eq!(names(&workspace), ["baseline", "three", "two.2_x-y"]);
    workspace.reset_to("two.2_x-y");
    assert_eq!(workspace.read("file"), "third\n");
    assert_eq!(
        plain(&workspace),
        ["modified file", "added link", "added new"]
    );
    // The name is free again.
    workspace.snapshot("one");
    workspace.delete_snapshot("two.2_x-y");
    assert_eq!(workspace.reset_to("one")["state"], "started");
    assert_eq!(workspace.read("file"), "third\n");
}

/// What the layers of a workspace take, in files and MiB.
fn disk_use(world: &World, workspace: &Workspace<'_>) -> (usize, u64) {
    use std::os::unix::fs::MetadataExt;
    let folder = world.state_dir().join("workspaces").join(workspace.id());
    let entries = fs::read_dir(folder.join("disk")).unwrap();
    let blocks = entries.map(|entry| entry.unwrap().metadata().unwrap().blocks());
    let blocks: Vec<u64> = blocks.collect();
    (blocks.len(), blocks.iter().sum::<u64>() * 512 / (1 << 20))
}

/// All on one VM: each state has a file of noise of its own, and what the one before it had.
fn layers_are_shared_merged_and_given_back(world: &World) {
    let surface = Library::new(world);
    let workspace = Workspace::new(world, &surface);
    let sums = |workspace: &Workspace<'_>| workspace.long_output("sync; md5sum *");
    let seen = RefCell::new(BTreeMap::new());
    for name in ["a", "b", "c", "d"] {
        workspace.output(&format!("head -c 6M /dev/urandom > {name}; sync"));
        workspace.snapshot(name);
        seen.borrow_mut().insert(name, sums(&workspace));
    }
    let same = |name: &str| {
        workspace.reset_to(name);
        assert_eq!(sums(&workspace), seen.borrow()[name], "{name}");
    };
    let (files, mib) = disk_use(world, &workspace);
    // The baseline, one for each snapshot, and the one in use.
    assert_eq!(files, 6);
    assert!(mib >= 24, "{mib} MiB");
    // In the middle of a running VM: what it held is needed by those after it.
    workspace.delete_snapshot("b");
    assert_eq!(sums(&workspace), seen.borrow()["d"]);
    let (files, less) = disk_use(world, &workspace);
    assert_eq!(files, 5);
    assert!(less <= mib + 4, "{less} after {mib} MiB");
    // The last one, into the layer that the guest writes to.
    workspace.delete_snapshot("d");
    assert_eq!(sums(&workspace), seen.borrow()["d"]);
    assert_eq!(disk_use(world, &workspace).0, 4);
    // It goes on in the same VM, which has its own disk of all that.
    workspace.output("echo on > e; sync; rm e");
    assert_eq!(workspace.exec("true")["workspace_started"], false);
    assert_eq!(workspace.status()["reset_count"], 0);
    same("c");
    // Nobody needs the layer any more that `d` was in.
    assert_eq!(disk_use(world, &workspace).0, 4);
    same("a");
    assert_eq!(disk_use(world, &workspace).0, 4);
    // Two branches: the one in use does not stand on what is deleted.
    workspace.output("head -c 6M /dev/urandom > x; sync");
    workspace.snapshot("x");
    seen.borrow_mut().insert("x", sums(&workspace));
    workspace.delete_snapshot("a");
    same("x");
    same("c");
    let (files, with_x) = disk_use(world, &workspace);
    workspace.delete_snapshot("x");
    let (fewer, without_x) = disk_use(world, &workspace);
    assert!(
        fewer < files && without_x + 4 < with_x,
        "{with_x} {without_x}"
    );
    assert_eq!(sums(&workspace), seen.borrow()["c"]);
    // Stopped, the same is done without a VM.
    workspace.output("head -c 3M /dev/urandom > y; rm a; sync");
    workspace.snapshot("y");
    seen.borrow_mut().insert("y", sums(&workspace));
    workspace.output("rm b; sync");
    workspace.snapshot("z");
    seen.borrow_mut().insert("z", sums(&workspace));
    workspace.done("stop", json!({}));
    workspace.delete_snapshot("c");
    workspace.delete_snapshot("y");
    assert_eq!(disk_use(world, &workspace).0, 3);
    assert_eq!(sums(&workspace), seen.borrow()["z"]);
    assert_eq!(workspace.changes().len(), 2);
    same("z");
    workspace.done("stop", json!({}));
    workspace.delete_snapshot("z");
    assert_eq!(disk_use(world, &workspace).0, 2);
    let image = world.folder().join("image");
    workspace.done("disk_export", json!({ "output_path": image }));
    let check = std::process::Command::new("/usr/sbin/e2fsck")
        .args(["-f", "-n"])
        .arg(&image)
        .output()
        .unwrap();
    assert!(check.status.success(), "{check:?}");
    assert_eq!(sums(&workspace), seen.borrow()["z"]);
}

/// What the layers of a sandbox take, in folders and MiB.
fn folders_use(world: &World, workspace: &Workspace<'_>) -> (usize, u64) {
    let folder = world.state_dir().join("workspaces").join(workspace.id());
    let count = fs::read_dir(folder.join("disk")).unwrap().count();
    let du = std::process::Command::new("du")
        .args(["-s", "-m"])
        .arg(folder.join("disk"))
        .output()
        .unwrap();
    let said = String::from_utf8(du.stdout).unwrap();
    (count, said.split('\t').next().unwrap().parse().unwrap())
}

/// States of a sandbox that stood still stand on one another, as those of a VM do.
fn folders_are_merged_where_no_sandbox_has_them(world: &World) {
    let surface = Library::new(world);
    let workspace = Workspace::new(world, &surface);
    let seen = RefCell::new(BTreeMap::new());
    let sums =
        || workspace.long_output("sha256sum *; ls -ln; find d -ls | awk '{print $3,$5,$6,$11}'");
    workspace.output("mkdir d; echo below > d/below; echo old > old; ln old d/link; chown 33:44 d");
    for name in ["a", "b", "c"] {
        workspace.output(&format!(
            "head -c 6M /dev/urandom > {name}; rm -r d; mkdir d; echo {name} > d/{name}; chmod 7{name_mode} d; sync",
            name_mode = match name { "a" => "51", "b" => "55", _ => "50" },
        ));
        if name == "b" {
            workspace.output("rm old; ln -s a old");
        }
        seen.borrow_mut().insert(name, sums());
        workspace.done("stop", json!({}));
        workspace.snapshot(name);
    }
    let same = |name: &str| assert_eq!(sums(), seen.borrow()[name], "{name}");
    // The baseline, one for each snapshot, and the one in use.
    let (folders, mib) = folders_use(world, &workspace);
    assert_eq!(folders, 5);
    assert!(mib >= 18, "{mib} MiB");
    // A sandbox that runs keeps its folders as they are.
    same("c");
    workspace.delete_snapshot("a");
    assert_eq!(folders_use(world, &workspace).0, 5);
    same("c");
    // They are merged when it has ended, without another delete.
    workspace.done("stop", json!({}));
    let (folders, less) = folders_use(world, &workspace);
    assert_eq!(folders, 4);
    assert!(less <= mib, "{less} after {mib} MiB");
    same("c");
    workspace.done("stop", json!({}));
    // Into the one that the next sandbox writes to.
    workspace.delete_snapshot("c");
    assert_eq!(folders_use(world, &workspace).0, 3);
    same("c");
    workspace.output("echo on > e; rm e");
    workspace.reset_to("b");
    same("b");
    // The folder `d` is told by what is in it, if at all.
    let mut changes = workspace.changes();
    changes.retain(|line| !line.ends_with("/d"));
    assert_eq!(changes.len(), 4, "{changes:?}");
}
