//! Guests that mean harm to their own workspace.

use pyro_tests::memory::EAT;
use pyro_tests::surfaces::engine::Library;
use pyro_tests::{Workspace, World, tree};
use serde_json::json;

use super::assert_died_with_its_vm;

crate::stories![Vm:
    a_guest_that_hurts_itself_is_usable_afterwards,
    a_guest_that_fills_its_disk_refuses_whole_and_recovers,
];

/// Says something, and when that has left the guest, switches it off.
const LAST: &str = "echo good bye; sleep 2; echo o > /proc/sysrq-trigger; sleep 1000";

/// One workspace for all, as each begins with a VM.
fn a_guest_that_hurts_itself_is_usable_afterwards(world: &World) {
    let surface = Library::new(world);
    let workspace = Workspace::new(world, &surface);
    workspace
        .output("grep -q '^pyro.agent$' /sys/class/virtio-ports/*/name; echo kept > file; sync");
    let survives = |started: bool| {
        let result = workspace.exec("cat file");
        assert_eq!(
            (&result["stdout"], &result["workspace_started"]),
            (&json!("kept\n"), &json!(started)),
            "{result:#}"
        );
    };
    // All that it can kill.
    let killed = workspace.exec("kill -9 -1; sleep 100");
    assert_ne!(killed["exit_code"], 0);
    survives(false);
    // Its memory, which costs the command its life.
    assert_ne!(workspace.exec(EAT)["exit_code"], 0);
    survives(false);
    // Its processes, which end with the time of the command.
    let bomb = "bomb() { bomb | bomb & }; bomb; sleep 1000";
    let bombed = workspace.done("exec", json!({ "command": bomb, "timeout_seconds": 5 }));
    assert_ne!(bombed["exit_code"], 0);
    // On a busy host the guest may be too slow to end them, and is ended with them; it says so.
    let after = workspace.exec("cat file");
    assert_eq!(after["stdout"], "kept\n", "{after:#}");
    if after["workspace_started"] == true {
        let events = workspace.done("logs", json!({}))["events"].to_string();
        assert!(events.contains("when a command timed out"), "{events}");
    }
    // Odd files where it looks.
    workspace.output("mknod device c 1 3; mknod disk b 254 0; mkfifo pipe");
    workspace.output("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'");
    let diff = workspace.done("diff", json!({}));
    let odd = ["device", "disk", "pipe", "socket"].map(|name| format!("/workspace/{name}"));
    assert_eq!(diff["skipped"], json!(odd), "{diff:#}");
    let out = world.folder().join("out");
    let exported = workspace.done("export", json!({ "path": ".", "output_path": out }));
    let told = odd.map(|path| format!("{path}: neither file, folder nor link"));
    assert_eq!(exported["skipped"], json!(told), "{exported:#}");
    assert_eq!(tree::look(&out).len(), 1);
    // And itself.
    let told = workspace.refused("exec", json!({ "command": LAST }), "vm_died");
    for words in ["starts it again", "`pyro workspace logs`"] {
        assert!(told["hint"].as_str().unwrap().contains(words), "{told:#}");
    }
    assert_died_with_its_vm(&workspace, LAST, "good bye\n");
    survives(true);
    assert_eq!(workspace.status()["stopped_because"], json!(null));
}

fn a_guest_that_fills_its_disk_refuses_whole_and_recovers(world: &World) {
    let surface = Library::new(world);
    let workspace = Workspace::new(world, &surface);
    workspace.write("file", "small\n");
    // Room is taken without a byte that the host would have to keep.
    workspace.exec(
        "free=$(df --output=avail -B1M / | tail -n 1); fallocate -l $((free - 2))M filler; sync",
    );
    let big = "x".repeat(4 << 20);
    let source = tree::plant(
        &world.folder().join("source"),
        &[("a", "new\n"), ("file", "new\n"), ("z-big", &big)],
    );
    let push = json!({ "source_path": source });
    workspace.refused("sync_push", push.clone(), "guest_no_space");
    assert_eq!(workspace.output("ls; cat file"), "file\nfiller\nsmall\n");
    workspace.exec("dd if=/dev/zero of=rest bs=4k 2> /dev/null; sync");
    let text = "y".repeat(64 << 10);
    workspace.refused(
        "file_write",
        json!({ "path": "file", "text": text }),
        "guest_no_space",
    );
    let mut patch = format!("--- a/file\n+++ b/file\n@@ -1 +1,{} @@\n-small\n", 64 << 4);
    patch.push_str(&format!("+{}\n", "z".repeat(63)).repeat(64 << 4));
    workspace.refused("patch_apply", json!({ "patch": patch }), "guest_no_space");
    assert_eq!(workspace.read("file"), "small\n");
    workspace.output("rm filler rest");
    workspace.done("sync_push", push);
    assert_eq!(
        workspace.output("cat a file; stat -c %s z-big"),
        format!("new\nnew\n{}\n", 4 << 20)
    );
}
