//! Calls that take longer than their host waits, and hosts that leave.

use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::surfaces::mcp::{Connection, NEWEST_WITH_INITIALIZE};
use pyro_tests::world::finish;
use pyro_tests::{Backend, Surface, World};
use serde_json::{Value, json};

crate::stories! { [process]:
    a_call_that_nears_the_limit_of_its_host_is_answered_and_its_command_goes_on,
    a_command_that_takes_long_to_end_is_told_with_its_time,
    the_command_of_a_call_ends_with_the_connection,
    a_host_in_a_hurry_hears_that_a_stop_goes_on,
    a_setting_that_means_nothing_is_refused_at_the_start,
}

const IN_TWO_PARTS: &str =
    "echo first; while [ ! -e go ]; do sleep 0.05; done; echo second; exit 7";

fn facts(client: &mut Connection, id: i64, tool: &str, arguments: Value) -> Value {
    let result = client.call(id, tool, arguments);
    assert_eq!(result["isError"], false, "{result:#}");
    result["structuredContent"].clone()
}

fn workspace(world: &World, client: &mut Connection) -> String {
    let arguments = json!({
        "environment": "debian:12",
        "mem_mib": 256,
        "allow_host_compat": world.backend == Backend::Process,
    });
    let created = facts(client, 1, "workspace_create", arguments);
    created["workspace_id"].as_str().unwrap().to_owned()
}

fn a_call_that_nears_the_limit_of_its_host_is_answered_and_its_command_goes_on(world: &World) {
    let mut server = world.pyro(["mcp", "serve"]);
    server.env("PYRO_MCP_ANSWER_WITHIN", "1");
    let mut client = Connection::with(server);
    client.initialize(NEWEST_WITH_INITIALIZE);
    let id = workspace(world, &mut client);
    let exec = json!({ "workspace_id": id, "command": IN_TWO_PARTS, "timeout_seconds": 600 });
    let result = client.call(2, "workspace_exec", exec);
    let told = &result["structuredContent"];
    assert_eq!(
        (&told["running"], &told["exit_code"], &told["stdout"]),
        (&json!(true), &Value::Null, &json!("first\n")),
        "{result:#}"
    );
    // In words, in both forms.
    let go_on = "workspace_logs with sequence=1 offset=6 stderr_offset=0 wait_seconds=";
    assert!(told["next"].as_str().unwrap().contains(go_on), "{told:#}");
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(text.contains(go_on) && text.contains("stop=1"), "{text}");
    // A wait that was asked for is bounded, too.
    let logs = json!({
        "workspace_id": id, "sequence": 1, "offset": 6, "stderr_offset": 0, "wait_seconds": 600,
    });
    let waited = facts(&mut client, 3, "workspace_logs", logs.clone());
    assert_eq!(waited["entries"][0]["running"], true, "{waited:#}");
    assert_eq!(waited["entries"][0]["next_offset"], 6);
    client.close();
    assert!(client.end().success());

    // Neither the call nor the server is needed for it.
    let mut client = Connection::initialized(world, &[], NEWEST_WITH_INITIALIZE);
    let status = facts(
        &mut client,
        1,
        "workspace_status",
        json!({ "workspace_id": id }),
    );
    assert_eq!(status["running_commands"][0]["sequence"], 1, "{status:#}");
    let go = json!({ "workspace_id": id, "path": "go", "text": "" });
    facts(&mut client, 2, "workspace_file_write", go);
    let mut seen = String::new();
    let mut logs = logs;
    let last = loop {
        let answer = facts(&mut client, 3, "workspace_logs", logs.clone());
        let entry = answer["entries"][0].clone();
        seen += entry["stdout"].as_str().unwrap();
        if entry["running"] == false {
            break entry;
        }
        logs["offset"] = entry["next_offset"].clone();
    };
    assert_eq!((seen.as_str(), &last["exit_code"]), ("second\n", &json!(7)));
    facts(
        &mut client,
        4,
        "workspace_delete",
        json!({ "workspace_id": id }),
    );
}

