//! The page for users, `docs/public-contract.md`: its lists of names are exactly what is built. A
//! name that is missing there, or one too many, fails; `PYRO_WRITE_PAGE=1` puts the lists in.

use std::collections::BTreeSet;

use pyro_api::{ErrorCode, visit};
use pyro_engine::Engine;
use pyro_tests::page;
use schemars::schema_for;
use serde_json::Value;

use crate::contract;
use crate::results::Results;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/public-contract.md");
const METHODS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../python/pyro_mcp/_methods.py"
);

#[test]
fn the_page_lists_what_is_built() {
    let lists = [
        ("commands", commands()),
        ("tools", tools()),
        ("methods", methods()),
        ("results", results()),
        ("codes", codes()),
    ];
    let page = std::fs::read_to_string(PAGE).unwrap();
    let wanted = lists.iter().fold(page.clone(), |page, (name, list)| {
        page::with(&page, name, list)
    });
    if std::env::var_os("PYRO_WRITE_PAGE").is_some() {
        std::fs::write(PAGE, wanted).unwrap();
        return;
    }
    let there: BTreeSet<&str> = page.lines().collect();
    let built: BTreeSet<&str> = wanted.lines().collect();
    let missing: Vec<_> = built.difference(&there).collect();
    let too_many: Vec<_> = there.difference(&built).collect();
    assert!(
        page == wanted,
        "docs/public-contract.md is not what is built (PYRO_WRITE_PAGE=1 puts it right)\n\
         missing: {missing:#?}\ntoo many: {too_many:#?}"
    );
}

fn commands() -> String {
    let mut table = "| command | arguments and flags |\n|---|---|\n".to_owned();
    for (path, command) in crate::cli::tree() {
        // `pyro demo` is a command and has commands below it.
        if command.is_subcommand_required_set() {
            continue;
        }
        let positionals = command
            .get_positionals()
            .map(|arg| arg.get_id().to_string());
        let flags = command
            .get_arguments()
            .filter(|arg| !arg.is_positional())
            .filter_map(|arg| arg.get_long())
            .filter(|name| *name != "help")
            .map(|name| {
                let ours = crate::cli::OUR_FLAGS.contains(&(path.as_str(), &format!("--{name}")));
                format!("`--{name}`{}", if ours { "°" } else { "" })
            });
        let names: Vec<String> = positionals
            .map(|name| format!("`{}`", name.to_uppercase()))
            .chain(flags)
            .collect();
        let ours = crate::cli::OURS.contains(&path.as_str());
        let mark = if ours { "°" } else { "" };
        table += &format!("| `pyro {path}`{mark} | {} |\n", names.join(" "));
    }
    table
}

fn tools() -> String {
    let mut table = "| profile | tools |\n|---|---|\n".to_owned();
    let mut before = BTreeSet::new();
    for (name, profile) in crate::mcp::PROFILES {
        let mut more = Vec::new();
        for tool in crate::mcp::tools(profile) {
            let tool = tool["name"].as_str().unwrap().to_owned();
            if before.insert(tool.clone()) {
                more.push(format!("`{tool}`"));
            }
        }
        let all = if before.len() > more.len() {
            "those above, "
        } else {
            ""
        };
        table += &format!("| `{name}` | {all}{} |\n", more.join(", "));
    }
    table
}

fn methods() -> String {
    let source = std::fs::read_to_string(METHODS).unwrap();
    let built: Vec<&str> = source
        .lines()
        .filter_map(|line| line.strip_prefix("    def ")?.split_once('('))
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with('_'))
        .collect();
    let sdk = contract("sdk.json");
    let listed: Vec<&str> = sdk["Pyro"]["methods"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    // What Python makes by hand is not in the generated file.
    let by_hand = ["create_server"];
    for name in &listed {
        assert!(
            built.contains(name) || by_hand.contains(name),
            "`Pyro.{name}` is not built"
        );
    }
    let names: BTreeSet<&str> = built.iter().chain(&listed).copied().collect();
    let marked: Vec<String> = names
        .into_iter()
        .map(|name| {
            let mark = if listed.contains(&name) { "" } else { "°" };
            format!("`{name}`{mark}")
        })
        .collect();
    format!("{}\n", marked.join(", "))
}

fn results() -> String {
    let payloads = contract("payloads.json");
    let mut results = Results(Vec::new());
    visit::<Engine>(&mut results);
    let mut table = "| operation | fields of the result |\n|---|---|\n".to_owned();
    for (names, schema) in results.0 {
        let mut fields = BTreeSet::new();
        collect(&schema, &mut fields);
        if fields.is_empty() {
            continue;
        }
        let operation = names.operation;
        let mark = match payloads["operations"][operation] {
            Value::Null => "°",
            _ => "",
        };
        let fields: Vec<String> = fields.iter().map(|name| format!("`{name}`")).collect();
        table += &format!("| `{operation}`{mark} | {} |\n", fields.join(", "));
    }
    table
}

/// The fields of an object, whichever of its shapes it takes.
fn collect(schema: &Value, into: &mut BTreeSet<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        into.extend(properties.keys().cloned());
    }
    for shapes in ["anyOf", "oneOf", "allOf"] {
        for shape in schema[shapes].as_array().into_iter().flatten() {
            collect(shape, into);
        }
    }
}

fn codes() -> String {
    let schema = schema_for!(ErrorCode).to_value();
    let mut table = "| code | what it says |\n|---|---|\n".to_owned();
    for code in schema["oneOf"].as_array().unwrap() {
        let name = code["const"].as_str().unwrap();
        let words = code["description"].as_str().unwrap();
        table += &format!("| `{name}` | {words} |\n");
    }
    table
}
