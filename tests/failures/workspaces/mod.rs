//! Workspaces when things fail. Each story deletes what it made; then nothing of it may be left.

mod baselines;
mod clocks;
mod crowds;
mod flushed;
mod full;
mod groups;
mod guests;
mod hostile_files;
mod kill_points;
mod kills;
mod orphan_vms;
mod ports;
mod resets;
mod sandboxes;
mod seeds;
mod servers;
mod shells;
mod snapshots;
mod supervisor;
mod tampering;

use std::fs;
use std::path::PathBuf;

use pyro_tests::leftovers::{Process, processes};
use pyro_tests::world::eventually;
use pyro_tests::{Workspace, World};
use serde_json::{Value, json};

use crate::background_command::AT_ONCE;

/// The ids of the workspaces that are listed, which also clears debris away.
fn listed(surface: &dyn pyro_tests::Surface) -> Vec<String> {
    let listed = surface.call("workspace_list", json!({})).expect("a list");
    let workspaces = listed["workspaces"].as_array().expect("workspaces");
    let id = |one: &Value| one["workspace_id"].as_str().expect("an id").to_owned();
    workspaces.iter().map(id).collect()
}

/// The last command in the history is one that was killed with its VM; what it wrote until then is
/// there.
#[track_caller]
fn assert_died_with_its_vm(workspace: &Workspace<'_>, command: &str, wrote: &str) {
    let logs = workspace.done("logs", json!({ "last": 1 }));
    let entry = &logs["entries"][0];
    assert_eq!(
        (&entry["command"], &entry["stdout"], &entry["signal"]),
        (&json!(command), &json!(wrote), &json!(9)),
        "{logs:#}"
    );
    assert_eq!(entry["exit_code"], 137, "{logs:#}");
    let sequence = json!({ "sequence": entry["sequence"] });
    let alone = workspace.done("logs", sequence);
    assert_eq!(alone["entries"][0]["stdout"], wrote, "{alone:#}");
}

/// The supervisors of VMs of workspaces.
fn shims(world: &World) -> Vec<Process> {
    let mut all = processes(&world.state_dir());
    let own = format!(
        "pyro shim {}/",
        world.state_dir().join("workspaces").display()
    );
    all.retain(|process| process.command.contains(&own));
    all
}

/// The layers of a workspace's disk.
fn layers(world: &World, workspace: &Workspace<'_>) -> Vec<PathBuf> {
    let folder = world.state_dir().join("workspaces").join(workspace.id());
    let layers = fs::read_dir(folder.join("disk")).unwrap();
    let mut layers: Vec<_> = layers.map(|layer| layer.unwrap().path()).collect();
    layers.sort();
    layers
}

/// Has a workspace, from its baseline on, do what is told from any other state.
fn set_to_work(workspace: &Workspace<'_>) {
    workspace.reset_to("baseline");
    workspace.output("echo mine > file; setsid sleep 4545 > /dev/null 2>&1 &");
    workspace.starts("web", "exec sleep 4646", json!({}));
}

/// It does so still.
#[track_caller]
fn assert_at_work(workspace: &Workspace<'_>) {
    let status = workspace.status();
    assert_eq!(
        (&status["state"], &status["reset_count"]),
        (&json!("started"), &json!(1)),
        "{status:#}"
    );
    let seen = workspace.exec("cat file; ls; pgrep -cf '[s]leep 4[56]4[56]'");
    assert_eq!(
        (&seen["stdout"], &seen["workspace_started"]),
        (&json!("mine\nfile\n2\n"), &json!(false)),
        "{seen:#}"
    );
    assert_eq!(workspace.of_service("status", "web")["state"], "running");
}

/// Lists clear away all folders but those of the workspaces that they show. The first may come too
/// early: a process that the killed one was just starting holds its locks until it is its own, and
/// one that writes to a folder keeps it from being removed until it has ended.
#[track_caller]
fn assert_only_listed(world: &World, surface: &dyn pyro_tests::Surface) -> Vec<String> {
    let mut ids = Vec::new();
    eventually("only what is listed has a folder", AT_ONCE, || {
        ids = listed(surface);
        ids.sort();
        folders(world) == ids
    });
    if ids.is_empty() {
        eventually("no process is left", AT_ONCE, || {
            processes(&world.state_dir()).is_empty()
        });
    }
    ids
}

/// The names of the folders of workspaces.
fn folders(world: &World) -> Vec<String> {
    let entries = std::fs::read_dir(world.state_dir().join("workspaces"));
    let names = entries.into_iter().flatten().map(|entry| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("an id")
    });
    let mut folders: Vec<String> = names.collect();
    folders.sort();
    folders
}
