//! Very many shells, and one that never stops talking.

use std::time::Duration;

use pyro_tests::surfaces::engine::Library;
use pyro_tests::world::eventually;
use pyro_tests::{Backend, Workspace, World};
use serde_json::{Value, json};

crate::stories![[vm, gvisor]: a_crowd_of_shells_and_a_chatty_one_share_a_guest];

const LONG: Duration = Duration::from_secs(60);

/// More than this are refused: by the agent, whatever guest it is in, so they are all opened in a VM,
/// and as many as a crowd in a sandbox.
const MOST: usize = 256;

fn a_crowd_of_shells_and_a_chatty_one_share_a_guest(world: &World) {
    let surface = Library::new(world);
    // In a sandbox a shell takes some 3 MiB, as each of its processes is two of the host's.
    let (crowd, mem_mib) = match world.backend {
        Backend::Gvisor => (60, 512),
        Backend::Process | Backend::Vm => (200, 256),
    };
    let workspace = Workspace::with(world, &surface, json!({ "mem_mib": mem_mib }));
    let call = |operation: &str, shell: &str, mut arguments: Value| {
        arguments["shell_id"] = json!(shell);
        workspace
            .shell(operation, arguments)
            .unwrap_or_else(|told| panic!("{operation}: {told:#}"))
    };
    let open = || workspace.shell("open", json!({}));
    let shells: Vec<String> = (0..crowd)
        .map(|_| open().unwrap()["shell_id"].as_str().unwrap().to_owned())
        .collect();
    // Each is one of its own.
    for (number, shell) in shells.iter().enumerate() {
        call("write", shell, json!({ "input": format!("N={number}") }));
    }
    for (number, shell) in shells.iter().enumerate().rev() {
        call("write", shell, json!({ "input": "echo \"<$N>\"" }));
        let said = format!("<{number}>");
        eventually(&said, LONG, || {
            let read = call("read", shell, json!({ "plain": true }));
            read["output"].as_str().unwrap().contains(&said)
        });
    }

    // One that floods its reader holds nobody up, and says how much was lost.
    let chatty = &shells[17];
    call("write", chatty, json!({ "input": "yes 0123456789" }));
    assert_eq!(workspace.output("echo fine"), "fine\n");
    let mut flooded = Value::Null;
    eventually("the oldest output is gone", LONG, || {
        flooded = call("read", chatty, json!({ "cursor": 1, "max_chars": 100 }));
        flooded["lost_chars"].as_u64().unwrap() > 0
    });
    assert_eq!(flooded["output"].as_str().unwrap().len(), 100);
    assert!(flooded["cursor"].as_u64().unwrap() > 1, "{flooded:#}");
    call("write", &shells[3], json!({ "input": "echo al'so' fine" }));
    eventually("another is quick", LONG, || {
        let read = call("read", &shells[3], json!({}));
        read["output"].as_str().unwrap().contains("also fine")
    });
    call("signal", chatty, json!({ "signal_name": "INT" }));
    call("write", chatty, json!({ "input": "echo en'ou'gh" }));
    let mut cursor = flooded["next_cursor"].clone();
    eventually("it listens again", LONG, || {
        let read = call(
            "read",
            chatty,
            json!({ "cursor": cursor, "max_chars": 1_000_000 }),
        );
        cursor = read["next_cursor"].clone();
        read["output"].as_str().unwrap().contains("enough")
    });

    // There is an end to it, which says what to do; nothing is lost by reaching it.
    let mut more = 0;
    if world.backend == Backend::Vm {
        let told = (shells.len()..=MOST).find_map(|_| open().err()).unwrap();
        assert!(told.to_string().contains("close one"), "{told:#}");
        more = MOST - shells.len();
    }
    for shell in &shells {
        assert_eq!(call("close", shell, json!({}))["closed"], true);
    }
    assert!(open().is_ok());
    let left = workspace.output("pgrep -c -x bash || true");
    let expected = more + 1;
    assert_eq!(
        left.trim(),
        expected.to_string(),
        "shells that are still open"
    );
}
