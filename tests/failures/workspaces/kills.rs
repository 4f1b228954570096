//! `kill -9` of pyro in the middle of everything that it does to a workspace.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal::SIGKILL;
use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::world::eventually;
use pyro_tests::{Backend, Surface, Workspace, World, tree};
use serde_json::json;

use super::kill_points::{Worker, at_many_moments, forget_the_killed};
use super::{assert_died_with_its_vm, assert_only_listed, shims};
use crate::background_command::{AT_ONCE, BackgroundCommand};
use crate::error;
use crate::processes::{self, Role};

crate::stories![[process, vm, gvisor]:
        a_killed_create_leaves_all_or_nothing,
    a_killed_reset_leaves_a_workspace_that_works,
    a_command_whose_vm_is_killed_stays_in_the_history,
];

mod quick {
    use super::*;
    crate::stories![[process, gvisor]:
        a_killed_push_is_made_whole_or_not_at_all,
        a_killed_patch_is_made_whole_or_not_at_all,
        a_killed_export_leaves_nothing_beside_it,
        a_killed_delete_leaves_a_workspace_or_none,
        a_killed_exec_ends_its_command,
    ];
}

mod in_vms {
    use super::*;
    crate::stories![Vm: a_killed_create_takes_its_vm_along];
}

mod in_guests {
    use super::*;
    crate::stories![[vm, gvisor]: a_killed_start_leaves_no_guest_without_its_secrets];
}

/// The seed or source of a round: each file says which round it is.
fn files_of(world: &World, round: u32) -> PathBuf {
    let folder = world.folder().join(format!("source-{round}"));
    fs::create_dir(&folder).unwrap();
    for number in 0..200 {
        fs::write(
            folder.join(format!("file-{number}")),
            format!("round {round}\n"),
        )
        .unwrap();
    }
    folder
}

/// What every file says, if they all say the same.
fn the_one_round(workspace: &Workspace<'_>) -> String {
    // What a killed pyro had sent whole may still be under way; a later change waits for it.
    workspace.write("barrier", "");
    let said = workspace.output("rm barrier; ls | wc -l; cat * | sort -u");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "half of it was done: {lines:?}");
    assert_eq!(lines[0].trim(), "200", "{lines:?}");
    lines[1].to_owned()
}

fn a_killed_create_leaves_all_or_nothing(world: &World) {
    create_is_killed(world, Worker::CommandLine);
}

pub(super) fn create_is_killed(world: &World, worker: Worker) {
    let surface = CommandLine(world);
    let seed = files_of(world, 0);
    let create = |_| {
        let arguments = json!({
            "environment": "debian:12",
            "mem_mib": 256,
            "allow_host_compat": world.backend == Backend::Process,
            "seed_path": seed,
        });
        worker.begins(world, "workspace_create", arguments)
    };
    at_many_moments(world, create, |_| {
        for id in assert_only_listed(world, &surface) {
            let exec = json!({ "workspace_id": id, "command": "ls | wc -l" });
            let result = surface.call("workspace_exec", exec).unwrap();
            assert_eq!(result["stdout"].as_str().unwrap().trim(), "200");
            surface
                .call("workspace_delete", json!({ "workspace_id": id }))
                .unwrap();
        }
        assert_only_listed(world, &surface);
    });
}

/// At once, and not when somebody next looks.
fn a_killed_create_takes_its_vm_along(world: &World) {
    let create = ["workspace", "create", "debian:12", "--mem-mib=256"];
    let mut create = world
        .pyro(create)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("there is a VM", Duration::from_secs(120), || {
        !shims(world).is_empty()
    });
    create.kill().unwrap();
    create.wait().unwrap();
    eventually("it ends with its maker", Duration::from_secs(60), || {
        shims(world).is_empty()
    });
    assert!(assert_only_listed(world, &CommandLine(world)).is_empty());
}

fn a_killed_push_is_made_whole_or_not_at_all(world: &World) {
    push_is_killed(world, Worker::CommandLine);
}

pub(super) fn push_is_killed(world: &World, worker: Worker) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let push = |round| {
        let source = files_of(world, round);
        let arguments = json!({ "workspace_id": workspace.id(), "source_path": source });
        worker.begins(world, "workspace_sync_push", arguments)
    };
    let mut last = 0;
    at_many_moments(world, push, |round| {
        let said = the_one_round(&workspace);
        let expected = [format!("round {round}"), format!("round {last}")];
        assert!(expected.contains(&said), "{said} after {round}");
        last = said[6..].parse().unwrap();
    });
}

fn a_killed_patch_is_made_whole_or_not_at_all(world: &World) {
    patch_is_killed(world, Worker::CommandLine);
}

pub(super) fn patch_is_killed(world: &World, worker: Worker) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    workspace.exec("for i in $(seq 0 199); do echo 'round x' > file-$i; done");
    let last = std::cell::RefCell::new("round x".to_owned());
    let patch = |round| {
        let mut text = String::new();
        for number in 0..200 {
            text += &format!(
                "--- a/file-{number}\n+++ b/file-{number}\n@@ -1 +1 @@\n-{}\n+round {round}\n",
                last.borrow()
            );
        }
        let arguments = json!({ "workspace_id": workspace.id(), "patch": text });
        worker.begins(world, "workspace_patch_apply", arguments)
    };
    at_many_moments(world, patch, |round| {
        let said = the_one_round(&workspace);
        assert!(
            said == format!("round {round}") || said == *last.borrow(),
            "{said} after {round}"
        );
        *last.borrow_mut() = said;
    });
}

fn a_killed_export_leaves_nothing_beside_it(world: &World) {
    export_is_killed(world, Worker::CommandLine);
}

