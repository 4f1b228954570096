//! Revisions of the protocol, and clients that do not quite follow any.

use pyro_tests::World;
use pyro_tests::surfaces::mcp::{Connection, NEWEST_WITH_INITIALIZE, WITHOUT_INITIALIZE};
use serde_json::{Value, json};

use super::{command, vm_run};

crate::stories! { [process]:
    every_revision_with_initialize_is_spoken,
    the_revision_without_initialize_is_spoken,
    an_unknown_revision_gets_the_newest,
    a_batch_is_answered_one_by_one,
    what_comes_too_early_is_passed_over,
    nonsense_does_not_end_the_session,
    lists_that_are_not_offered_are_empty,
}

fn every_revision_with_initialize_is_spoken(world: &World) {
    for version in [
        "2024-11-05",
        "2025-03-26",
        "2025-06-18",
        NEWEST_WITH_INITIALIZE,
    ] {
        let mut client = Connection::start(world, &[]);
        let hello = client.initialize(version);
        assert_eq!(hello["protocolVersion"], version);
        assert_eq!(hello["serverInfo"]["name"], "pyro_mcp");
        assert_eq!(hello["serverInfo"]["version"], env!("CARGO_PKG_VERSION"));
        let instructions = hello["instructions"].as_str().unwrap();
        assert!((100..1024).contains(&instructions.len()), "{instructions}");

        let listed = client.request(1, "tools/list", json!({}));
        let tools = listed["result"]["tools"].as_array().unwrap();
        assert_eq!(tools[0]["name"], "vm_run");
        let structured = version >= "2025-06-18";
        assert_eq!(
            tools[0]["outputSchema"].is_object(),
            structured,
            "{version}"
        );

        let result = client.call(2, "vm_run", command(world, "echo hi; exit 3"));
        assert_eq!(result["isError"], false);
        let text = result["content"][0]["text"].as_str().unwrap();
        if !structured {
            // No structured content yet: the text is the facts.
            assert_eq!(result.get("structuredContent"), None);
            let facts: Value = serde_json::from_str(text).unwrap();
            assert_eq!(
                (&facts["stdout"], &facts["exit_code"]),
                (&json!("hi\n"), &json!(3))
            );
        } else {
            assert_eq!(result["structuredContent"]["stdout"], "hi\n");
            assert_eq!(result["structuredContent"]["exit_code"], 3);
            assert!(
                text.starts_with("hi\n[run] ") && text.contains("exit_code=3"),
                "{text}"
            );
        }
        assert_eq!(client.request(3, "ping", json!({}))["result"], json!({}));
        client.close();
        assert_eq!(client.end().code(), Some(0));
    }
}

/// Who asks, as each request says it where there is no `initialize`.
fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": WITHOUT_INITIALIZE,
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

fn the_revision_without_initialize_is_spoken(world: &World) {
    let mut client = Connection::start(world, &[]);
    let found = client.request(1, "server/discover", json!({ "_meta": meta() }));
    let versions = found["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!(WITHOUT_INITIALIZE)), "{found}");
    assert!(versions.contains(&json!(NEWEST_WITH_INITIALIZE)), "{found}");

    let listed = client.request(2, "tools/list", json!({ "_meta": meta() }));
    assert_eq!(listed["result"]["resultType"], "complete");
    assert_eq!(listed["result"]["tools"][0]["name"], "vm_run");

    let called = client.request(
        3,
        "tools/call",
        json!({ "name": "vm_run", "arguments": command(world, "echo hi"), "_meta": meta() }),
    );
    assert_eq!(called["result"]["structuredContent"]["stdout"], "hi\n");

    let mut stranger = meta();
    stranger["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
    let refused = client.request(4, "tools/list", json!({ "_meta": stranger }));
    assert_eq!(refused["error"]["code"], -32022, "{refused}");
}

fn an_unknown_revision_gets_the_newest(world: &World) {
    for version in ["2099-01-01", "1999-01-01", WITHOUT_INITIALIZE] {
        let mut client = Connection::start(world, &[]);
        let hello = client.initialize(version);
        assert_eq!(
            hello["protocolVersion"], NEWEST_WITH_INITIALIZE,
            "{version}"
        );
    }
}

fn a_batch_is_answered_one_by_one(world: &World) {
    let mut client = vm_run(world);
    client.send(&json!([
        { "jsonrpc": "2.0", "id": 1, "method": "ping" },
        { "jsonrpc": "2.0", "id": 2, "method": "tools/list" },
        "what",
    ]));
    assert_eq!(client.answer(1)["result"], json!({}));
    assert!(client.answer(2)["result"]["tools"].is_array());
    assert_eq!(client.request(3, "ping", json!({}))["result"], json!({}));
}

fn what_comes_too_early_is_passed_over(world: &World) {
    let mut client = Connection::start(world, &[]);
    client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    client.send(&json!({ "jsonrpc": "2.0", "id": 9, "result": {} }));
    assert_eq!(client.request(1, "ping", json!({}))["result"], json!({}));
    let refused = client.request(2, "tools/list", json!({}));
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    let hello = client.initialize(NEWEST_WITH_INITIALIZE);
    assert_eq!(hello["protocolVersion"], NEWEST_WITH_INITIALIZE);
    assert!(client.request(3, "tools/list", json!({}))["result"].is_object());
}

fn nonsense_does_not_end_the_session(world: &World) {
    let mut client = vm_run(world);
    for nonsense in ["", "what", "{\"jsonrpc\":", "[]", "\u{feff}", "null"] {
        client.send_line(nonsense);
    }
    // "what", an object without its end, and a mark that JSON does not have.
    for _ in 0..3 {
        let told = client.find("that a line is no JSON", |message| {
            message["error"]["code"] == -32700
        });
        assert_eq!(told.get("id"), None, "{told}");
    }
    client.send(&json!({ "jsonrpc": "1.0", "id": 1, "method": "ping" }));
    assert_eq!(client.answer(1)["error"]["code"], -32600);
    let unknown = client.request(2, "tools/eat", json!({}));
    assert_eq!(unknown["error"]["code"], -32601, "{unknown}");
    let shapeless = client.request(3, "tools/call", json!({ "name": "vm_run", "arguments": 7 }));
    assert_eq!(shapeless["error"]["code"], -32602, "{shapeless}");
    assert_eq!(client.request(4, "ping", json!({}))["result"], json!({}));
}

fn lists_that_are_not_offered_are_empty(world: &World) {
    let mut client = vm_run(world);
    for (id, method, list) in [
        (1, "prompts/list", "prompts"),
        (2, "resources/list", "resources"),
        (3, "resources/templates/list", "resourceTemplates"),
    ] {
        assert_eq!(
            client.request(id, method, json!({}))["result"][list],
            json!([])
        );
    }
}
