//! Workspaces on bad days. Each story deletes what it made; then nothing of it may be left.

mod crowds;
mod full;
mod guests;
mod hands;
mod kills;
mod moments;
mod ports;
mod servers;
mod shells;
mod snapshots;
mod strays;

use pyro_tests::leftovers::{Process, processes};
use pyro_tests::world::eventually;
use pyro_tests::World;
use serde_json::{Value, json};

use crate::watched::AT_ONCE;

/// The ids of the workspaces that are listed, which also clears debris away.
fn listed(door: &dyn pyro_tests::Surface) -> Vec<String> {
    let listed = door.call("workspace_list", json!({})).expect("a list");
    let workspaces = listed["workspaces"].as_array().expect("workspaces");
    let id = |one: &Value| one["workspace_id"].as_str().expect("an id").to_owned();
    workspaces.iter().map(id).collect()
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

/// After a list there are the folders of the workspaces that are listed, and no others.
fn assert_only_listed(world: &World, door: &dyn pyro_tests::Surface) -> Vec<String> {
    let mut ids = listed(door);
    ids.sort();
    let entries = std::fs::read_dir(world.state_dir().join("workspaces"));
    let names = entries.into_iter().flatten().map(|entry| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("an id")
    });
    let mut folders: Vec<String> = names.collect();
    folders.sort();
    assert_eq!(folders, ids);
    if ids.is_empty() {
        eventually("no process is left", AT_ONCE, || {
            processes(&world.state_dir()).is_empty()
        });
    }
    ids
}
