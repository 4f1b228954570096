//! Arguments as models send them, made into what an operation takes.
//!
//! Forgiving where the meaning is plain (a number as text, an object as JSON text, null for
//! nothing, no arguments at all), strict where it is not: an unknown name is refused with the
//! valid ones, as it is more likely a misspelt wish than a superfluous one.

use pyro_api::{Error, Operation};
use serde_json::{Map, Value};

use crate::schema::Schema;

/// The arguments of one tool in one profile.
#[derive(Debug)]
pub(crate) struct Arguments {
    tool: &'static str,
    schema: Schema,
    /// Those of the operation that this profile leaves out.
    left_out: &'static [&'static str],
}

impl Arguments {
    pub(crate) fn new(
        tool: &'static str,
        schema: Schema,
        left_out: &'static [&'static str],
    ) -> Self {
        Self {
            tool,
            schema,
            left_out,
        }
    }

    /// Checks names and types and brings every value into its declared form.
    pub(crate) fn tidy(&self, given: Map<String, Value>) -> Result<Map<String, Value>, Error> {
        let nothing = Map::new();
        let properties = match self.schema.get("properties") {
            Some(Value::Object(properties)) => properties,
            _ => &nothing,
        };
        let mut tidy = Map::new();
        for (name, value) in given {
            let Some(property) = properties.get(&name) else {
                return Err(self.unknown(&name, properties));
            };
            if !value.is_null() {
                let value = fitting(&name, value, property)?;
                tidy.insert(name, value);
            }
        }
        let required = self.schema.get("required").and_then(Value::as_array);
        let missing = required
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .find(|name| !tidy.contains_key(*name));
        match missing {
            None => Ok(tidy),
            Some(name) => Err(Error::invalid(format!(
                "`{}` needs the argument `{name}`",
                self.tool
            ))
            .hint(self.valid_names(properties))),
        }
    }

    fn unknown(&self, name: &str, properties: &Schema) -> Error {
        if self.left_out.contains(&name) {
            return Error::invalid(format!(
                "`{}` offers `{name}` in the profile `workspace-full` only",
                self.tool
            ))
            .hint("Leave it out, or serve with `pyro mcp serve --profile workspace-full`");
        }
        Error::invalid(format!("`{}` has no argument `{name}`", self.tool))
            .hint(self.valid_names(properties))
    }

    fn valid_names(&self, properties: &Schema) -> String {
        if properties.is_empty() {
            return "It takes none".to_owned();
        }
        let names: Vec<String> = properties.keys().map(|name| format!("`{name}`")).collect();
        format!("It takes {}", names.join(", "))
    }
}

/// Reads an operation, and says of which argument a value is refused.
pub(crate) fn read<O: Operation>(arguments: Map<String, Value>) -> Result<O, Error> {
    serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|error| {
        let name = error.path().to_string();
        let why = error.into_inner().to_string();
        // The parsers of the declared values say themselves which value they refuse.
        let named = why.contains(name.split(['.', '[']).next().unwrap_or(&name));
        match name.as_str() {
            "." => Error::invalid(why),
            _ if named => Error::invalid(why),
            _ => Error::invalid(format!("`{name}`: {why}")),
        }
    })
}

/// A value in the form that the schema asks for.
fn fitting(name: &str, value: Value, property: &Value) -> Result<Value, Error> {
    let kind = match property.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        // A type or null: null has been taken away already.
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or_default(),
        _ => return Ok(value),
    };
    let fits = match (kind, &value) {
        ("string", Value::String(text)) => return one_of(name, text, property).map(|()| value),
        ("integer", Value::Number(number)) => number.as_f64().is_some_and(|n| n.fract() == 0.0),
        ("boolean", Value::Bool(_)) | ("object", Value::Object(_)) => true,
        ("array", Value::Array(_)) => true,
        _ => false,
    };
    if fits {
        return Ok(match (&value, value.as_f64()) {
            // `2.0` is a whole number too, and not every reader takes it for one.
            (Value::Number(number), Some(whole)) if number.is_f64() && whole.abs() < 1e15 => {
                Value::from(whole as i64)
            }
            _ => value,
        });
    }
    if let Value::String(text) = &value
        && let Some(read) = from_text(kind, text.trim())
    {
        return Ok(read);
    }
    let wanted = match kind {
        "string" => "text",
        "integer" => "a whole number",
        "boolean" => "true or false",
        "array" => "a list",
        _ => "an object",
    };
    if property.get("writeOnly") == Some(&Value::Bool(true)) {
        return Err(Error::invalid(format!("{name} must be {wanted}")));
    }
    Err(Error::invalid(format!(
        "{name} must be {wanted}, not `{}`",
        shortened(&value)
    )))
}

