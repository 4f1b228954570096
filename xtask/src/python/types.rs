//! Schemas as Python types, and `results.py`: the dictionaries that methods return.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value};

use super::declared::{Method, Parameter};
use super::text::{capitals, docstring_begin, wrapped};

const HEAD: &str = "\
# Written by `cargo xtask python` from the declarations in pyro-api. Change those instead.
\"\"\"The dictionaries that methods return, for type checkers.\"\"\"

from __future__ import annotations

from typing import Any, Literal, TypedDict
";

/// The type of a parameter, without its default.
pub(crate) fn of_parameter(parameter: &Parameter) -> String {
    let kind = of_input(&parameter.schema);
    let kind = match parameter.schema.get("contentMediaType") {
        Some(_) => kind.replacen("str", "str | bytes", 1),
        None => kind,
    };
    // Files of this host may come as `pathlib.Path`.
    let kind = match parameter.name.ends_with("_path") {
        true => kind.replacen("str", "str | os.PathLike[str]", 1),
        false => kind,
    };
    if parameter.required || default(parameter) != "None" || kind.ends_with("| None") {
        kind
    } else {
        format!("{kind} | None")
    }
}

/// The default of a parameter that may be left out.
pub(crate) fn default(parameter: &Parameter) -> String {
    match parameter.schema.get("default") {
        Some(Value::Bool(true)) => "True".to_owned(),
        Some(Value::Bool(false)) => "False".to_owned(),
        Some(value @ (Value::Number(_) | Value::String(_))) => value.to_string(),
        // Nothing is the same as an empty list, and Python must not share one between calls.
        _ => "None".to_owned(),
    }
}

fn of_input(schema: &Value) -> String {
    if let Some(words) = words(schema) {
        return words;
    }
    if let Some(Value::Array(choices)) = schema.get("anyOf").or_else(|| schema.get("oneOf")) {
        return union(choices.iter().map(of_input));
    }
    match &schema["type"] {
        Value::Array(kinds) => union(kinds.iter().map(|kind| of_kind(kind, schema))),
        kind => of_kind(kind, schema),
    }
}

fn of_kind(kind: &Value, schema: &Value) -> String {
    match kind.as_str() {
        Some("string") => "str".to_owned(),
        Some("integer") => "int".to_owned(),
        Some("number") => "float".to_owned(),
        Some("boolean") => "bool".to_owned(),
        Some("null") => "None".to_owned(),
        Some("array") => format!("list[{}]", schema.get("items").map_or_else(any, of_input)),
        Some("object") => match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) => format!("dict[str, {}]", of_input(values)),
            _ => "dict[str, Any]".to_owned(),
        },
        _ => any(),
    }
}

fn any() -> String {
    "Any".to_owned()
}

fn union(kinds: impl Iterator<Item = String>) -> String {
    let mut several: Vec<String> = Vec::new();
    for kind in kinds {
        if !several.contains(&kind) {
            several.push(kind);
        }
    }
    // Readers expect nothing at the end.
    several.sort_by_key(|kind| kind == "None");
    several.join(" | ")
}

