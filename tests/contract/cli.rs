//! The command tree: commands, flags, defaults, choices, exclusions, positionals.

use std::collections::{BTreeMap, BTreeSet};

use clap::{ArgAction, Command};
use serde_json::Value;

use crate::contract;

/// Commands of the contract that later issues build, by the first word or words of their path.
const PENDING: &[&str] = &["mcp", "workspace", "demo ollama"];

/// Commands beyond the contract.
const OURS: &[&str] = &["bench", "completions", "man"];

fn tree() -> BTreeMap<String, Command> {
    fn walk(prefix: &str, command: &Command, into: &mut BTreeMap<String, Command>) {
        // `pyro help` repeats the whole tree.
        let own = |below: &&Command| below.get_name() != "help";
        for below in command.get_subcommands().filter(own) {
            let path = format!("{prefix} {}", below.get_name()).trim().to_owned();
            walk(&path, below, into);
            into.insert(path, below.clone());
        }
    }
    let mut root = pyro_cli::command();
    root.build();
    let mut commands = BTreeMap::new();
    walk("", &root, &mut commands);
    commands
}

fn is_pending(path: &str) -> bool {
    PENDING
        .iter()
        .any(|pending| path == *pending || path.starts_with(&format!("{pending} ")))
}

#[test]
fn every_command_of_the_contract_is_built_or_pending() {
    let contract = contract("cli.json");
    let listed: BTreeSet<String> = contract["commands"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|path| !is_pending(path))
        .cloned()
        .collect();
    let built: BTreeSet<String> = tree()
        .into_keys()
        .filter(|path| !OURS.contains(&path.as_str()))
        .collect();
    assert_eq!(built, listed);
}

#[test]
fn flags_and_positionals_are_those_of_the_contract() {
    let contract = contract("cli.json");
    for (path, command) in tree() {
        if OURS.contains(&path.as_str()) {
            continue;
        }
        let wanted = &contract["commands"][&path];
        assert_eq!(
            flags(&command),
            wanted_flags(wanted),
            "flags of `pyro {path}`"
        );
        assert_eq!(
            positionals(&command),
            wanted_positionals(wanted),
            "positionals of `pyro {path}`"
        );
        let exclusions = wanted["mutually_exclusive"].as_array();
        assert!(
            exclusions.is_none_or(Vec::is_empty),
            "`pyro {path}` has exclusions, which this test does not compare yet"
        );
        let needs_subcommand = wanted["subcommand_required"].as_bool().unwrap_or(false);
        assert_eq!(
            command.is_subcommand_required_set(),
            needs_subcommand,
            "`pyro {path}`"
        );
    }
}

#[test]
fn the_root_is_that_of_the_contract() {
    let contract = contract("cli.json");
    let root = pyro_cli::command();
    assert_eq!(root.get_name(), contract["program"].as_str().unwrap());
    assert!(root.is_subcommand_required_set());
    assert_eq!(
        root.render_version(),
        format!("pyro {}\n", env!("CARGO_PKG_VERSION"))
    );
}

/// A flag in words: `--mem-mib value default=1024`.
fn flags(command: &Command) -> BTreeSet<String> {
    command
        .get_arguments()
        .filter(|arg| !arg.is_positional())
        .filter(|arg| !matches!(arg.get_action(), ArgAction::Help | ArgAction::Version))
        .map(|arg| {
            let name = format!("--{}", arg.get_long().unwrap_or_default());
            if matches!(arg.get_action(), ArgAction::SetTrue) {
                return format!("{name} switch");
            }
            let default = arg
                .get_default_values()
                .first()
                .map(|value| value.to_string_lossy().into_owned());
            format!("{name} value default={}", default.unwrap_or_default())
        })
        .collect()
}

fn wanted_flags(command: &Value) -> BTreeSet<String> {
    let flags = command["flags"].as_array().cloned().unwrap_or_default();
    flags
        .iter()
        .map(|flag| {
            let name = flag["flags"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .find(|name| name.starts_with("--"))
                .unwrap();
            if flag["kind"] == "switch" {
                return format!("{name} switch");
            }
            let default = match &flag["default"] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            format!("{name} value default={default}")
        })
        .collect()
}

fn positionals(command: &Command) -> Vec<String> {
    command
        .get_positionals()
        .map(|arg| {
            let variadic = arg
                .get_num_args()
                .is_some_and(|range| range.max_values() > 1);
            format!(
                "{} required={} variadic={variadic}",
                arg.get_id(),
                arg.is_required_set()
            )
        })
        .collect()
}

fn wanted_positionals(command: &Value) -> Vec<String> {
    let positionals = command["positionals"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    positionals
        .iter()
        .map(|positional| {
            format!(
                "{} required={} variadic={}",
                positional["name"].as_str().unwrap(),
                positional["required"].as_bool().unwrap_or(false),
                positional["variadic"].as_bool().unwrap_or(false)
            )
        })
        .collect()
}
