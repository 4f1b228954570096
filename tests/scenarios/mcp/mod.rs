//! `pyro mcp serve` on the wire: what no other surface has. What a tool does is told by the stories
//! that every surface plays.

mod access;
mod answers;
mod bounds;
mod calls;
mod ending;
mod protocol;
mod timeouts;

use pyro_tests::surfaces::mcp::{Connection, NEWEST_WITH_INITIALIZE};
use pyro_tests::{Backend, World};
use serde_json::{Value, json};

/// A server of the smallest profile, ready for calls.
fn vm_run(world: &World) -> Connection {
    Connection::initialized(world, &["--profile", "vm-run"], NEWEST_WITH_INITIALIZE)
}

/// The arguments of `vm_run` for a command on this world's backend.
fn command(world: &World, command: &str) -> Value {
    json!({
        "environment": "debian:12",
        "command": command,
        "mem_mib": 256,
        "timeout_seconds": 120,
        "allow_host_compat": world.backend == Backend::Process,
    })
}

/// A call of `vm_run`, with a progress token of the call's own id.
fn ask(connection: &mut Connection, id: i64, arguments: &Value) {
    connection.ask(
        id,
        "tools/call",
        json!({ "name": "vm_run", "arguments": arguments, "_meta": { "progressToken": id } }),
    );
}

/// Waits until a command has said something, by the news of its call.
fn await_news(connection: &mut Connection, id: i64, words: &str) -> Value {
    connection.find(&format!("news of {id}: {words}"), |message| {
        message["method"] == "notifications/progress"
            && message["params"]["progressToken"] == id
            && message["params"]["message"]
                .as_str()
                .is_some_and(|said| said.contains(words))
    })
}
