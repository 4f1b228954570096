//! The arguments of operations against the MCP tools and SDK methods of the contract: names,
//! order, which are required, defaults and bounds. Their surfaces come later; the declarations are
//! here already and must not drift.

use std::collections::BTreeMap;

use pyro_api::{Handle, Listed, Names, Visit, visit};
use pyro_engine::Engine;
use schemars::schema_for;
use serde_json::{Map, Value};

use crate::contract;

/// Parameters of the contract that later issues build.
pub(crate) const PENDING: &[(&str, &str)] = &[];

/// Parameters beyond the contract.
pub(crate) const OURS: &[(&str, &str)] = &[
    ("service_list", "skip"),
    ("service_logs", "encoding"),
    ("service_logs", "max_bytes"),
    ("service_logs", "skip_lines"),
    ("service_start", "env"),
    ("service_start", "user"),
    ("shell_open", "env"),
    ("shell_open", "user"),
    ("vm_create", "allow_net"),
    ("vm_create", "isolation"),
    ("vm_exec", "cwd"),
    ("vm_exec", "env"),
    ("vm_exec", "user"),
    ("vm_run", "allow_net"),
    ("vm_run", "cwd"),
    ("vm_run", "env"),
    ("vm_run", "isolation"),
    ("vm_run", "user"),
    ("workspace_create", "allow_net"),
    ("workspace_create", "exclude"),
    ("workspace_create", "gitignore"),
    ("workspace_create", "isolation"),
    ("workspace_diff", "binary"),
    ("workspace_diff", "commits"),
    ("workspace_diff", "max_bytes"),
    ("workspace_diff", "prefix"),
    ("workspace_diff", "skip"),
    ("workspace_disk_list", "max_entries"),
    ("workspace_disk_list", "skip"),
    ("workspace_disk_read", "encoding"),
    ("workspace_disk_read", "offset"),
    ("workspace_exec", "background"),
    ("workspace_exec", "cwd"),
    ("workspace_exec", "env"),
    ("workspace_exec", "stdin"),
    ("workspace_exec", "stop"),
    ("workspace_exec", "user"),
    ("workspace_exec", "wait_seconds"),
    ("workspace_export", "overwrite"),
    ("workspace_file_list", "max_entries"),
    ("workspace_file_list", "skip"),
    ("workspace_file_read", "encoding"),
    ("workspace_file_read", "line_count"),
    ("workspace_file_read", "offset"),
    ("workspace_file_read", "start_line"),
    ("workspace_file_write", "encoding"),
    ("workspace_file_write", "user"),
    ("workspace_list", "skip"),
    ("workspace_logs", "encoding"),
    ("workspace_logs", "last"),
    ("workspace_logs", "max_bytes"),
    ("workspace_logs", "offset"),
    ("workspace_logs", "sequence"),
    ("workspace_logs", "skip"),
    ("workspace_logs", "stderr_offset"),
    ("workspace_logs", "wait_seconds"),
    ("workspace_sync_push", "exclude"),
    ("workspace_sync_push", "gitignore"),
];

/// Methods of the SDK beyond the contract.
pub(crate) const OUR_METHODS: &[&str] = &[
    "build_environment",
    "create_environment",
    "delete_environment",
    "export_environment",
    "import_environment",
];

/// Parameters that the SDK takes together, in one.
const TOGETHER: &[(&str, &[&str], &str)] = &[(
    "service_start",
    &["ready_file", "ready_tcp", "ready_http", "ready_command"],
    "readiness",
)];

/// What the contract requires and something of ours can take the place of: `stop` ends a command and
/// takes none, and an image says what it runs.
const INSTEAD: &[(&str, &str)] = &[("vm_run", "command"), ("workspace_exec", "command")];

/// Bounds that differ on purpose.
const OUR_BOUNDS: &[(&str, &str)] = &[
    ("shell_open", "cols"),
    ("shell_open", "rows"),
    ("workspace_create", "ttl_seconds"),
];

/// An operation with the schema of its arguments.
struct Declared(Vec<(Names, Value)>);

impl Visit<Engine> for Declared {
    fn operation<O: Listed>(&mut self)
    where
        Engine: Handle<O>,
    {
        self.0.push((O::NAMES, schema_for!(O).to_value()));
    }
}

fn declared() -> Vec<(Names, Value)> {
    let mut declared = Declared(Vec::new());
    visit::<Engine>(&mut declared);
    declared.0
}

