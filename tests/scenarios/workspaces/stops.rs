//! `workspace_stop`, `workspace_start`, and machines that end by themselves.

use std::time::{Duration, Instant};

use pyro_tests::leftovers::{kill_all, processes};
use pyro_tests::surfaces::{cli::CommandLine, engine::Library};
use pyro_tests::world::eventually;
use pyro_tests::{Backend, Surface, Workspace, World};
use serde_json::{Value, json};

crate::stories! { [process, vm, gvisor] [library]: what_was_acknowledged_outlasts_a_stop }
crate::stories! { [process, vm, gvisor]:
    a_later_process_finds_it,
    a_killed_machine_is_started_again_and_says_so,
    one_that_nobody_uses_stops_and_says_so,
}
crate::stories! { [process] [command_line, library]: every_use_starts_a_stopped_one }

fn what_was_acknowledged_outlasts_a_stop(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.write("written", "by write\n");
    workspace.exec("echo by exec > exec; nohup sleep 1000 >/dev/null 2>&1 &");
    if world.backend != Backend::Process {
        workspace.exec("echo by root > /usr/local/elsewhere");
    }
    let stopped = workspace.done("stop", json!({}));
    assert_eq!(stopped["state"], "stopped");
    assert_ne!(stopped["stopped_because"], Value::Null);
    assert_eq!(stopped["notes"], Value::Null);
    // The supervisor answers a moment before it ends itself.
    eventually("no process is left", Duration::from_secs(10), || {
        processes(&world.state_dir()).is_empty()
    });
    let again = workspace.done("stop", json!({}));
    assert_eq!(again["state"], "stopped");
    assert_eq!(again["notes"], json!(["it was stopped already"]));
    let started = workspace.done("start", json!({}));
    assert_eq!(started["state"], "started");
    assert_eq!(started["stopped_because"], Value::Null);
    let result = workspace.exec("cat written exec");
    assert_eq!(result["stdout"], "by write\nby exec\n");
    assert_eq!(result["workspace_started"], false);
    if world.backend != Backend::Process {
        let result = workspace.exec("cat /usr/local/elsewhere");
        assert_eq!(result["stdout"], "by root\n");
    }
    assert_eq!(workspace.changes(), ["added exec", "added written"]);
}

fn a_later_process_finds_it(world: &World) {
    let first = Library::new(world);
    let workspace = Workspace::with(world, &first, json!({ "name": "lasting" }));
    workspace.write("file", "made earlier\n");
    // Another process, while the first is there and after it.
    let surface = CommandLine(world);
    let exec = || {
        let arguments = json!({ "workspace_id": "lasting", "command": "cat file" });
        let result = surface.call("workspace_exec", arguments).unwrap();
        assert_eq!(result["stdout"], "made earlier\n");
        assert_eq!(result["workspace_started"], false);
    };
    exec();
    let id = workspace.id().to_owned();
    std::mem::forget(workspace);
    drop(first);
    exec();
    surface
        .call("workspace_delete", json!({ "workspace_id": id }))
        .unwrap();
}

fn a_killed_machine_is_started_again_and_says_so(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    workspace.exec("echo kept > file; sync");
    assert!(!processes(&world.state_dir()).is_empty());
    kill_all(&world.state_dir());
    let status = workspace.status();
    assert_eq!(status["state"], "stopped");
    assert!(!status["stopped_because"].as_str().unwrap().is_empty());
    let result = workspace.exec("cat file");
    assert_eq!(result["stdout"], "kept\n");
    assert_eq!(result["workspace_started"], true);
    assert_eq!(workspace.exec("true")["workspace_started"], false);
    let logs = workspace.done("logs", json!({}));
    let events: Vec<_> = logs["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["event"])
        .collect();
    assert_eq!(events, ["created", "stopped", "started"]);
}

fn one_that_nobody_uses_stops_and_says_so(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    workspace.done("stop", json!({}));
    // Nobody may ask for less than a minute, and no test should wait for one.
    rusqlite::Connection::open(world.state_dir().join("pyro.db"))
        .unwrap()
        .execute(
            "UPDATE workspaces SET record = json_set(record, '$.record.ttl_seconds', 2)",
            [],
        )
        .unwrap();
    // In use for longer than that: a stop would end it.
    workspace.output("sleep 3; echo kept > file");
    let since = Instant::now();
    let status = workspace.status();
    // On a busy host the time may be over when the status is asked for.
    if since.elapsed() < Duration::from_secs(1) {
        assert_eq!(status["state"], "started", "{status:#}");
        assert!(status["time_left_seconds"].as_u64().unwrap() <= 2);
    }
    let mut status = Value::Null;
    eventually("it stops", Duration::from_secs(30), || {
        status = workspace.status();
        status["state"] == "stopped"
    });
    let why = status["stopped_because"].as_str().unwrap();
    assert!(why.contains("it was not used for 2 s"), "{why}");
    let logs = workspace.done("logs", json!({}));
    let last = logs["events"].as_array().unwrap().last().unwrap();
    assert_eq!(last["event"], "stopped");
    assert!(last["detail"].as_str().unwrap().contains(why), "{last}");
    let result = workspace.exec("cat file");
    assert_eq!(result["stdout"], "kept\n");
    assert_eq!(result["workspace_started"], true);
}

fn every_use_starts_a_stopped_one(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.write("file", "x\n");
    let source = pyro_tests::tree::plant(&world.folder().join("source"), &[("pushed", "")]);
    let out = world.folder().join("out");
    let patch = "--- a/file\n+++ b/file\n@@ -1 +1 @@\n-x\n+y\n";
    for (operation, arguments) in [
        ("exec", json!({ "command": "true" })),
        ("file_list", json!({})),
        ("file_read", json!({ "path": "file" })),
        ("file_write", json!({ "path": "file", "text": "x\n" })),
        ("diff", json!({})),
        ("patch_apply", json!({ "patch": patch })),
        ("sync_push", json!({ "source_path": source })),
        ("export", json!({ "path": "file", "output_path": out })),
    ] {
        workspace.done("stop", json!({}));
        let result = workspace.done(operation, arguments);
        assert_eq!(result["workspace_started"], true, "{operation}: {result:#}");
        assert_eq!(workspace.status()["state"], "started", "{operation}");
    }
    // To look at one is no use of it.
    workspace.done("stop", json!({}));
    workspace.done("logs", json!({}));
    workspace.done("update", json!({ "name": "still asleep" }));
    assert_eq!(workspace.status()["state"], "stopped");
}
