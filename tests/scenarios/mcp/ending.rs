//! The end of a server: whatever way its client goes, nothing hangs and nothing is left. That
//! nothing is left is seen by the end of each story.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyro_tests::surfaces::mcp::Connection;
use pyro_tests::world::{Running, eventually, finish_with_input};
use pyro_tests::{World, leftovers};
use serde_json::json;

use super::{ask, await_news, command, vm_run};

crate::stories! { [process, vm, gvisor]:
    the_end_of_the_input_ends_calls,
    a_signal_ends_calls,
    a_killed_server_leaves_nothing_that_the_next_does_not_clear_away,
}

crate::stories! { [process]:
    questions_before_the_end_of_the_input_are_answered,
    an_input_that_ends_before_any_word_is_no_fault,
    a_client_that_stops_reading_ends_the_server,
    standard_output_carries_only_messages,
}

const STUBBORN: &str = "trap '' INT TERM HUP; setsid sleep 1000 & echo here; sleep 1000";

/// More than a moment, as the machines that run this test may be busy.
const SOON: Duration = Duration::from_secs(10);

/// A server with a call that would never end.
fn busy(world: &World) -> Connection {
    let mut client = vm_run(world);
    ask(&mut client, 1, &command(world, STUBBORN));
    await_news(&mut client, 1, "here");
    client
}

fn signal(client: &Connection, signal: Signal) {
    let pid = i32::try_from(client.child.id()).unwrap();
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn the_end_of_the_input_ends_calls(world: &World) {
    let mut client = busy(world);
    let since = Instant::now();
    client.close();
    assert_eq!(client.end().code(), Some(0));
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
}

fn a_signal_ends_calls(world: &World) {
    for (name, status) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let mut client = busy(world);
        let since = Instant::now();
        signal(&client, name);
        assert_eq!(client.end().code(), Some(status));
        assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    }
}

fn a_killed_server_leaves_nothing_that_the_next_does_not_clear_away(world: &World) {
    let mut client = busy(world);
    signal(&client, Signal::SIGKILL);
    assert_eq!(client.end().code(), None);
    // Its VM ends without any help.
    eventually("no process of it is left", SOON, || {
        leftovers::processes(&world.state_dir()).is_empty()
    });
    let result = vm_run(world).call(1, "vm_run", command(world, "true"));
    assert_eq!(result["structuredContent"]["exit_code"], 0, "{result}");
}

/// All that a client says, in one piece.
fn conversation(world: &World, line: &str) -> Vec<u8> {
    let messages = [
        json!({
            "jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": { "name": "test", "version": "0" },
            },
        }),
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }),
        json!({
            "jsonrpc": "2.0", "id": 2, "method": "tools/call",
            "params": { "name": "vm_run", "arguments": command(world, line) },
        }),
    ];
    messages
        .map(|message| format!("{message}\n"))
        .concat()
        .into()
}

fn questions_before_the_end_of_the_input_are_answered(world: &World) {
    let mut serve = world.pyro(["mcp", "serve"]);
    let ran = finish_with_input(&mut serve, conversation(world, "sleep 1000"));
    assert_eq!(ran.code(), 0);
    let ids: Vec<i64> = ran
        .out()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|message| message["id"].as_i64())
        .collect();
    // The call that never ends is ended, and nobody is told: clients that gave it up would fail.
    assert_eq!(ids, [0, 1]);
    assert_eq!(ran.err(), "");
}

fn an_input_that_ends_before_any_word_is_no_fault(world: &World) {
    let ran = finish_with_input(&mut world.pyro(["mcp", "serve"]), Vec::new());
    assert_eq!(
        (ran.code(), ran.out(), ran.err()),
        (0, String::new(), String::new())
    );
}

fn a_client_that_stops_reading_ends_the_server(world: &World) {
    let mut serve = world.pyro(["mcp", "serve"]);
    let mut child = serve
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    input.write_all(&conversation(world, "sleep 1000")).unwrap();
    let deadline = Instant::now() + SOON * 6;
    // The input stays open: only answers that nobody takes tell of the end. More than one, as a
    // process that another test starts just now has the reading end until it is a program of its own.
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the server goes on for nobody");
        let _ = input.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"ping\"}\n");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(input);
}

fn standard_output_carries_only_messages(world: &World) {
    let mut serve = world.pyro(["mcp", "serve"]);
    serve.env("PYRO_MCP_LOG", "1").stdin(Stdio::piped());
    let mut running = Running::start(&mut serve);
    let mut input = running.child.stdin.take().unwrap();
    let line = "echo out; echo err >&2; cat";
    input.write_all(&conversation(world, line)).unwrap();
    eventually("the call is logged", SOON * 6, || {
        running.err().contains("[mcp] vm_run ok ")
    });
    drop(input);
    let ran = running.wait();
    assert_eq!(ran.code(), 0);
    for line in ran.out().lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(message["jsonrpc"], "2.0");
    }
    assert_eq!(ran.out().lines().count(), 3, "{}", ran.out());
}