#[test]
fn mcp_tools_take_what_the_contract_says() {
    let contract = contract("mcp-tools.json");
    for (names, schema) in declared() {
        let Some(tool) = names.mcp.map(|mcp| mcp.name) else {
            continue;
        };
        let wanted = &contract["tools"][tool]["profiles"]["workspace-full"]["params"];
        let wanted: Vec<String> = wanted
            .as_array()
            .unwrap_or_else(|| panic!("the contract has no tool `{tool}`"))
            .iter()
            .filter(|parameter| !PENDING.contains(&(tool, parameter["name"].as_str().unwrap())))
            .map(|parameter| {
                let name = parameter["name"].as_str().unwrap();
                let limits = &parameter["runtime_constraint"];
                let bounds = match OUR_BOUNDS.contains(&(tool, name)) {
                    true => (None, None),
                    false => (limits.get("min"), limits.get("max")),
                };
                in_words(
                    name,
                    parameter["type"].as_str().unwrap(),
                    parameter["required"].as_bool().unwrap(),
                    parameter.get("default"),
                    bounds,
                )
            })
            .collect();
        assert_eq!(arguments(tool, &schema), wanted, "arguments of `{tool}`");
    }
}

#[test]
fn sdk_methods_take_what_the_contract_says() {
    let contract = contract("sdk.json");
    for (names, schema) in declared() {
        let Some(method) = names.sdk else { continue };
        let methods = &contract["Pyro"]["methods"];
        if OUR_METHODS.contains(&method) {
            assert!(methods[method].is_null(), "{method} is in the contract");
            continue;
        }
        let wanted: BTreeMap<String, Value> = contract["Pyro"]["methods"][method]["params"]
            .as_array()
            .unwrap_or_else(|| panic!("the contract has no method `{method}`"))
            .iter()
            .filter(|parameter| {
                let name = parameter["name"].as_str().unwrap();
                !PENDING.contains(&(names.operation, name))
            })
            .map(|parameter| {
                (
                    parameter["name"].as_str().unwrap().to_owned(),
                    plain_default(parameter.get("default")).unwrap_or_default(),
                )
            })
            .collect();
        let ours: BTreeMap<String, Value> = properties(&schema)
            .iter()
            .filter(|(name, _)| !OURS.contains(&(names.operation, name.as_str())))
            .map(|(name, property)| {
                let together = TOGETHER.iter().find(|(operation, parts, _)| {
                    *operation == names.operation && parts.contains(&name.as_str())
                });
                (
                    together
                        .map_or(name.as_str(), |(_, _, whole)| whole)
                        .to_owned(),
                    plain_default(property.get("default")).unwrap_or_default(),
                )
            })
            .collect();
        assert_eq!(ours, wanted, "parameters of `{method}`");
    }
}

#[test]
fn unknown_arguments_are_refused_in_the_schema_too() {
    for (names, schema) in declared() {
        assert_eq!(schema["additionalProperties"], false, "{}", names.operation);
    }
}

fn properties(schema: &Value) -> Map<String, Value> {
    schema["properties"]
        .as_object()
        .cloned()
        .unwrap_or_default()
}

/// A default, where an empty list or object is the same as none.
fn plain_default(default: Option<&Value>) -> Option<Value> {
    match default {
        Some(Value::Array(none)) if none.is_empty() => Some(Value::Null),
        Some(Value::Object(none)) if none.is_empty() => Some(Value::Null),
        other => other.cloned(),
    }
}

fn arguments(tool: &str, schema: &Value) -> Vec<String> {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    properties(schema)
        .iter()
        .filter(|(name, _)| !OURS.contains(&(tool, name.as_str())))
        .map(|(name, property)| {
            // What may be null is a list of types.
            let kind = match &property["type"] {
                Value::Array(kinds) => kinds.first().and_then(Value::as_str),
                kind => kind.as_str(),
            };
            let bounds = match OUR_BOUNDS.contains(&(tool, name.as_str())) {
                true => (None, None),
                false => (property.get("minimum"), property.get("maximum")),
            };
            in_words(
                name,
                kind.unwrap_or("?"),
                required.contains(&name.as_str()) || INSTEAD.contains(&(tool, name)),
                property.get("default"),
                bounds,
            )
        })
        .collect()
}

/// An argument in words: `mem_mib integer default=1024 256..32768`.
fn in_words(
    name: &str,
    kind: &str,
    required: bool,
    default: Option<&Value>,
    (min, max): (Option<&Value>, Option<&Value>),
) -> String {
    let default = match plain_default(default) {
        _ if required => "required".to_owned(),
        Some(value) => format!("default={value}"),
        None => "no default".to_owned(),
    };
    let bound = |value: Option<&Value>| match value {
        // Where the contract has no upper bound, ours is the largest number of the type.
        None | Some(Value::Null) => String::new(),
        Some(value) if value.as_u64() == Some(u32::MAX.into()) => String::new(),
        Some(value) => value.to_string(),
    };
    format!("{name} {kind} {default} {}..{}", bound(min), bound(max))
}
