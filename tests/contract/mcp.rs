//! The tools of each profile: which, in which order, with which arguments; and that the list is
//! small and plain enough for every client.

use std::collections::BTreeSet;
use std::sync::Arc;

use pyro_api::Profile;
use pyro_engine::{Config, Engine};
use pyro_mcp::InProcess;
use serde_json::Value;

use crate::contract;
use crate::parameters::{OURS, PENDING as PENDING_PARAMETERS};

/// Tools of the contract that later issues build.
const PENDING: &[&str] = &[];

/// What the whole answer to `tools/list` may weigh, by profile.
const LARGEST_LISTS: [(Profile, usize); 3] = [
    (Profile::VmRun, 4 * 1024),
    (Profile::WorkspaceCore, 27 * 1024),
    (Profile::WorkspaceFull, 61 * 1024),
];

/// Hosts cut longer descriptions.
const LONGEST_DESCRIPTION: usize = 2 * 1024;

pub(crate) const PROFILES: [(&str, Profile); 3] = [
    ("vm-run", Profile::VmRun),
    ("workspace-core", Profile::WorkspaceCore),
    ("workspace-full", Profile::WorkspaceFull),
];

pub(crate) fn tools(profile: Profile) -> Vec<Value> {
    let engine = Arc::new(Engine::new(Config::from_environment().unwrap()));
    InProcess::new(&engine, profile).unwrap().tools().unwrap()
}

fn every_tool() -> Vec<Value> {
    tools(Profile::WorkspaceFull)
}

#[test]
fn profiles_hold_the_tools_of_the_contract_in_its_order() {
    let contract = contract("mcp-tools.json");
    for (name, profile) in PROFILES {
        let wanted: Vec<Value> = contract["profiles"][name]["tools_in_list_order"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|tool| !PENDING.contains(&tool.as_str().unwrap()))
            .cloned()
            .collect();
        let built: Vec<Value> = tools(profile)
            .iter()
            .map(|tool| tool["name"].clone())
            .collect();
        assert_eq!(built, wanted, "profile {name}");
    }
}

#[test]
fn arguments_are_narrowed_as_the_contract_says() {
    let contract = contract("mcp-tools.json");
    for (profile_name, profile) in PROFILES {
        for tool in tools(profile) {
            let name = tool["name"].as_str().unwrap();
            let wanted: BTreeSet<&str> =
                contract["tools"][name]["profiles"][profile_name]["params"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|parameter| parameter["name"].as_str().unwrap())
                    .filter(|parameter| !PENDING_PARAMETERS.contains(&(name, parameter)))
                    .collect();
            let properties = tool["inputSchema"]["properties"].as_object();
            let built: BTreeSet<&str> = properties
                .into_iter()
                .flat_map(|properties| properties.keys())
                .map(String::as_str)
                .filter(|argument| !OURS.contains(&(name, argument)))
                .collect();
            assert_eq!(built, wanted, "arguments of {name} in {profile_name}");
        }
    }
}

#[test]
fn lists_are_small() {
    for (profile, largest) in LARGEST_LISTS {
        let list = serde_json::to_string(&tools(profile)).unwrap();
        assert!(list.len() < largest, "{profile:?}: {} bytes", list.len());
    }
}

#[test]
fn tools_are_described_for_models() {
    for tool in every_tool() {
        let name = &tool["name"];
        let text = tool["description"].as_str().unwrap();
        assert!(
            (20..LONGEST_DESCRIPTION).contains(&text.len()),
            "{name}: {text}"
        );
        assert!(
            text.ends_with('.') && !text.contains('\n'),
            "{name}: {text}"
        );
        assert!(!tool["title"].as_str().unwrap().is_empty(), "{name}");
        for hint in [
            "readOnlyHint",
            "destructiveHint",
            "idempotentHint",
            "openWorldHint",
        ] {
            assert!(tool["annotations"][hint].is_boolean(), "{name}: {hint}");
        }
        let reads = tool["annotations"]["readOnlyHint"] == true;
        let destroys = tool["annotations"]["destructiveHint"] == true;
        assert!(!(reads && destroys), "{name}");
        let properties = tool["inputSchema"]["properties"].as_object();
        for (argument, schema) in properties.into_iter().flatten() {
            assert!(schema["description"].is_string(), "{name}: {argument}");
        }
    }
}

#[test]
fn schemas_are_flat_and_closed() {
    for tool in every_tool() {
        let name = &tool["name"];
        assert_eq!(tool["inputSchema"]["type"], "object", "{name}");
        assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{name}");
        assert_eq!(tool["outputSchema"]["type"], "object", "{name}");
        for schema in [&tool["inputSchema"], &tool["outputSchema"]] {
            let text = schema.to_string();
            // Validators of some clients stumble over references and over what is no draft-07.
            for word in ["\"$ref\"", "\"$defs\"", "\"$schema\"", "\"oneOf\""] {
                assert!(!text.contains(word), "{name} has {word}: {text}");
            }
        }
        // Several providers refuse a choice at the root of what a tool takes.
        assert!(tool["inputSchema"].get("anyOf").is_none(), "{name}");
    }
}

#[test]
fn the_facts_of_an_error_fit_every_result() {
    for tool in every_tool() {
        let output = tool["outputSchema"].as_object().unwrap();
        // Clients check them against the schema, and several throw away what does not fit.
        for strict in ["required", "additionalProperties", "anyOf", "allOf"] {
            assert!(!output.contains_key(strict), "{}: {strict}", tool["name"]);
        }
        let properties = output["properties"].as_object().unwrap();
        assert!(!properties.is_empty(), "{}", tool["name"]);
        for field in ["error", "code", "causes", "hint", "ok"] {
            assert!(!properties.contains_key(field), "{}: {field}", tool["name"]);
        }
    }
}
