//! Answers are small enough for every host, and nothing is out of reach: what does not fit comes
//! with the next call.

use std::collections::BTreeSet;
use std::time::Duration;

use pyro_tests::surfaces::{cli::CommandLine, mcp::Tools};
use pyro_tests::world::eventually;
use pyro_tests::{Surface, Workspace, World, tree};
use serde_json::{Value, json};

crate::stories! { [process]:
    a_long_history_comes_in_parts,
    long_text_comes_in_whole_characters,
    a_long_diff_comes_in_parts_that_apply,
    a_long_list_of_files_comes_in_parts,
    a_long_log_of_a_service_is_read_backwards,
    many_workspaces_come_in_parts,
    what_was_said_is_not_repeated_at_length,
}

/// What the facts of an answer may weigh that nobody asked to be larger. At three bytes for a token
/// that is less than 25,000.
const LARGEST: usize = 64 * 1024;

#[track_caller]
fn assert_small(facts: &Value) {
    let length = facts.to_string().len();
    assert!(length < LARGEST, "{length} bytes");
}

/// Every part of an answer that comes in parts.
fn parts(workspace: &Workspace<'_>, operation: &str, arguments: &Value) -> Vec<Value> {
    in_parts(arguments, |arguments| workspace.done(operation, arguments))
}

fn in_parts(arguments: &Value, call: impl Fn(Value) -> Value) -> Vec<Value> {
    let mut parts: Vec<Value> = Vec::new();
    let mut skip = json!(0);
    while !skip.is_null() {
        let mut arguments = arguments.clone();
        arguments["skip"] = skip.clone();
        let part = call(arguments);
        assert_small(&part);
        let next = part["next_skip"].clone();
        assert!(next.is_null() || next.as_u64() > skip.as_u64(), "{next}");
        skip = next;
        parts.push(part);
    }
    assert!(parts.len() > 1, "it fits into one answer");
    parts
}

/// A field of all entries of all parts.
fn all<'a>(parts: &'a [Value], list: &str, field: &str) -> Vec<&'a Value> {
    let lists = parts.iter().map(|part| part[list].as_array().unwrap());
    lists.flatten().map(|entry| &entry[field]).collect()
}

fn a_long_history_comes_in_parts(world: &World) {
    let surface = Tools::new(world);
    let workspace = Workspace::new(world, &surface);
    for _ in 0..2 {
        for number in 0..15 {
            workspace.exec(&format!("seq {number} 3000; seq 3000 >&2"));
        }
        workspace.done("reset", json!({}));
    }
    workspace.exec("seq -w 10000 | head -c 49999; seq -w 10000 | head -c 50001 >&2");
    let parts = parts(&workspace, "logs", &json!({}));
    let events = all(&parts, "events", "event");
    assert_eq!(events.iter().filter(|event| **event == "reset").count(), 2);
    assert_eq!(
        events.iter().filter(|event| **event == "created").count(),
        1
    );
    let numbers = all(&parts, "entries", "sequence");
    let resets = all(&parts, "entries", "reset_count");
    let told: BTreeSet<String> = (numbers.iter().zip(&resets))
        .map(|(number, reset)| format!("{reset}.{number}"))
        .collect();
    assert_eq!((numbers.len(), told.len()), (31, 31), "{told:?}");
    for part in &parts {
        assert_eq!(part["total"], 31);
        assert_eq!(part["count"], part["entries"].as_array().unwrap().len());
        let entry = &part["entries"][0];
        assert_eq!(entry["stdout"].as_str().unwrap().len(), 4096);
        assert_eq!(entry["stdout_truncated"], true);
    }
    // One command, all of it.
    let (mut read, mut offset) = (String::new(), json!(0));
    while !offset.is_null() {
        let part = workspace.done("logs", json!({ "sequence": 31, "offset": offset }));
        assert_small(&part);
        let entry = &part["entries"][0];
        let next = entry["next_offset"].clone();
        assert!(next.is_null() || next.as_u64() > offset.as_u64(), "{next}");
        offset = next;
        read += entry["stdout"].as_str().unwrap();
        read += entry["stderr"].as_str().unwrap();
    }
    assert_eq!(read.len(), 100_000);
    // The newest are last in the first part, as they are in the only one.
    let newest = parts[0]["entries"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&newest["reset_count"], &newest["sequence"]),
        (&json!(2), &json!(31))
    );
    let two = workspace.done("logs", json!({ "last": 2, "skip": 1 }));
    assert_eq!(two["count"], 2);
    assert_eq!(
        two["entries"][1]["sequence"], 30,
        "behind the event of the reset"
    );
    // A person gets it all.
    let person = CommandLine(world);
    let whole = json!({ "workspace_id": workspace.id() });
    let whole = person.call("workspace_logs", whole).unwrap();
    assert_eq!(
        (&whole["count"], &whole["next_skip"]),
        (&json!(31), &Value::Null)
    );
}