fn one_of(name: &str, text: &str, property: &Value) -> Result<(), Error> {
    let Some(Value::Array(words)) = property.get("enum") else {
        return Ok(());
    };
    // Whether spaces and capitals matter is for the kind of value itself to say.
    let alike = |word: &str| word.eq_ignore_ascii_case(text.trim());
    if words.iter().filter_map(Value::as_str).any(alike) {
        return Ok(());
    }
    let words: Vec<String> = words
        .iter()
        .filter_map(Value::as_str)
        .map(|word| format!("`{word}`"))
        .collect();
    Err(Error::invalid(format!(
        "{name} must be one of {}, not `{text}`",
        words.join(", ")
    )))
}

fn from_text(kind: &str, text: &str) -> Option<Value> {
    match (kind, text) {
        ("boolean", "true" | "True" | "yes" | "on" | "1") => Some(Value::Bool(true)),
        ("boolean", "false" | "False" | "no" | "off" | "0") => Some(Value::Bool(false)),
        ("integer", _) => {
            let number: i64 = match text.parse() {
                Ok(number) => number,
                Err(_) => return None,
            };
            Some(number.into())
        }
        ("object", _) => serde_json::from_str(text).ok().filter(Value::is_object),
        ("array", _) => serde_json::from_str(text).ok().filter(Value::is_array),
        _ => None,
    }
}

/// The beginning of a value, for an error.
fn shortened(value: &Value) -> String {
    const SHOWN: usize = 60;
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments() -> Arguments {
        let schema = json!({
            "properties": {
                "id": { "type": "string" },
                "count": { "type": "integer" },
                "deep": { "type": "boolean" },
                "labels": { "type": "object" },
                "keys": { "type": ["array", "null"] },
                "mode": { "type": "string", "enum": ["off", "on"] },
                "secrets": { "type": "array", "writeOnly": true },
            },
            "required": ["id"],
        });
        match schema {
            Value::Object(schema) => Arguments::new("tool", schema, &["secret"]),
            _ => unreachable!(),
        }
    }

    fn tidy(value: Value) -> Result<Value, Error> {
        let map = value.as_object().cloned().unwrap();
        arguments().tidy(map).map(Value::Object)
    }

    #[test]
    fn what_is_plainly_meant_is_taken() {
        assert_eq!(
            tidy(json!({
                "id": "a", "count": " 7 ", "deep": "yes", "labels": "{\"a\": \"b\"}",
                "keys": "[\"k\"]", "mode": null,
            }))
            .unwrap(),
            json!({ "id": "a", "count": 7, "deep": true, "labels": { "a": "b" }, "keys": ["k"] })
        );
        assert_eq!(
            tidy(json!({ "id": "a", "count": 2.0 })).unwrap()["count"],
            2
        );
    }

    #[test]
    fn what_is_not_is_refused_by_name() {
        for (given, error, hint) in [
            (
                json!({ "id": "a", "cuont": 1 }),
                "`tool` has no argument `cuont`",
                "`count`",
            ),
            (json!({}), "`tool` needs the argument `id`", "`id`"),
            (
                json!({ "id": null }),
                "`tool` needs the argument `id`",
                "`id`",
            ),
            (json!({ "id": 5 }), "id must be text, not `5`", ""),
            (
                json!({ "id": "a", "count": 1.5 }),
                "count must be a whole number, not `1.5`",
                "",
            ),
            (
                json!({ "id": "a", "count": "many" }),
                "count must be a whole number, not `many`",
                "",
            ),
            (
                json!({ "id": "a", "deep": 3 }),
                "deep must be true or false, not `3`",
                "",
            ),
            (
                json!({ "id": "a", "labels": "[]" }),
                "labels must be an object, not `[]`",
                "",
            ),
            (
                json!({ "id": "a", "secrets": "TOKEN=hunter2" }),
                "secrets must be a list",
                "",
            ),
            (
                json!({ "id": "a", "mode": "up" }),
                "mode must be one of `off`, `on`, not `up`",
                "",
            ),
            (
                json!({ "id": "a", "secret": "s" }),
                "`tool` offers `secret` in the profile `workspace-full` only",
                "workspace-full",
            ),
        ] {
            let refused = tidy(given).unwrap_err();
            assert_eq!(refused.error, error);
            assert!(refused.hint.unwrap_or_default().contains(hint), "{error}");
        }
    }
}
