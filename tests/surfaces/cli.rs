//! The command line as a surface: arguments become flags, `--json` brings the result.

use std::process::Command;

use serde_json::Value;

use super::Surface;
use crate::world::{World, finish};

pub struct CommandLine<'a>(pub &'a World);

/// Operations and their commands.
const COMMANDS: &[(&str, &[&str])] = &[
    ("vm_run", &["run"]),
    ("vm_list_environments", &["env", "list"]),
    ("env_pull", &["env", "pull"]),
    ("env_inspect", &["env", "inspect"]),
    ("env_prune", &["env", "prune"]),
    ("doctor", &["doctor"]),
    ("shell_close", &["workspace", "shell", "close"]),
    ("shell_open", &["workspace", "shell", "open"]),
    ("shell_read", &["workspace", "shell", "read"]),
    ("shell_signal", &["workspace", "shell", "signal"]),
    ("shell_write", &["workspace", "shell", "write"]),
    ("service_start", &["workspace", "service", "start"]),
    ("service_list", &["workspace", "service", "list"]),
    ("service_status", &["workspace", "service", "status"]),
    ("service_logs", &["workspace", "service", "logs"]),
    ("service_stop", &["workspace", "service", "stop"]),
    ("workspace_create", &["workspace", "create"]),
    ("snapshot_create", &["workspace", "snapshot", "create"]),
    ("snapshot_delete", &["workspace", "snapshot", "delete"]),
    ("snapshot_list", &["workspace", "snapshot", "list"]),
    ("workspace_delete", &["workspace", "delete"]),
    ("workspace_diff", &["workspace", "diff"]),
    ("workspace_disk_export", &["workspace", "disk", "export"]),
    ("workspace_disk_list", &["workspace", "disk", "list"]),
    ("workspace_disk_read", &["workspace", "disk", "read"]),
    ("workspace_exec", &["workspace", "exec"]),
    ("workspace_export", &["workspace", "export"]),
    ("workspace_file_list", &["workspace", "file", "list"]),
    ("workspace_file_read", &["workspace", "file", "read"]),
    ("workspace_file_write", &["workspace", "file", "write"]),
    ("workspace_list", &["workspace", "list"]),
    ("workspace_logs", &["workspace", "logs"]),
    ("workspace_patch_apply", &["workspace", "patch", "apply"]),
    ("workspace_reset", &["workspace", "reset"]),
    ("workspace_start", &["workspace", "start"]),
    ("workspace_status", &["workspace", "status"]),
    ("workspace_stop", &["workspace", "stop"]),
    ("workspace_sync_push", &["workspace", "sync", "push"]),
    ("workspace_update", &["workspace", "update"]),
];

/// Arguments that the command line takes by position, in this order.
const POSITIONAL: &[&str] = &[
    "environment",
    "workspace_id",
    "shell_id",
    "snapshot_name",
    "service_name",
    "path",
    "source_path",
];

/// Arguments whose flags have other names.
const FLAGS: &[(&str, &str)] = &[
    ("output_path", "--output"),
    ("labels", "--label"),
    ("published_ports", "--publish"),
    ("clear_labels", "--clear-label"),
    ("signal_name", "--signal"),
];

impl CommandLine<'_> {
    /// The command that an operation is, not started yet.
    pub fn command(&self, operation: &str, arguments: &Value) -> Command {
        let (_, path) = COMMANDS
            .iter()
            .find(|(name, _)| *name == operation)
            .unwrap_or_else(|| panic!("the command line has no `{operation}`"));
        let mut words: Vec<String> = path.iter().map(|word| (*word).to_owned()).collect();
        words.push("--json".to_owned());
        let arguments = arguments.as_object().expect("arguments are an object");
        for (name, value) in arguments {
            if name == "secrets" {
                words.extend(secrets(value));
            } else if name != "command" && !POSITIONAL.contains(&name.as_str()) {
                words.extend(flags(name, value));
            }
        }
        let positional = POSITIONAL.iter().filter_map(|name| arguments.get(*name));
        words.extend(positional.map(text));
        if let Some(command) = arguments.get("command") {
            words.extend(["--".to_owned(), text(command)]);
        }
        self.0.pyro(words)
    }
}

impl Surface for CommandLine<'_> {
    fn call(&self, operation: &str, arguments: Value) -> Result<Value, Value> {
        let ran = finish(&mut self.command(operation, &arguments));
        let document = ran.json();
        if document["ok"] == false {
            Err(document)
        } else {
            Ok(document)
        }
    }
}

/// What one argument is on the command line.
fn flags(name: &str, value: &Value) -> Vec<String> {
    let known = FLAGS.iter().find(|(argument, _)| *argument == name);
    let flag = known.map_or_else(
        || format!("--{}", name.replace('_', "-")),
        |(_, flag)| (*flag).to_owned(),
    );
    if name == "published_ports" {
        return ports(flag, value);
    }
    let each = |texts: Vec<String>| {
        let pairs = texts.into_iter().map(|text| [flag.clone(), text]);
        pairs.flatten().collect()
    };
    match value {
        Value::Bool(false) if name == "append_newline" => vec!["--no-newline".to_owned()],
        Value::Bool(true) => vec![flag],
        Value::Bool(false) | Value::Null => Vec::new(),
        Value::Array(values) => each(values.iter().map(text).collect()),
        Value::Object(values) => {
            let pair = |(key, value)| format!("{key}={}", text(value));
            each(values.iter().map(pair).collect())
        }
        _ => vec![format!("{flag}={}", text(value))],
    }
}

/// A list of objects elsewhere, two flags here.
fn secrets(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    let flags = items.flat_map(|item| {
        let name = text(&item["name"]);
        match item.get("file_path") {
            Some(path) => ["--secret-file".to_owned(), format!("{name}={}", text(path))],
            None => [
                "--secret".to_owned(),
                format!("{name}={}", text(&item["value"])),
            ],
        }
    });
    flags.collect()
}

/// `[{"host_port": 8080, "guest_port": 80}]` as `--publish 8080:80`.
fn ports(flag: String, value: &Value) -> Vec<String> {
    let one = |port: &Value| match &port["host_port"] {
        Value::Null => text(&port["guest_port"]),
        host => format!("{}:{}", text(host), text(&port["guest_port"])),
    };
    let ports = value.as_array().into_iter().flatten().map(one);
    ports.flat_map(|port| [flag.clone(), port]).collect()
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