fn long_text_comes_in_whole_characters(world: &World) {
    let surface = Tools::new(world);
    let workspace = Workspace::new(world, &surface);
    // Pages end inside of characters, in each stream at another place.
    workspace.exec(
        "(printf x; yes 日本語 | head -c 36000); (printf xx; yes 日本語 | head -c 60000) >&2",
    );
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let mut at = json!({ "sequence": 1 });
    while !at["offset"].is_null() || stdout.is_empty() {
        let part = workspace.done("logs", at.clone());
        assert_small(&part);
        let entry = &part["entries"][0];
        assert_eq!(
            (&entry["stdout_encoding"], &entry["stderr_encoding"]),
            (&json!("utf-8"), &json!("utf-8"))
        );
        assert_eq!(
            entry["next_offset"].is_null(),
            entry["next_stderr_offset"].is_null()
        );
        stdout += entry["stdout"].as_str().unwrap();
        stderr += entry["stderr"].as_str().unwrap();
        at["offset"] = entry["next_offset"].clone();
        at["stderr_offset"] = entry["next_stderr_offset"].clone();
    }
    assert_eq!(stdout, format!("x{}", "日本語\n".repeat(3600)));
    assert_eq!(stderr, format!("xx{}", "日本語\n".repeat(6000)));
    // Who goes on with one place for both streams comes to the end as well.
    let mut at = json!({ "sequence": 1, "offset": 0 });
    while !at["offset"].is_null() {
        let next = workspace.done("logs", at.clone())["entries"][0]["next_offset"].clone();
        assert!(
            next.is_null() || next.as_u64() > at["offset"].as_u64(),
            "{next}"
        );
        at["offset"] = next;
    }
    let few = workspace.done("logs", json!({ "sequence": 1, "max_bytes": 6 }));
    let entry = &few["entries"][0];
    assert_eq!(
        (&entry["stdout"], &entry["next_offset"]),
        (&json!("x日"), &json!(4))
    );
}

fn a_long_diff_comes_in_parts_that_apply(world: &World) {
    let surface = Tools::new(world);
    let seed = tree::plant(&world.folder().join("seed"), &[("file-20", "old\n")]);
    let workspace = Workspace::with(world, &surface, json!({ "seed_path": seed }));
    workspace.output(
        "for i in $(seq 10 59); do seq $i 800 > file-$i; done; seq 9000 > file-30; \
         head -c 100 /dev/zero > zeros; mkdir many; for i in $(seq 200); do : > many/$i; done",
    );
    let parts = parts(&workspace, "diff", &json!({}));
    let person = CommandLine(world);
    let whole = json!({ "workspace_id": workspace.id() });
    let whole = person.call("workspace_diff", whole).unwrap();
    assert_eq!(whole["next_skip"], Value::Null);
    let paths = all(&parts, "entries", "path");
    assert_eq!(paths, all(std::slice::from_ref(&whole), "entries", "path"));
    let mut patch = String::new();
    for part in &parts {
        assert_eq!(part["summary"]["total"], whole["summary"]["total"]);
        assert_eq!(part["changed"], true);
        // Each patch is there once.
        assert!(
            all(std::slice::from_ref(part), "entries", "text_patch")
                .iter()
                .all(|one| one.is_null())
        );
        patch += part["patch"].as_str().unwrap();
    }
    assert_eq!(parts.last().unwrap()["patch_truncated"], false);
    // The one that is too long by itself is told, and comes when so much is asked for.
    let why = all(&parts, "entries", "no_patch_because");
    let at = paths.iter().position(|path| *path == "file-30").unwrap();
    assert_eq!(why[at], "limit");
    assert_eq!(why.iter().filter(|why| **why == "limit").count(), 1);
    let asked = json!({ "skip": at, "max_bytes": 100_000 });
    let long = workspace.done("diff", asked);
    assert_eq!(long["entries"][0]["path"], "file-30");
    let long = long["patch"].as_str().unwrap();
    let (first, _) = long.split_once("\ndiff --git a/file-31").unwrap();
    let whole = whole["patch"].as_str().unwrap();
    assert!(whole.contains(first));
    let end = patch.find("diff --git a/file-31").unwrap();
    patch.insert_str(end, &format!("{first}\n"));
    assert!(patch == whole, "the parts make another whole");
}

fn a_long_list_of_files_comes_in_parts(world: &World) {
    let surface = Tools::new(world);
    let workspace = Workspace::new(world, &surface);
    workspace.output("for i in $(seq 1000 1999); do : > file-$i; done");
    let parts = parts(&workspace, "file_list", &json!({}));
    let paths = all(&parts, "entries", "path");
    let wanted: Vec<Value> = (1000..2000)
        .map(|number| json!(format!("/workspace/file-{number}")))
        .collect();
    assert!(paths.into_iter().eq(&wanted));
    assert!(parts.iter().all(|part| part["total_entries"] == 1000));
    assert_eq!(parts[0]["truncated"], true);
    assert_eq!(parts.last().unwrap()["truncated"], false);
    // Whoever says how many gets as many.
    let all = workspace.done("file_list", json!({ "max_entries": 5000 }));
    assert_eq!(all["entries"].as_array().unwrap().len(), 1000);
    let two = workspace.done("file_list", json!({ "max_entries": 2, "skip": 3 }));
    assert_eq!(two["entries"][0]["path"], "/workspace/file-1003");
    assert_eq!(two["next_skip"], 5);
}

