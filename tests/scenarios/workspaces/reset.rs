//! `workspace_reset`.

use pyro_tests::{Surface, Workspace, World, tree};
use serde_json::json;

crate::stories! { [process, vm] [command_line]: a_reset_brings_the_first_state_back }
crate::stories! { [process] [library]: a_stopped_one_is_reset_as_well, what_is_no_snapshot_is_told }

fn a_reset_brings_the_first_state_back(world: &World, door: &dyn Surface) {
    let seed = tree::plant(&world.folder().join("seed"), &[("file", "first\n")]);
    let arguments = json!({ "seed_path": seed, "name": "stays", "labels": { "a": "b" } });
    let workspace = Workspace::with(world, door, arguments);
    workspace.exec("echo changed > file; echo new > new; (setsid sleep 4242 >/dev/null 2>&1 &)");
    let reset = workspace.done("reset", json!({}));
    assert_eq!(reset["workspace_id"], workspace.id());
    assert_eq!(reset["name"], "stays");
    assert_eq!(reset["labels"], json!({ "a": "b" }));
    assert_eq!(reset["state"], "started");
    assert_eq!(
        (&reset["reset_count"], &reset["command_count"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(reset["workspace_reset"]["snapshot_name"], "baseline");
    assert_eq!(reset["workspace_reset"]["entry_count"], 1);
    assert_eq!(workspace.changes(), [""; 0]);
    let result = workspace.exec("ls; cat file; pgrep -af '[s]leep 4242'");
    assert_eq!(result["stdout"], "file\nfirst\n");
    assert_eq!(result["sequence"], 1);
    let logs = workspace.done("logs", json!({}));
    let resets: Vec<_> = logs["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["reset_count"])
        .collect();
    assert_eq!(resets, [0, 1]);
    let events = logs["events"].as_array().unwrap();
    assert!(
        events.iter().any(|event| event["event"] == "reset"),
        "{logs:#}"
    );
    // And once more, from what the first reset made.
    workspace.exec("rm file");
    assert_eq!(workspace.done("reset", json!({}))["reset_count"], 2);
    assert_eq!(workspace.read("file"), "first\n");
}

fn a_stopped_one_is_reset_as_well(world: &World, door: &dyn Surface) {
    let workspace = Workspace::new(world, door);
    workspace.exec("echo x > x");
    workspace.done("stop", json!({}));
    assert_eq!(workspace.done("reset", json!({}))["state"], "started");
    assert_eq!(workspace.changes(), [""; 0]);
}

fn what_is_no_snapshot_is_told(world: &World, door: &dyn Surface) {
    let workspace = Workspace::new(world, door);
    workspace.exec("echo x > x");
    workspace.refused("reset", json!({ "snapshot": "never" }), "unknown_snapshot");
    assert_eq!(workspace.read("x"), "x\n");
}
