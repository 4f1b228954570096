//! Resets that fail: the state before goes on as if nobody had asked.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::world::finish;
use pyro_tests::{Workspace, World};
use serde_json::json;

use crate::error;
use crate::missing::broken_qemu;

crate::stories![Vm: a_reset_that_fails_leaves_the_old_state];

fn a_reset_that_fails_leaves_the_old_state(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    workspace.long_output("echo of the snapshot > file; head -c 20M /dev/urandom > noise; sync");
    workspace.snapshot("kept");
    let layers = || -> Vec<PathBuf> {
        let folder = world.state_dir().join("workspaces").join(workspace.id());
        let layers = fs::read_dir(folder.join("disk")).unwrap();
        let mut layers: Vec<_> = layers.map(|layer| layer.unwrap().path()).collect();
        layers.sort();
        layers
    };
    let largest = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let layer = layers().into_iter().max_by_key(largest).unwrap();
    // What runs from here on does not stand on the snapshot's layer.
    workspace.reset_to("baseline");
    workspace.output("echo mine > file; setsid sleep 4545 > /dev/null 2>&1 &");
    workspace.starts("web", "exec sleep 4646", json!({}));
    let before = layers();
    let is_as_before = || {
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
        assert_eq!(layers(), before);
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
