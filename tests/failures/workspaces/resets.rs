//! Resets that fail: the state before goes on as if nobody had asked.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::world::finish;
use pyro_tests::{Workspace, World};
use serde_json::json;

use super::{assert_at_work, layers, set_to_work};
use crate::error;
use crate::missing::broken_qemu;

crate::stories![Vm: a_reset_that_fails_leaves_the_old_state];

fn a_reset_that_fails_leaves_the_old_state(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    workspace.long_output("echo of the snapshot > file; head -c 20M /dev/urandom > noise; sync");
    workspace.snapshot("kept");
    let largest = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let layer = layers(world, &workspace)
        .into_iter()
        .max_by_key(largest)
        .unwrap();
    // What runs from here on does not stand on the snapshot's layer.
    set_to_work(&workspace);
    let before = layers(world, &workspace);
    let is_as_before = || {
        assert_at_work(&workspace);
        assert_eq!(layers(world, &workspace), before);
    };

    // A layer of the state to come is damaged.
    let opened = OpenOptions::new().read(true).write(true).open(&layer);
    let (opened, mut header) = (opened.unwrap(), [0; 64]);
    opened.read_exact_at(&mut header, 0).unwrap();
    opened.write_all_at(&[0xff; 64], 0).unwrap();
    let to_kept = json!({ "snapshot": "kept" });
    workspace.refused("reset", to_kept.clone(), "damaged");
    is_as_before();
    // The new VM does not come up.
    let mut reset = world.pyro(["workspace", "reset", workspace.id(), "--json"]);
    let told = finish(broken_qemu(world, "exit 1", &mut reset));
    error::has_code(&told, "vm_unavailable");
    is_as_before();

    // One that is stopped stays so, and starts as it was.
    workspace.done("stop", json!({}));
    workspace.refused("reset", to_kept, "damaged");
    assert_eq!(workspace.status()["state"], "stopped");
    assert_eq!(workspace.output("cat file"), "mine\n");
    // And what is mended can be gone back to.
    opened.write_all_at(&header, 0).unwrap();
    workspace.reset_to("kept");
    assert_eq!(workspace.read("file"), "of the snapshot\n");
}
