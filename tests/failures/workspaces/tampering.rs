//! Somebody's hands in the state folder, and files with odd names.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use pyro_tests::leftovers::processes;
use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::world::eventually;
use pyro_tests::{Workspace, World};
use serde_json::json;

use super::listed;
use crate::records::database;

crate::stories![[process, gvisor]:
        a_folder_that_somebody_deleted_is_told_and_forgotten,
    odd_names_survive_every_way,
];

mod on_the_host {
    use super::*;
    crate::stories![Process: a_damaged_record_does_not_hide_the_others];
}

fn a_folder_that_somebody_deleted_is_told_and_forgotten(world: &World) {
    let surface = CommandLine(world);
    for stopped in [true, false] {
        let [gone, other] = [(); 2].map(|()| Workspace::new(world, &surface));
        if stopped {
            gone.done("stop", json!({}));
        }
        fs::remove_dir_all(world.state_dir().join("workspaces").join(gone.id())).unwrap();
        for (operation, arguments) in [
            ("exec", json!({ "command": "true" })),
            ("file_list", json!({})),
            ("reset", json!({})),
        ] {
            let told = gone.call(operation, arguments).unwrap_err();
            assert_eq!(told["code"], "unknown_workspace", "{operation}: {told:#}");
            let hint = told["hint"].as_str().unwrap();
            assert!(hint.contains("workspace delete"), "{told:#}");
        }
        // It is still there to be deleted, and hides nobody.
        assert_eq!(listed(&surface).len(), 2);
        gone.done("delete", json!({}));
        assert_eq!(listed(&surface), [other.id()]);
        assert_eq!(other.output("echo fine"), "fine\n");
    }
    // What nobody can reach ends by itself.
    eventually("its VM is gone", Duration::from_secs(60), || {
        processes(&world.state_dir()).is_empty()
    });
}

fn a_damaged_record_does_not_hide_the_others(world: &World) {
    let surface = CommandLine(world);
    let [damaged, fine] = [(); 2].map(|()| Workspace::new(world, &surface));
    let changed = database(world).execute(
        "UPDATE workspaces SET record = '{' WHERE workspace_id = ?1",
        [damaged.id()],
    );
    assert_eq!(changed.unwrap(), 1);
    assert_eq!(listed(&surface), [fine.id()]);
    assert_eq!(fine.output("echo fine"), "fine\n");
    damaged.refused("status", json!({}), "damaged");
    drop(Workspace::new(world, &surface));
    damaged.done("delete", json!({}));
}

fn odd_names_survive_every_way(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let long = "n".repeat(255);
    let script = format!(
        "for name in \"$(printf 'new\\nline')\" \"it's \\\"quoted\\\"\" \"$(printf 'not \\377 text')\" \
         \"$(printf '\\033[2Jclears')\" '-rf' ' ' {long}; do echo x > \"./$name\"; done; ls | wc -l"
    );
    workspace.output(&script);
    let number = 7;
    let listed = workspace.done("file_list", json!({}));
    assert_eq!(listed["total_entries"], number);
    let diff = workspace.done("diff", json!({}));
    assert_eq!(diff["summary"]["added"], number, "{diff:#}");
    let out = world.folder().join("out");
    let exported = workspace.done("export", json!({ "path": ".", "output_path": out }));
    assert_eq!(
        (&exported["entry_count"], &exported["skipped"]),
        (&json!(number), &json!([]))
    );
    let names: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    for name in [
        &b"new\nline"[..],
        b"it's \"quoted\"",
        b"not \xff text",
        b"\x1b[2Jclears",
        b"-rf",
    ] {
        assert!(
            names.iter().any(|found| found.as_bytes() == name),
            "{name:?}"
        );
    }
    // What reaches a terminal does not act on it.
    for command in [&["diff"][..], &["file", "list"]] {
        let mut words = vec!["workspace"];
        words.extend(command);
        words.push(workspace.id());
        let ran = pyro_tests::world::finish(&mut world.pyro(words));
        assert_eq!(ran.code(), 0, "{}", ran.err());
        assert!(
            !ran.stdout.contains(&0x1b) && !ran.stderr.contains(&0x1b),
            "{command:?}: {}",
            ran.out()
        );
    }
    // And in again.
    let second = Workspace::with(world, &surface, json!({ "seed_path": out }));
    assert_eq!(second.created["workspace_seed"]["entry_count"], number);
    second.done("reset", json!({}));
    assert_eq!(second.changes(), [""; 0]);
    // The patch of one makes the files of the other, where text can name them.
    let third = Workspace::new(world, &surface);
    workspace.exec("rm not*");
    let patch = workspace.done("diff", json!({}))["patch"].clone();
    third.done("patch_apply", json!({ "patch": patch }));
    assert_eq!(third.done("diff", json!({}))["patch"], patch);
}
