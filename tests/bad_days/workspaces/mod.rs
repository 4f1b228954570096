//! Workspaces on bad days. Each story deletes what it made; then nothing of it may be left.

mod clocks;
mod crowds;
mod full;
mod guests;
mod hands;
mod kills;
mod ports;
mod resets;
mod seeds;
mod shells;
mod snapshots;

use pyro_tests::World;
use pyro_tests::leftovers::processes;
use pyro_tests::world::eventually;
use serde_json::{Value, json};

use crate::watched::AT_ONCE;

/// The ids of the workspaces that are listed, which also clears debris away.
fn listed(door: &dyn pyro_tests::Surface) -> Vec<String> {
    let listed = door.call("workspace_list", json!({})).expect("a list");
    let workspaces = listed["workspaces"].as_array().expect("workspaces");
    let id = |one: &Value| one["workspace_id"].as_str().expect("an id").to_owned();
    workspaces.iter().map(id).collect()
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
