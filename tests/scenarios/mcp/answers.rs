//! What comes back of a call: errors that say how to go on, and output that is bounded.

use pyro_tests::World;
use pyro_tests::surfaces::mcp::{Connection, NEWEST_WITH_INITIALIZE};
use serde_json::{Value, json};

use super::{command, vm_run};

crate::stories! { [process]:
    an_unknown_tool_is_told_with_those_there_are,
    a_tool_of_a_larger_profile_is_told_with_the_profile,
    an_unknown_argument_is_told_with_the_valid_ones,
    an_argument_of_a_larger_profile_is_told_with_the_profile,
    what_is_plainly_meant_is_taken,
    no_arguments_are_an_empty_object,
    long_output_comes_as_head_and_tail,
}

/// The facts of a refused call; the text tells the same in words.
fn refused(result: &Value) -> &Value {
    assert_eq!(result["isError"], true, "{result}");
    let facts = &result["structuredContent"];
    assert_eq!(facts["ok"], false);
    let text = result["content"][0]["text"].as_str().unwrap();
    for part in [&facts["error"], &facts["hint"]] {
        let part = part.as_str().unwrap_or_default();
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    facts
}

fn an_unknown_tool_is_told_with_those_there_are(world: &World) {
    let mut client = vm_run(world);
    let result = client.call(1, "vm_walk", json!({}));
    let told = refused(&result);
    assert_eq!(told["code"], "unsupported");
    assert_eq!(told["error"], "Unknown tool: vm_walk");
    assert_eq!(told["hint"], "The tools are vm_run");
}

fn a_tool_of_a_larger_profile_is_told_with_the_profile(world: &World) {
    let mut client = vm_run(world);
    let result = client.call(1, "vm_create", json!({}));
    let told = refused(&result);
    assert_eq!(told["error"], "Unknown tool: vm_create");
    assert!(
        told["hint"]
            .as_str()
            .unwrap()
            .contains("--profile workspace-full")
    );
}

fn an_unknown_argument_is_told_with_the_valid_ones(world: &World) {
    let mut client = vm_run(world);
    let result = client.call(
        1,
        "vm_run",
        json!({ "environment": "debian:12", "cmd": "true" }),
    );
    let told = refused(&result);
    assert_eq!(told["code"], "invalid_argument");
    assert_eq!(told["error"], "`vm_run` has no argument `cmd`");
    assert!(
        told["hint"].as_str().unwrap().contains("`command`"),
        "{told}"
    );
}

fn an_argument_of_a_larger_profile_is_told_with_the_profile(world: &World) {
    let core = ["--profile", "workspace-core"];
    let mut client = Connection::initialized(world, &core, NEWEST_WITH_INITIALIZE);
    let arguments = json!({ "environment": "debian:12", "network_policy": "off" });
    let result = client.call(1, "workspace_create", arguments);
    let told = refused(&result);
    assert_eq!(told["code"], "invalid_argument");
    assert!(
        told["error"].as_str().unwrap().contains("workspace-full"),
        "{told}"
    );
}

fn what_is_plainly_meant_is_taken(world: &World) {
    let mut client = vm_run(world);
    let mut arguments = command(world, "true");
    arguments["mem_mib"] = json!("256");
    arguments["vcpu_count"] = json!(1.0);
    arguments["network"] = json!("false");
    arguments["ttl_seconds"] = Value::Null;
    let result = client.call(1, "vm_run", arguments);
    assert_eq!(result["structuredContent"]["exit_code"], 0, "{result}");
}

fn no_arguments_are_an_empty_object(world: &World) {
    let core = ["--profile", "workspace-full"];
    let mut client = Connection::initialized(world, &core, NEWEST_WITH_INITIALIZE);
    let name = json!({ "name": "vm_list_environments" });
    let answer = client.request(1, "tools/call", name);
    let listed = &answer["result"]["structuredContent"]["result"];
    let named = |name: &str| listed.as_array().unwrap().iter().any(|e| e["name"] == name);
    assert!(named("debian:12"), "{answer}");
    let name = json!({ "name": "vm_run" });
    let answer = client.request(2, "tools/call", name);
    let told = refused(&answer["result"]);
    assert_eq!(told["error"], "`vm_run` needs the argument `environment`");
}

fn long_output_comes_as_head_and_tail(world: &World) {
    let mut client = vm_run(world);
    let line = "echo begin; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end";
    let result = client.call(1, "vm_run", command(world, line));
    let facts = &result["structuredContent"];
    assert_eq!(facts["stdout_bytes"], 3_000_011);
    assert_eq!(facts["stdout_truncated"], true);
    let stdout = facts["stdout"].as_str().unwrap();
    assert!(stdout.starts_with("begin\nx") && stdout.ends_with("x\nend\n"));
    assert!(stdout.len() < 34_000, "{}", stdout.len());
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("begin\nx") && text.contains("x\nend\n[run] "));
    assert!(text.contains("bytes left out"));
    assert!(text.len() < 18_000, "{}", text.len());
}