pub(super) fn export_is_killed(world: &World, worker: Worker) {
    let surface = CommandLine(world);
    let seed = files_of(world, 0);
    let workspace = Workspace::with(world, &surface, json!({ "seed_path": seed }));
    let parent = world.folder().join("exports");
    fs::create_dir(&parent).unwrap();
    let out = parent.join("out");
    let export = |_| {
        let arguments = json!({
            "workspace_id": workspace.id(),
            "path": "/workspace",
            "output_path": out,
        });
        worker.begins(world, "workspace_export", arguments)
    };
    at_many_moments(world, export, |_| {
        if out.exists() {
            assert_eq!(tree::look(&out), tree::look(&seed));
            fs::remove_dir_all(&out).unwrap();
        }
    });
    // The next one clears away what those before it could not.
    workspace.done("export", json!({ "path": ".", "output_path": out }));
    assert_eq!(tree::look(&out), tree::look(&seed));
    let beside: Vec<_> = fs::read_dir(&parent)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(beside, ["out"]);
}

fn a_killed_reset_leaves_a_workspace_that_works(world: &World) {
    reset_is_killed(world, Worker::CommandLine);
}

pub(super) fn reset_is_killed(world: &World, worker: Worker) {
    let surface = CommandLine(world);
    let seed = files_of(world, 0);
    let workspace = Workspace::with(world, &surface, json!({ "seed_path": seed }));
    let reset = |round| {
        workspace.output(&format!(
            "for file in *; do echo 'round {}' > $file; done",
            round + 1
        ));
        let arguments = json!({ "workspace_id": workspace.id() });
        worker.begins(world, "workspace_reset", arguments)
    };
    at_many_moments(world, reset, |round| {
        let said = the_one_round(&workspace);
        let expected = [format!("round {}", round + 1), "round 0".to_owned()];
        assert!(expected.contains(&said), "{said} after {round}");
        assert_eq!(workspace.changes().is_empty(), said == "round 0");
        // Another one was ended by the first command after it, and may be there for a moment.
        eventually(&format!("one VM after {round}"), AT_ONCE, || {
            shims(world).len() == 1
        });
    });
    workspace.done("reset", json!({}));
    assert_eq!(the_one_round(&workspace), "round 0");
}

/// A guest that runs, and was not given what belongs into it, is nobody's workspace.
fn a_killed_start_leaves_no_guest_without_its_secrets(world: &World) {
    let surface = CommandLine(world);
    let secrets = json!([{ "name": "TOKEN", "value": "hunter-2-hunter" }]);
    let workspace = Workspace::with(world, &surface, json!({ "secrets": secrets }));
    let start = |_| {
        workspace.done("stop", json!({}));
        world.pyro(["workspace", "start", workspace.id()])
    };
    at_many_moments(world, start, |round| {
        let command = "rev /run/pyro-secrets/TOKEN && echo $T";
        let asked = json!({ "command": command, "secret_env": { "TOKEN": "T" } });
        let told = workspace.done("exec", asked);
        assert_eq!(
            told["stdout"], "retnuh-2-retnuh[REDACTED]\n",
            "{round}: {told:#}"
        );
    });
}

fn a_killed_delete_leaves_a_workspace_or_none(world: &World) {
    let surface = CommandLine(world);
    let delete = |round| {
        let created = Workspace::try_with(world, &surface, json!({ "name": format!("n{round}") }));
        let id = created.unwrap()["workspace_id"]
            .as_str()
            .unwrap()
            .to_owned();
        world.pyro(["workspace", "delete", &id])
    };
    at_many_moments(world, delete, |_| {
        for id in assert_only_listed(world, &surface) {
            let exec = json!({ "workspace_id": id, "command": "true" });
            assert_eq!(
                surface.call("workspace_exec", exec).unwrap()["exit_code"],
                0
            );
            surface
                .call("workspace_delete", json!({ "workspace_id": id }))
                .unwrap();
        }
        assert_only_listed(world, &surface);
    });
}

/// Of all commands it is the one that may explain the end.
fn a_command_whose_vm_is_killed_stays_in_the_history(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let line = "echo at work; echo and in trouble >&2; exec sleep 1000";
    for role in [Role::Machine, Role::Shim] {
        let exec = world.pyro(["workspace", "exec", workspace.id(), "--", line]);
        let exec = BackgroundCommand::running_until(world, exec, "and in trouble");
        processes::signal(world, role, SIGKILL);
        error::tells(
            &exec.ends_at_once(),
            &["stopped before it could", "hint: ", "`pyro workspace logs`"],
        );
        assert_died_with_its_vm(&workspace, line, "at work\n");
        assert_eq!(workspace.output("echo on"), "on\n");
    }
}

/// The workspace goes on, the command that nobody waits for does not.
fn a_killed_exec_ends_its_command(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let script = "echo $$ > pid; echo at work; exec sleep 1000";
    let command = world.pyro(["workspace", "exec", workspace.id(), "--", script]);
    let exec = BackgroundCommand::running(world, command);
    exec.signal(SIGKILL);
    exec.ends_at_once();
    eventually("its command is gone", Duration::from_secs(10), || {
        workspace.exec("kill -0 $(cat pid)")["exit_code"] != 0
    });
    assert_eq!(workspace.exec("true")["workspace_started"], false);
    // What it wrote is not kept by anybody.
    workspace.done("reset", json!({}));
    let outputs = world
        .state_dir()
        .join("workspaces")
        .join(workspace.id())
        .join("output");
    let mut names = fs::read_dir(outputs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(!names.any(|name| name.to_string_lossy().starts_with('.')));
    drop(workspace);
    forget_the_killed(world);
}