/// `Literal["off", "egress"]`, where a schema is a choice of words.
fn words(schema: &Value) -> Option<String> {
    let words: Vec<&Value> = match (schema.get("enum"), schema.get("const"), schema.get("oneOf")) {
        (Some(Value::Array(words)), _, _) => words.iter().collect(),
        (_, Some(word), _) => vec![word],
        (_, _, Some(Value::Array(choices))) => choices
            .iter()
            .map(|choice| match (choice.get("const"), choice.get("enum")) {
                (Some(word), _) => Some(vec![word]),
                (_, Some(Value::Array(words))) => Some(words.iter().collect()),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()?
            .concat(),
        _ => return None,
    };
    let null = words.iter().any(|word| word.is_null());
    let words: Option<Vec<String>> = words
        .iter()
        .filter(|word| !word.is_null())
        .map(|word| word.as_str().map(|word| format!("{word:?}")))
        .collect();
    let literal = format!("Literal[{}]", words?.join(", "));
    Some(match null {
        true => format!("{literal} | None"),
        false => literal,
    })
}

/// The classes of `results.py`, as methods are asked for their types.
#[derive(Default)]
pub(crate) struct Results {
    classes: BTreeMap<String, Class>,
    /// Distinguishes classes of the same name.
    operation: String,
}

struct Class {
    schema: Value,
    text: String,
}

impl Results {
    /// What a method returns.
    pub(crate) fn of(&mut self, method: &Method) -> String {
        let root = &method.output;
        self.operation = capitals(method.operation);
        if let Some(list) = method.list {
            let field = &root["properties"][list];
            return self.kind(field, root, &capitals(list), "results.");
        }
        let title = root["title"].as_str().unwrap_or(method.operation);
        format!("results.{}", self.class(&capitals(title), root, root))
    }

    pub(crate) fn file(&self) -> String {
        let mut text = HEAD.to_owned();
        for class in self.classes.values() {
            let _ = write!(text, "\n\n{}", class.text);
        }
        text
    }

    /// The name of the class of a schema, which is written when it is new.
    fn class(&mut self, name: &str, schema: &Value, root: &Value) -> String {
        let mut own = schema.clone();
        if let Some(own) = own.as_object_mut() {
            own.retain(|key, _| key == "properties" || key == "required");
        }
        let mut name = name.to_owned();
        if let Some(known) = self.classes.get(&name) {
            if known.schema == own {
                return name;
            }
            name.insert_str(0, &self.operation);
        }
        // Marks the name as taken, for types that contain themselves.
        let class = Class {
            schema: own,
            text: String::new(),
        };
        self.classes.insert(name.clone(), class);
        let nothing = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&nothing);
        let required: Vec<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let (always, sometimes): (Vec<_>, Vec<_>) = properties
            .iter()
            .partition(|(field, _)| required.contains(&field.as_str()));
        let mut base = "TypedDict".to_owned();
        let mut text = String::new();
        if !sometimes.is_empty() {
            base = format!("_{name}Sometimes");
            let _ = writeln!(text, "class {base}(TypedDict, total=False):");
            text.push_str(&self.fields(&name, &sometimes, root));
            text.push_str("\n\n");
        }
        let _ = writeln!(text, "class {name}({base}):");
        if let Some(words) = schema["description"].as_str() {
            let first = words.split("\n\n").next().unwrap_or_default();
            let _ = writeln!(text, "{}\"\"\"\n", docstring_begin(first, 4));
        }
        match always.is_empty() {
            true => text.push_str("    pass\n"),
            false => text.push_str(&self.fields(&name, &always, root)),
        }
        if let Some(class) = self.classes.get_mut(&name) {
            class.text = text;
        }
        name
    }

    fn fields(&mut self, class: &str, fields: &[(&String, &Value)], root: &Value) -> String {
        let mut text = String::new();
        for (field, schema) in fields {
            if let Some(words) = schema["description"].as_str() {
                let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
                for line in wrapped(&words, 0, 0).lines() {
                    let _ = writeln!(text, "    # {line}");
                }
            }
            let kind = self.kind(schema, root, &format!("{class}{}", capitals(field)), "");
            let _ = writeln!(text, "    {field}: {kind}");
        }
        text
    }

    /// A type, where `name` is what a class for it would be called.
    fn kind(&mut self, schema: &Value, root: &Value, name: &str, prefix: &str) -> String {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap_or(reference);
            return match root["$defs"].get(name) {
                Some(schema) => self.kind(schema, root, &capitals(name), prefix),
                None => any(),
            };
        }
        if let Some(words) = words(schema) {
            return words;
        }
        if let Some(Value::Array(choices)) = schema.get("anyOf").or_else(|| schema.get("oneOf")) {
            let kinds: Vec<String> = choices
                .iter()
                .map(|choice| self.kind(choice, root, name, prefix))
                .collect();
            return union(kinds.into_iter());
        }
        let kinds = match &schema["type"] {
            Value::Array(kinds) => kinds.clone(),
            kind => vec![kind.clone()],
        };
        let kinds: Vec<String> = kinds
            .iter()
            .map(|kind| match kind.as_str() {
                Some("object") if schema["properties"].is_object() => {
                    format!("{prefix}{}", self.class(name, schema, root))
                }
                Some("object") => match schema.get("additionalProperties") {
                    Some(values @ Value::Object(_)) => {
                        format!("dict[str, {}]", self.kind(values, root, name, prefix))
                    }
                    _ => "dict[str, Any]".to_owned(),
                },
                Some("array") => match schema.get("items") {
                    Some(items) => format!("list[{}]", self.kind(items, root, name, prefix)),
                    None => "list[Any]".to_owned(),
                },
                _ => of_kind(kind, schema),
            })
            .collect();
        union(kinds.into_iter())
    }
}
