//! Names, labels, lists, and what a workspace may be called by.

use pyro_tests::{Surface, Workspace, World};
use serde_json::{Value, json};

crate::stories! { [process] [command_line, library]:
    a_workspace_has_a_name_and_labels_that_change,
    names_and_labels_have_rules,
    a_workspace_is_called_by_id_beginning_or_name,
    the_list_begins_with_the_one_used_last,
    the_time_that_is_left_is_told,
    one_that_nobody_knows_is_told,
}

fn a_workspace_has_a_name_and_labels_that_change(world: &World, surface: &dyn Surface) {
    let labels = json!({ "team": "core", "note": "two words=fine" });
    let workspace = Workspace::with(
        world,
        surface,
        json!({ "name": "Fix it!", "labels": labels }),
    );
    assert_eq!(workspace.created["name"], "Fix it!");
    assert_eq!(workspace.created["labels"], labels);
    let updated = workspace.done(
        "update",
        json!({ "name": "other", "labels": { "team": "docs" }, "clear_labels": ["note", "never"] }),
    );
    assert_eq!(updated["name"], "other");
    assert_eq!(updated["labels"], json!({ "team": "docs" }));
    assert_eq!(workspace.status()["labels"], json!({ "team": "docs" }));
    let updated = workspace.done("update", json!({ "clear_name": true }));
    assert_eq!(updated["name"], Value::Null);
    let listed = surface.call("workspace_list", json!({})).unwrap();
    assert_eq!(listed["workspaces"][0]["labels"], json!({ "team": "docs" }));
}

fn names_and_labels_have_rules(world: &World, surface: &dyn Surface) {
    for arguments in [
        json!({ "name": "" }),
        json!({ "name": "two\nlines" }),
        json!({ "name": "x".repeat(121) }),
        json!({ "labels": { ".dot": "in front" } }),
        json!({ "ttl_seconds": 59 }),
    ] {
        let told = Workspace::try_with(world, surface, arguments.clone()).unwrap_err();
        assert!(
            ["usage", "invalid_argument"].contains(&told["code"].as_str().unwrap()),
            "{told:#}"
        );
    }
    let workspace = Workspace::new(world, surface);
    workspace.refused("update", json!({}), "invalid_argument");
    workspace.refused(
        "update",
        json!({ "name": "a", "clear_name": true }),
        "invalid_argument",
    );
}

fn a_workspace_is_called_by_id_beginning_or_name(world: &World, surface: &dyn Surface) {
    let one = Workspace::with(world, surface, json!({ "name": "shared" }));
    let status = |reference: &str| {
        surface
            .call("workspace_status", json!({ "workspace_id": reference }))
            .map(|record| record["workspace_id"].as_str().unwrap().to_owned())
    };
    for reference in [one.id(), &one.id()[..8], "shared"] {
        assert_eq!(status(reference).unwrap(), one.id());
    }
    assert_eq!(one.created["notes"], Value::Null);
    let other = Workspace::with(world, surface, json!({ "name": "shared" }));
    let note = other.created["notes"][0].as_str().unwrap();
    assert!(
        note.contains(&format!("also the name of {}", one.id())),
        "{note}"
    );
    let told = status("shared").unwrap_err();
    assert_eq!(told["code"], "ambiguous_workspace", "{told:#}");
    for id in [one.id(), other.id()] {
        assert!(told["causes"].to_string().contains(id), "{told:#}");
    }
    assert_eq!(status(other.id()).unwrap(), other.id());
    let renamed = other.done("update", json!({ "name": "another" }));
    assert_eq!(renamed["notes"], Value::Null);
    assert_eq!(status("shared").unwrap(), one.id());
    let renamed = other.done("update", json!({ "name": "shared" }));
    assert!(
        renamed["notes"][0].as_str().unwrap().contains(one.id()),
        "{renamed:#}"
    );
    assert_eq!(other.status()["notes"], Value::Null);
}

fn the_list_begins_with_the_one_used_last(world: &World, surface: &dyn Surface) {
    let three = [(); 3].map(|()| Workspace::new(world, surface));
    three[1].exec("true");
    let listed = surface.call("workspace_list", json!({})).unwrap();
    assert_eq!(listed["count"], 3);
    let ids = listed["workspaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["workspace_id"]);
    let expected = [three[1].id(), three[2].id(), three[0].id()];
    assert_eq!(ids.collect::<Vec<_>>(), expected);
    assert_eq!(listed["workspaces"][0]["command_count"], 1);
}

fn the_time_that_is_left_is_told(world: &World, surface: &dyn Surface) {
    let kept = Workspace::with(world, surface, json!({ "ttl_seconds": 0 }));
    assert_eq!(kept.created["expires_at"], 0.0);
    assert_eq!(kept.created["time_left_seconds"], Value::Null);
    let workspace = Workspace::with(world, surface, json!({ "ttl_seconds": 2_592_000 }));
    let record = workspace.status();
    let lives =
        record["expires_at"].as_f64().unwrap() - record["last_activity_at"].as_f64().unwrap();
    assert!((lives - 2_592_000.0).abs() < 1.0, "{record:#}");
    let left = record["time_left_seconds"].as_u64().unwrap();
    assert!((2_591_000..=2_592_000).contains(&left), "{left}");
    workspace.done("stop", json!({}));
    let record = workspace.status();
    assert_eq!(record["expires_at"], 0.0);
    assert_eq!(record["time_left_seconds"], Value::Null);
}

fn one_that_nobody_knows_is_told(_: &World, surface: &dyn Surface) {
    for operation in [
        "status",
        "exec",
        "diff",
        "file_list",
        "logs",
        "reset",
        "stop",
        "start",
        "delete",
    ] {
        for reference in ["0123456789ab", "", "../../etc", "%"] {
            let mut arguments = json!({ "workspace_id": reference });
            if operation == "exec" {
                arguments["command"] = json!("true");
            }
            let told = surface
                .call(&format!("workspace_{operation}"), arguments)
                .unwrap_err();
            assert_eq!(
                told["code"], "unknown_workspace",
                "{operation} {reference}: {told:#}"
            );
        }
    }
}
