//! The command line as a surface: arguments become flags, `--json` brings the result.

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
];

/// Arguments that the command line takes by position.
const POSITIONAL: &[&str] = &["environment"];

impl Surface for CommandLine<'_> {
    fn call(&self, operation: &str, arguments: Value) -> Result<Value, Value> {
        let (_, path) = COMMANDS
            .iter()
            .find(|(name, _)| *name == operation)
            .unwrap_or_else(|| panic!("the command line has no `{operation}`"));
        let mut words: Vec<String> = path.iter().map(|word| (*word).to_owned()).collect();
        words.push("--json".to_owned());
        let mut command = None;
        for (name, value) in arguments.as_object().expect("arguments are an object") {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            match value {
                _ if name == "command" => command = Some(text),
                _ if POSITIONAL.contains(&name.as_str()) => words.push(text),
                Value::Bool(true) => words.push(flag(name)),
                Value::Bool(false) | Value::Null => {}
                _ => words.extend([flag(name), text]),
            }
        }
        if let Some(command) = command {
            words.extend(["--".to_owned(), command]);
        }
        let ran = finish(&mut self.0.pyro(words));
        let document = ran.json();
        if document["ok"] == false {
            Err(document)
        } else {
            Ok(document)
        }
    }
}

fn flag(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}
