//! `workspace_reset`.

use pyro_tests::{Backend, Surface, Workspace, World, tree};
use serde_json::json;

crate::stories! { [process, vm, gvisor] [command_line]: a_reset_brings_the_first_state_back }
crate::stories! { [process] [command_line, mcp]: a_number_means_one_command_over_all_resets }
crate::stories! { [process] [library]: a_stopped_one_is_reset_as_well, what_is_no_snapshot_is_told }

fn a_reset_brings_the_first_state_back(world: &World, surface: &dyn Surface) {
    let seed = tree::plant(&world.folder().join("seed"), &[("file", "first\n")]);
    let arguments = json!({ "seed_path": seed, "name": "stays", "labels": { "a": "b" } });
    let workspace = Workspace::with(world, surface, arguments);
    // The same story may be played in a guest at this moment, by a `pyro` that names its own.
    let number = match world.backend {
        Backend::Process => 4242,
        Backend::Vm | Backend::Gvisor => 4252,
    };
    workspace.exec(&format!(
        "echo changed > file; echo new > new; (setsid sleep {number} >/dev/null 2>&1 &)"
    ));
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
    let result = workspace.exec(&format!("ls; cat file; pgrep -af '[s]leep {number}'"));
    assert_eq!(result["stdout"], "file\nfirst\n");
    assert_eq!(result["sequence"], 2);
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

fn a_number_means_one_command_over_all_resets(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    let begin = |word: &str| {
        let command = format!("echo {word}; exec sleep 1000");
        let exec = json!({ "command": command, "background": true, "timeout_seconds": 600 });
        let sequence = workspace.done("exec", exec)["sequence"].clone();
        // It has written.
        workspace.done("logs", json!({ "sequence": sequence, "wait_seconds": 60 }));
        sequence
    };
    let entry = |sequence| {
        let logs = workspace.done("logs", json!({ "sequence": sequence }));
        logs["entries"][0].clone()
    };
    let first = begin("A");
    workspace.done("reset", json!({}));
    let second = begin("B");
    assert_eq!((&first, &second), (&json!(1), &json!(2)));
    assert_eq!(workspace.exec("echo C")["sequence"], 3);

    // Whoever holds the first number means that one, and ends no other.
    let stopped = workspace.done("exec", json!({ "stop": first }));
    assert_eq!(
        (&stopped["stdout"], &stopped["ended_because"]),
        (&json!("A\n"), &json!("its workspace was reset"))
    );
    let before = entry(1);
    assert_eq!(
        (&before["stdout"], &before["reset_count"]),
        (&json!("A\n"), &json!(0))
    );
    let after = entry(2);
    assert_eq!(
        (&after["stdout"], &after["running"], &after["reset_count"]),
        (&json!("B\n"), &json!(true), &json!(1))
    );
    let outputs = world.state_dir().join("workspaces").join(workspace.id());
    for entry in [before, after, entry(3)] {
        let file = outputs
            .join("output")
            .join(entry["stdout_file"].as_str().unwrap());
        let kept = std::fs::read_to_string(file).unwrap();
        assert_eq!(entry["stdout"], kept, "{entry:#}");
    }
    let status = workspace.status();
    assert_eq!(
        (
            &status["command_count"],
            &status["last_command"]["sequence"]
        ),
        (&json!(2), &json!(3))
    );
    assert_eq!(
        workspace.done("exec", json!({ "stop": 2 }))["running"],
        false
    );
}

fn a_stopped_one_is_reset_as_well(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.exec("echo x > x");
    workspace.done("stop", json!({}));
    assert_eq!(workspace.done("reset", json!({}))["state"], "started");
    assert_eq!(workspace.changes(), [""; 0]);
}

fn what_is_no_snapshot_is_told(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.exec("echo x > x");
    workspace.refused("reset", json!({ "snapshot": "never" }), "unknown_snapshot");
    assert_eq!(workspace.read("x"), "x\n");
}
