//! A guest that does not stand still while its first state is kept, as on a host that stood still
//! itself for longer than the guest waits.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::{Surface, Workspace, World};
use pyro_wire::agent::{AgentReply, AgentRequest};
use pyro_wire::frame;
use pyro_wire::shim::ShimRequest;
use serde_json::{Value, json};

use super::{assert_only_listed, supervisor};

crate::stories![Vm: a_workspace_is_made_with_a_baseline_that_can_be_read_or_not_at_all];

/// A guest is thawed as soon as it is frozen: for as long as its disk has this many layers at most.
const MOST_LAYERS: [usize; 4] = [2, usize::MAX, 2, usize::MAX];

fn a_workspace_is_made_with_a_baseline_that_can_be_read_or_not_at_all(world: &World) {
    let surface = CommandLine(world);
    for most_layers in MOST_LAYERS {
        let is_over = AtomicBool::new(false);
        let made = thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        thaws(&world.state_dir().join("workspaces"), most_layers);
                    }
                });
            }
            let made = Workspace::try_with(world, &surface, json!({}));
            is_over.store(true, Ordering::Relaxed);
            made
        });
        match made {
            Ok(made) => assert_whole(&surface, &made["workspace_id"]),
            Err(told) => assert_eq!(told["code"], "host_io", "{told:#}"),
        }
        assert!(assert_only_listed(world, &surface).is_empty());
    }
}

fn assert_whole(surface: &CommandLine<'_>, id: &Value) {
    let call = |operation: &str, mut arguments: Value| {
        arguments["workspace_id"] = id.clone();
        let called = surface.call(operation, arguments);
        called.unwrap_or_else(|told| panic!("{operation}: {told:#}"))
    };
    call("workspace_exec", json!({ "command": "echo x > file" }));
    let diff = call("workspace_diff", json!({}));
    assert_eq!(diff["entries"][0]["path"], "file", "{diff:#}");
    call("workspace_reset", json!({}));
    let diff = call("workspace_diff", json!({}));
    assert_eq!(diff["entries"], json!([]), "{diff:#}");
    call("workspace_delete", json!({}));
}

/// Lets every guest write again whose disk has no more layers than that.
fn thaws(workspaces: &Path, most_layers: usize) {
    for folder in fs::read_dir(workspaces).into_iter().flatten().flatten() {
        let folder = folder.path();
        if fs::read_dir(folder.join("disk")).is_ok_and(|disk| disk.count() > most_layers) {
            continue;
        }
        let vm = folder.join("vm-0");
        supervisor::waits(async {
            // It may not be up yet, or be gone.
            let asked = supervisor::asks(&vm, &ShimRequest::Agent);
            if let Some((mut stream, _)) = asked.await
                && let Ok(()) = frame::write_message(&mut stream, &AgentRequest::Thaw).await
            {
                let _ = frame::read_message::<AgentReply>(&mut stream).await;
            }
        });
    }
}