fn a_long_log_of_a_service_is_read_backwards(world: &World) {
    let surface = Tools::new(world);
    let workspace = Workspace::new(world, &surface);
    workspace.starts(
        "web",
        "seq 100000 115000; seq 500 >&2; touch done; exec sleep 1000",
        json!({ "ready_file": "done" }),
    );
    let ask = |mut arguments: Value| {
        arguments["service_name"] = json!("web");
        workspace.service("logs", arguments).unwrap()
    };
    // The file may be there before the last of the output was read.
    eventually("all is in the log", Duration::from_secs(30), || {
        let log = ask(json!({ "tail_lines": 1 }));
        log["stdout"] == "115000\n" && log["stderr"] == "500\n"
    });
    let mut lines: BTreeSet<String> = BTreeSet::new();
    let mut errors = BTreeSet::new();
    let (mut skip, mut calls) = (json!(0), 0);
    while !skip.is_null() {
        let part = ask(json!({ "all": true, "skip_lines": skip }));
        assert_small(&part);
        let stream = |name: &str| {
            part[name]
                .as_str()
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        lines.extend(stream("stdout"));
        errors.extend(stream("stderr"));
        assert_eq!(part["truncated"], !part["next_skip_lines"].is_null());
        skip = part["next_skip_lines"].clone();
        calls += 1;
    }
    assert!((3..10).contains(&calls), "{calls}");
    assert!(
        lines
            .into_iter()
            .eq((100_000..=115_000).map(|line: u32| line.to_string()))
    );
    assert_eq!(errors.len(), 500);
    let some = ask(json!({ "tail_lines": 2, "skip_lines": 3 }));
    assert_eq!(some["stdout"], "114996\n114997\n");
    assert_eq!(some["next_skip_lines"], 5);
    let much = ask(json!({ "all": true, "max_bytes": 1_048_576 }));
    assert_eq!(much["stdout"].as_str().unwrap().len(), 15_001 * 7);
}

fn many_workspaces_come_in_parts(world: &World) {
    let surface = Tools::new(world);
    let label = "x".repeat(120);
    let labels: serde_json::Map<String, Value> = (0..100)
        .map(|number| (format!("key-{number}"), json!(label)))
        .collect();
    let made: Vec<Workspace<'_>> = (0..4)
        .map(|_| Workspace::with(world, &surface, json!({ "labels": labels })))
        .collect();
    let parts = in_parts(&json!({}), |arguments| {
        surface.call("workspace_list", arguments).unwrap()
    });
    let shown = all(&parts, "workspaces", "workspace_id");
    assert_eq!(shown.len(), 4);
    for one in &made {
        assert!(shown.contains(&&one.created["workspace_id"]), "{shown:?}");
    }
    assert!(parts.iter().all(|part| part["total"] == 4));
    assert_eq!(
        CommandLine(world)
            .call("workspace_list", json!({}))
            .unwrap()["count"],
        4
    );
}

fn what_was_said_is_not_repeated_at_length(world: &World) {
    let surface = Tools::new(world);
    let workspace = Workspace::new(world, &surface);
    let long = format!("true {}end", "word ".repeat(20_000));
    let ran = workspace.exec(&long);
    assert_eq!(ran["exit_code"], 0, "{ran:#}");
    assert_shortened(&ran["command"], &long, 5000);
    assert_shortened(&workspace.status()["last_command"]["command"], &long, 5000);
    let listed = workspace.done("logs", json!({}));
    assert_shortened(&listed["entries"][0]["command"], &long, 500);
    // There it is, when it is asked for.
    let one = workspace.done("logs", json!({ "sequence": 1, "max_bytes": 200_000 }));
    assert_eq!(one["entries"][0]["command"], long);

    let started = workspace.starts("web", &format!("{long}; exec sleep 1000"), json!({}));
    assert_shortened(&started["command"], "true ", 5000);
    let services = workspace.service("list", json!({})).unwrap();
    assert_shortened(&services["services"][0]["command"], "true ", 500);

    let lines: String = (0..20_000).map(|number| format!("+{number}\n")).collect();
    let patch = format!("--- /dev/null\n+++ b/new\n@@ -0,0 +1,20000 @@\n{lines}");
    let applied = workspace.done("patch_apply", json!({ "patch": patch }));
    assert_shortened(&applied["patch"], &patch, 5000);
    assert_eq!(applied["summary"]["added"], 1);
    assert!(workspace.output("tail -n1 new").starts_with("19999"));
}

/// The ends of what was said, and how much is between them.
#[track_caller]
fn assert_shortened(shown: &Value, said: &str, most: usize) {
    let shown = shown.as_str().unwrap();
    assert!(shown.len() < most, "{} bytes", shown.len());
    assert!(shown.contains("bytes left out"), "{shown}");
    assert!(said.starts_with(&shown[..5]), "{shown}");
}