fn a_host_in_a_hurry_hears_that_a_stop_goes_on(world: &World) {
    // The limit that the host itself is known by.
    let mut client = Connection::with(world.pyro(["mcp", "serve"]));
    let hello = json!({
        "protocolVersion": NEWEST_WITH_INITIALIZE,
        "capabilities": {},
        "clientInfo": { "name": "mcp", "version": "0.1.0" },
    });
    client.request(0, "initialize", hello);
    client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    let id = workspace(world, &mut client);
    // It takes its five seconds, which is longer than that host waits.
    let deaf = "trap '' TERM; echo on; while :; do sleep 0.05; done";
    let exec = json!({
        "workspace_id": id, "command": deaf, "background": true, "timeout_seconds": 600,
    });
    assert_eq!(facts(&mut client, 2, "workspace_exec", exec)["sequence"], 1);
    let logs = json!({ "workspace_id": id, "sequence": 1, "wait_seconds": 600 });
    let mut seen = facts(&mut client, 3, "workspace_logs", logs.clone());
    if seen["entries"][0]["stdout"] == "" {
        seen = facts(&mut client, 4, "workspace_logs", logs.clone());
    }
    assert_eq!(seen["entries"][0]["stdout"], "on\n", "{seen:#}");
    // There is no news in time.
    let mut on = logs;
    on["offset"] = json!(3);
    let waited = facts(&mut client, 5, "workspace_logs", on.clone());
    assert_eq!(waited["entries"][0]["running"], true, "{waited:#}");
    let stop = json!({ "workspace_id": id, "stop": 1 });
    let told = facts(&mut client, 6, "workspace_exec", stop);
    assert_eq!(
        (&told["running"], &told["exit_code"]),
        (&json!(true), &Value::Null),
        "{told:#}"
    );
    let next = told["next"].as_str().unwrap();
    assert!(
        next.contains("being ended") && next.contains("sequence=1"),
        "{next}"
    );
    let ended = facts(&mut client, 7, "workspace_logs", on);
    assert_eq!(
        (
            &ended["entries"][0]["running"],
            &ended["entries"][0]["exit_code"]
        ),
        (&json!(false), &json!(137)),
        "{ended:#}"
    );
    facts(
        &mut client,
        8,
        "workspace_delete",
        json!({ "workspace_id": id }),
    );
}

fn a_command_that_takes_long_to_end_is_told_with_its_time(world: &World) {
    let mut server = world.pyro(["mcp", "serve"]);
    server.env("PYRO_MCP_ANSWER_WITHIN", "1");
    let mut client = Connection::with(server);
    client.initialize(NEWEST_WITH_INITIALIZE);
    let id = workspace(world, &mut client);
    let line = r"trap '' TERM; printf 'on\303'; while :; do sleep 0.05; done";
    let exec = json!({ "workspace_id": id, "command": line, "timeout_seconds": 600 });
    let begun = facts(&mut client, 2, "workspace_exec", exec);
    assert_eq!(begun["running"], true, "{begun:#}");
    let stop = json!({ "workspace_id": id, "stop": 1 });
    let told = facts(&mut client, 3, "workspace_exec", stop);
    assert!(
        told["next"].as_str().unwrap().contains("is being ended"),
        "{told:#}"
    );
    assert!(told["duration_ms"].as_u64().unwrap() > 0, "{told:#}");
    assert_eq!(
        (&told["stdout"], &told["running"]),
        (&json!("on"), &json!(true))
    );
    facts(
        &mut client,
        4,
        "workspace_delete",
        json!({ "workspace_id": id }),
    );
    client.close();
    assert!(client.end().success());
}

fn the_command_of_a_call_ends_with_the_connection(world: &World) {
    let surface = CommandLine(world);
    let mut client = Connection::initialized(world, &[], NEWEST_WITH_INITIALIZE);
    let id = workspace(world, &mut client);
    // The host waits for less than the command may take, so that it may come to go on.
    let exec = json!({ "workspace_id": id, "command": IN_TWO_PARTS, "timeout_seconds": 600 });
    client.ask(
        2,
        "tools/call",
        json!({ "name": "workspace_exec", "arguments": exec, "_meta": { "progressToken": 2 } }),
    );
    super::await_news(&mut client, 2, "first");
    client.close();
    assert!(client.end().success());
    // Nobody is told anything any more: clients that gave up fail at what they do not expect.
    let after = client.rest();
    assert!(after.iter().all(|message| message["id"] != 2), "{after:?}");
    let logs = surface.call("workspace_logs", json!({ "workspace_id": id }));
    let entry = &logs.unwrap()["entries"][0];
    assert_eq!(
        (&entry["running"], &entry["exit_code"], &entry["stdout"]),
        (&json!(false), &json!(137), &json!("first\n"))
    );
    surface
        .call("workspace_delete", json!({ "workspace_id": id }))
        .unwrap();
}

fn a_setting_that_means_nothing_is_refused_at_the_start(world: &World) {
    for nonsense in ["abc", "0", "-1"] {
        let mut server = world.pyro(["mcp", "serve"]);
        let ran = finish(server.env("PYRO_MCP_ANSWER_WITHIN", nonsense));
        assert_eq!((ran.code(), ran.out()), (1, String::new()));
        let said = format!(
            "PYRO_MCP_ANSWER_WITHIN must be a number of seconds above 0, or `off`, not `{nonsense}`"
        );
        assert!(ran.err().contains(&said), "{}", ran.err());
    }
}
