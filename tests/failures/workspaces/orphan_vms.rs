//! VMs of a workspace that its record does not know, because pyro was killed before it could write
//! down that it had started one, or before it could end the last one.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::SIGKILL;
use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::world::eventually;
use pyro_tests::{Backend, Workspace, World};
use pyro_wire::shim::{ShimReply, ShimRequest};
use serde_json::json;

use super::kill_points::forget_the_killed;
use super::{assert_only_listed, shims, supervisor};
use crate::background_command::{AT_ONCE, BackgroundCommand};
use crate::missing::script;
use crate::records::database;
use crate::unprivileged_user::agent;

crate::stories![[process, vm, gvisor]:
        a_vm_of_a_reset_that_was_not_written_down_is_ended,
    a_vm_of_a_start_that_was_not_written_down_is_ended,
];

/// How long a VM may take to come up on a busy machine without KVM.
const START: Duration = Duration::from_secs(120);

/// Kills `pyro workspace VERB` when its VM has come up, and nobody could write that down.
fn killed_unwritten(world: &World, workspace: &Workspace<'_>, verb: &str, generation: u32) {
    let database = database(world);
    let counted = "SELECT running FROM workspaces WHERE workspace_id = ?1";
    let mut command = world.pyro(["workspace", verb, workspace.id()]);
    let go = world.folder().join("go");
    if world.backend == Backend::Process {
        // It is up in no time, and waits for our lock of the database.
        let _ = fs::remove_file(&go);
        let lines = format!(
            "until test -e '{}'; do sleep 0.01; done; exec '{}' \"$@\"",
            go.display(),
            agent().display()
        );
        command.env("PYRO_AGENT", script(world, "agent", &lines));
    }
    let run = BackgroundCommand::start(world, &mut command);
    // Which it is from before its VM starts. A look each while would come too late.
    let deadline = Instant::now() + START;
    while !database
        .query_row(counted, [workspace.id()], |row| row.get::<_, bool>(0))
        .unwrap()
    {
        assert!(Instant::now() < deadline, "its memory is not counted");
    }
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    fs::write(&go, "").unwrap();
    let vm = world
        .state_dir()
        .join("workspaces")
        .join(workspace.id())
        .join(format!("vm-{generation}"));
    eventually("the VM is up", START, || is_up(&vm));
    run.signal(SIGKILL);
    run.ends_at_once();
    database.execute_batch("ROLLBACK").unwrap();
}

/// Whether the supervisor of a VM has told whoever started it that it runs.
fn is_up(vm: &Path) -> bool {
    let asked = supervisor::asks(vm, &ShimRequest::Status);
    matches!(supervisor::waits(asked), Some((_, ShimReply::Status(_))))
}

fn assert_shims(world: &World, count: usize) {
    eventually(&format!("{count} VMs are left"), AT_ONCE, || {
        shims(world).len() == count
    });
}

fn a_vm_of_a_reset_that_was_not_written_down_is_ended(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::with(world, &surface, json!({ "ttl_seconds": 0 }));
    // Where commands run on the host, the last one ends before the next begins.
    let left = match world.backend {
        Backend::Vm | Backend::Gvisor => 1,
        Backend::Process => 0,
    };
    for (command, after) in [("list", left), ("exec", 1), ("stop", 0)] {
        workspace.output("echo kept > file");
        killed_unwritten(world, &workspace, "reset", 1);
        assert_eq!(shims(world).len(), left + 1, "{command}");
        match command {
            "list" => assert_eq!(assert_only_listed(world, &surface), [workspace.id()]),
            "exec" => assert_eq!(workspace.output("echo on"), "on\n"),
            _ => assert_eq!(workspace.done("stop", json!({}))["state"], "stopped"),
        }
        assert_shims(world, after);
        if world.backend != Backend::Process {
            assert_eq!(workspace.read("file"), "kept\n");
        }
    }
    drop(workspace);
    forget_the_killed(world);
}

fn a_vm_of_a_start_that_was_not_written_down_is_ended(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::with(world, &surface, json!({ "ttl_seconds": 0 }));
    for (command, after) in [("list", 0), ("exec", 1), ("stop", 0)] {
        workspace.done("stop", json!({}));
        killed_unwritten(world, &workspace, "start", 0);
        assert_eq!(shims(world).len(), 1);
        match command {
            "list" => assert_eq!(assert_only_listed(world, &surface), [workspace.id()]),
            "exec" => assert_eq!(workspace.output("echo on"), "on\n"),
            _ => assert_eq!(workspace.done("stop", json!({}))["state"], "stopped"),
        }
        assert_shims(world, after);
    }
    drop(workspace);
    forget_the_killed(world);
}
