//! Many who use one workspace, and many workspaces.

use std::process::Command;

use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::surfaces::engine::Library;
use pyro_tests::world::{Running, finish};
use pyro_tests::{Surface, Workspace, World};
use serde_json::{Value, json};

use super::{assert_only_listed, listed};
use crate::records::database;

crate::stories![[process, vm, gvisor]: using_resetting_and_deleting_at_once_ends_well];

mod on_the_host {
    use super::*;
    crate::stories![Process:
        creating_and_deleting_at_once_leaves_nothing,
        a_list_is_answered_while_others_are_deleted,
        starting_at_once_starts_once,
        a_hundred_stopped_ones_are_listed_and_deleted,
    ];
}

/// What may come of a call that another one crosses: a result, or a clear error.
fn is_clear(answer: &Value) -> bool {
    let crossed = ["unknown_workspace", "vm_died", "conflict", "unknown_file"];
    let code = answer["code"].as_str().unwrap_or_default();
    answer["ok"] != false || (crossed.contains(&code) && answer["hint"].is_string())
}

fn using_resetting_and_deleting_at_once_ends_well(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let call = |words: &[&str]| -> Command {
        let mut pyro = world.pyro(["workspace"]);
        let (before, after) = words.split_at(
            words
                .iter()
                .position(|word| *word == "--")
                .unwrap_or(words.len()),
        );
        pyro.args(before).arg("--json").args(after);
        pyro
    };
    let id = workspace.id();
    let uses: &[&[&str]] = &[
        &["exec", id, "--", "echo x > x; sync; cat x"],
        &["reset", id],
        &["file", "write", id, "y", "--text", "y"],
        &["stop", id],
        &["exec", id, "--", "sleep 0.2; echo done"],
        &["diff", id],
        &["status", id],
        &["reset", id],
    ];
    for _ in 0..2 {
        let all: Vec<Running> = uses
            .iter()
            .map(|words| Running::start(&mut call(words)))
            .collect();
        for (words, one) in uses.iter().zip(all) {
            let answer = one.wait().json();
            assert!(is_clear(&answer), "{words:?}: {answer:#}");
            assert_ne!(answer["code"], "unknown_workspace", "{words:?}: {answer:#}");
        }
        assert_eq!(workspace.output("echo fine"), "fine\n");
    }
    let delete: &[&str] = &["delete", id];
    let last = [uses, &[delete, delete]].concat();
    let all: Vec<Running> = last
        .iter()
        .map(|words| Running::start(&mut call(words)))
        .collect();
    let answers: Vec<Value> = all.into_iter().map(|one| one.wait().json()).collect();
    for (words, answer) in last.iter().zip(&answers) {
        assert!(is_clear(answer), "{words:?}: {answer:#}");
    }
    assert!(
        answers.iter().any(|answer| answer["deleted"] == true),
        "{answers:#?}"
    );
    assert!(assert_only_listed(world, &surface).is_empty());
}

fn creating_and_deleting_at_once_leaves_nothing(world: &World) {
    let surface = CommandLine(world);
    let flags = ["--mem-mib", "256", "--allow-host-compat", "--id-only"];
    let create = || {
        let mut create = world.pyro(["workspace", "create", "debian:12"]);
        Running::start(create.args(flags))
    };
    for _ in 0..3 {
        // Lists sweep, and must not sweep what is being made.
        let all: Vec<Running> = (0..6).map(|_| create()).collect();
        for _ in 0..6 {
            listed(&surface);
        }
        let ids = all
            .into_iter()
            .map(|one| crate::error::none(&one.wait()).trim().to_owned());
        let mut ids: Vec<String> = ids.collect();
        ids.sort();
        assert_eq!(assert_only_listed(world, &surface), ids);
        let deletes: Vec<Running> = ids
            .iter()
            .map(|id| Running::start(&mut world.pyro(["workspace", "delete", id])))
            .collect();
        for delete in deletes {
            crate::error::none(&delete.wait());
        }
    }
}

/// A list makes the records of those true whose VM is gone, and finds some of them gone as well.
fn a_list_is_answered_while_others_are_deleted(world: &World) {
    let surface = Library::new(world);
    let workspace = Workspace::new(world, &surface);
    let copies = copies(world, &workspace);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let surface = Library::new(world);
            // From the other end than the list has begun at.
            for id in copies.iter().rev() {
                surface
                    .call("workspace_delete", json!({ "workspace_id": id }))
                    .unwrap();
            }
        });
        while listed(&surface).len() > 1 {}
    });
    assert_eq!(assert_only_listed(world, &surface), [workspace.id()]);
}

fn starting_at_once_starts_once(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    workspace.done("stop", json!({}));
    let exec = ["workspace", "exec", workspace.id(), "--json", "--", "true"];
    let all: Vec<Running> = (0..6)
        .map(|_| Running::start(&mut world.pyro(exec)))
        .collect();
    let results: Vec<Value> = all.into_iter().map(|one| one.wait().json()).collect();
    assert!(
        results.iter().all(|result| result["exit_code"] == 0),
        "{results:#?}"
    );
    let started = results
        .iter()
        .filter(|result| result["workspace_started"] == true);
    assert_eq!(started.count(), 1);
}

/// Ninety-nine others of which everything is told that is told of this one.
fn copies(world: &World, workspace: &Workspace<'_>) -> Vec<String> {
    let store = database(world);
    let copy = "INSERT INTO workspaces (workspace_id, name, maker, running, mem_mib, record)
        SELECT ?1, ?2, maker, running, mem_mib,
            json_set(record, '$.record.workspace_id', ?1, '$.record.name', ?2)
        FROM workspaces WHERE workspace_id = ?3";
    let folders = world.state_dir().join("workspaces");
    let numbers = 0..99;
    let made = numbers.map(|number| {
        let id = format!("{number:012x}");
        let copied = store.execute(copy, (&id, format!("copy {number}"), workspace.id()));
        assert_eq!(copied.unwrap(), 1);
        std::fs::create_dir(folders.join(&id)).unwrap();
        id
    });
    made.collect()
}

fn a_hundred_stopped_ones_are_listed_and_deleted(world: &World) {
    let surface = Library::new(world);
    let workspace = Workspace::new(world, &surface);
    workspace.done("stop", json!({}));
    copies(world, &workspace);
    assert_eq!(assert_only_listed(world, &surface).len(), 100);
    let ran = finish(&mut world.pyro(["workspace", "list"]));
    assert_eq!(ran.out().lines().count(), 100, "{}{}", ran.out(), ran.err());
    // They are no VMs, so they take no memory from others.
    drop(Workspace::new(world, &surface));
    for id in listed(&surface) {
        surface
            .call("workspace_delete", json!({ "workspace_id": id }))
            .unwrap();
    }
}
