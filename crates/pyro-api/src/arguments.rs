//! Arguments as JSON has them, made into what an operation takes: for the surfaces of models and of
//! Python, whose callers read the same words when something is wrong.
//!
//! Forgiving where the meaning is plain (a number as text, an object as JSON text, null for
//! nothing, no arguments at all), strict where it is not: an unknown name is refused with the
//! valid ones, as it is more likely misspelt than superfluous.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::schema::{self, Schema};
use crate::{Error, Listed, Operation};

/// The arguments of one operation, as one surface offers them.
#[derive(Debug)]
pub struct Arguments {
    /// The operation, as the surface calls it.
    operation: &'static str,
    /// Made when the first call comes, as most operations are never called.
    schema: OnceLock<Schema>,
    declared: fn(&[&str]) -> Schema,
    /// Those of the operation that this surface leaves out.
    left_out: &'static [&'static str],
}

impl Arguments {
    pub fn of<O: Listed>(operation: &'static str, left_out: &'static [&'static str]) -> Self {
        Self {
            operation,
            schema: OnceLock::new(),
            declared: schema::validation::<O>,
            left_out,
        }
    }

    /// One of them, by its name.
    pub fn parameter(&self, name: &str) -> Result<Parameter<'_>, Error> {
        match self.properties().and_then(|all| all.get(name)) {
            Some(schema) => Ok(Parameter {
                name: name.to_owned(),
                schema,
                about: schema.get("description").and_then(Value::as_str),
                secret: schema.get("writeOnly") == Some(&Value::Bool(true)),
            }),
            None => Err(self.unknown(name)),
        }
    }

    /// Checks names and types and brings every value into its declared form.
    pub fn normalize(&self, given: Map<String, Value>) -> Result<Map<String, Value>, Error> {
        let mut normal = Map::new();
        for (name, value) in given {
            let parameter = self.parameter(&name)?;
            if !value.is_null() {
                normal.insert(name, parameter.coerce(value)?);
            }
        }
        match missing(self.schema(), &normal) {
            None => Ok(normal),
            Some(name) => Err(Error::invalid(format!(
                "`{}` needs the argument `{name}`",
                self.operation
            ))
            .hint(self.valid_names())),
        }
    }

    fn schema(&self) -> &Schema {
        self.schema.get_or_init(|| (self.declared)(self.left_out))
    }

    fn properties(&self) -> Option<&Schema> {
        self.schema().get("properties").and_then(Value::as_object)
    }

    fn unknown(&self, name: &str) -> Error {
        if self.left_out.contains(&name) {
            return Error::invalid(format!(
                "`{}` offers `{name}` in the profile `workspace-full` only",
                self.operation
            ))
            .hint("Leave it out, or serve with `pyro mcp serve --profile workspace-full`");
        }
        Error::invalid(format!("`{}` has no argument `{name}`", self.operation))
            .hint(self.valid_names())
    }

    fn valid_names(&self) -> String {
        match self.properties() {
            Some(names) if !names.is_empty() => {
                format!("It takes {}", comma_separated(names.keys()))
            }
            _ => "It takes none".to_owned(),
        }
    }
}

/// An argument, or a part of one: what it is called, and what its schema asks for.
#[derive(Clone, Debug)]
pub struct Parameter<'s> {
    name: String,
    schema: &'s Value,
    /// What the argument is for.
    about: Option<&'s str>,
    /// What was given is not repeated.
    secret: bool,
}

impl<'s> Parameter<'s> {
    /// One of which nothing is known.
    pub fn undeclared(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            schema: &Value::Null,
            about: None,
            secret: false,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether bytes may be given here, in base64 when `encoding` says so.
    pub fn takes_bytes(&self) -> bool {
        self.schema.get("contentMediaType").is_some()
    }

    /// An entry of this list.
    pub fn item(&self, index: usize) -> Parameter<'s> {
        self.part(format!("{}[{index}]", self.name), self.schema.get("items"))
    }

    /// A field of this object.
    pub fn field(&self, key: &str) -> Parameter<'s> {
        let declared = self.schema.get("properties").and_then(|all| all.get(key));
        let schema = declared.or_else(|| self.schema.get("additionalProperties"));
        self.part(format!("{}.{key}", self.name), schema)
    }

    fn part(&self, name: String, schema: Option<&'s Value>) -> Parameter<'s> {
        Parameter {
            // The key of a part may be a secret, too.
            name: match self.secret {
                true => format!("A part of {}", self.argument()),
                false => name,
            },
            schema: schema.unwrap_or(&Value::Null),
            about: self.about,
            secret: self.secret,
        }
    }

    /// Refuses what was given: `kind` says what it is without repeating it, such as `bytes`.
    pub fn refuse(&self, kind: &str) -> Error {
        let wanted = match self.kind() {
            "string" => "text",
            "integer" => "a whole number",
            "boolean" => "true or false",
            "array" => "a list",
            "object" => "an object",
            _ if kind.is_empty() => return Error::invalid(format!("{} cannot be used", self.name)),
            _ => return Error::invalid(format!("{} cannot be {kind}", self.name)),
        };
        let not = match kind {
            "" => String::new(),
            _ => format!(", not {kind}"),
        };
        let error = Error::invalid(format!("{} must be {wanted}{not}", self.name));
        match self.about {
            Some(about) => error.hint(format!("`{}` is for: {about}", self.argument())),
            None => error,
        }
    }

    fn refuse_value(&self, value: &Value) -> Error {
        match self.secret {
            true => self.refuse(""),
            false => self.refuse(&shown(value)),
        }
    }

    /// The argument that this is, or is a part of.
    fn argument(&self) -> &str {
        let name = self.name.strip_prefix("A part of ").unwrap_or(&self.name);
        name.split(['.', '[']).next().unwrap_or_default()
    }

    /// Refuses a whole number that no type of numbers holds, by its digits.
    pub fn refuse_number(&self, digits: &str) -> Error {
        match self.kind() {
            "integer" if !self.secret => self.out_of_bounds(digits),
            _ => self.refuse_value(&Value::from(digits)),
        }
    }

    fn kind(&self) -> &'s str {
        match self.schema.get("type") {
            Some(Value::String(kind)) => kind,
            // A type or null: null has been taken away already.
            Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or_default(),
            _ => "",
        }
    }

    /// A value in the form that the schema asks for.
    fn coerce(&self, value: Value) -> Result<Value, Error> {
        let kind = self.kind();
        match (kind, value) {
            ("", value) => Ok(value),
            ("string", Value::String(text)) => self.one_of(&text).map(|()| Value::String(text)),
            ("integer", Value::Number(number)) => match (number.as_i128(), number.as_f64()) {
                (Some(whole), _) => self.in_bounds(whole),
                // `2.0` is a whole number too, and not every reader takes it for one.
                (None, Some(real)) if real.fract() == 0.0 && real.abs() < 1e15 => {
                    self.in_bounds(real as i128)
                }
                (None, Some(real)) if real.fract() == 0.0 => {
                    Err(self.out_of_bounds(&format!("{real:e}")))
                }
                _ => Err(self.refuse_value(&Value::Number(number))),
            },
            ("integer", Value::String(text)) => match text.trim().parse::<i128>() {
                Ok(whole) => self.in_bounds(whole),
                Err(_) => Err(self.refuse_value(&Value::String(text))),
            },
            ("boolean", value @ Value::Bool(_)) => Ok(value),
            ("object", Value::Object(fields)) => self.coerce_fields(fields),
            ("array", Value::Array(items)) => self.coerce_items(items),
            (_, value) => match from_text(kind, &value) {
                Some(read) if read.is_boolean() => Ok(read),
                Some(read) => self.coerce(read),
                None => Err(self.refuse_value(&value)),
            },
        }
    }

    fn coerce_items(&self, items: Vec<Value>) -> Result<Value, Error> {
        // The parser of secrets says what is wrong with one without repeating it.
        if self.secret {
            return Ok(items.into());
        }
        let items = items.into_iter().enumerate();
        items
            .map(|(index, item)| self.item(index).coerce(item))
            .collect()
    }

    fn coerce_fields(&self, fields: Map<String, Value>) -> Result<Value, Error> {
        let declared = self.schema.get("properties").and_then(Value::as_object);
        let closed = self.schema.get("additionalProperties") == Some(&Value::Bool(false));
        let mut coerced = Map::new();
        for (key, value) in fields {
            let known = declared.filter(|declared| !declared.contains_key(&key));
            if let (Some(declared), true) = (known, closed) {
                return Err(
                    Error::invalid(format!("{} has no field `{key}`", self.name))
                        .hint(format!("It takes {}", comma_separated(declared.keys()))),
                );
            }
            let nothing = value.is_null() && declared.is_some();
            if !nothing {
                let value = self.field(&key).coerce(value)?;
                coerced.insert(key, value);
            }
        }
        match self
            .schema
            .as_object()
            .and_then(|own| missing(own, &coerced))
        {
            None => Ok(coerced.into()),
            Some(name) => Err(Error::invalid(format!(
                "{} needs the field `{name}`",
                self.name
            ))),
        }
    }

    fn bounds(&self) -> (i128, i128) {
        let (smallest, largest) = match self.schema.get("format").and_then(Value::as_str) {
            Some("uint8") => (0, u8::MAX.into()),
            Some("uint16") => (0, u16::MAX.into()),
            Some("uint32") => (0, u32::MAX.into()),
            Some("uint64" | "uint") => (0, u64::MAX.into()),
            _ => (i64::MIN.into(), i64::MAX.into()),
        };
        let declared = |name| {
            let bound = self.schema.get(name);
            bound.and_then(|bound| bound.as_number()?.as_i128())
        };
        (
            declared("minimum").unwrap_or(smallest),
            declared("maximum").unwrap_or(largest),
        )
    }

    fn in_bounds(&self, number: i128) -> Result<Value, Error> {
        let (min, max) = self.bounds();
        let within = (min..=max).contains(&number);
        let value = match (i64::try_from(number), u64::try_from(number)) {
            (Ok(signed), _) => Some(Value::from(signed)),
            (_, Ok(large)) => Some(Value::from(large)),
            _ => None,
        };
        value
            .filter(|_| within)
            .ok_or_else(|| self.out_of_bounds(&number.to_string()))
    }

    fn out_of_bounds(&self, given: &str) -> Error {
        let (min, max) = self.bounds();
        Error::invalid(format!(
            "{} must be between {min} and {max}, not {}",
            self.name,
            shortened(given)
        ))
    }

    fn one_of(&self, text: &str) -> Result<(), Error> {
        let Some(Value::Array(words)) = self.schema.get("enum") else {
            return Ok(());
        };
        // Whether spaces and capitals matter is for the kind of value itself to say.
        let alike = |word: &str| word.eq_ignore_ascii_case(text.trim());
        if words.iter().filter_map(Value::as_str).any(alike) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{} must be one of {}, not `{text}`",
            self.name,
            comma_separated(words.iter().filter_map(Value::as_str))
        )))
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
            _ => Error::invalid(format!("{name}: {why}")),
        }
    })
}

/// The first field that a schema requires and that is not there.
fn missing<'s>(schema: &'s Schema, given: &Map<String, Value>) -> Option<&'s str> {
    let required = schema.get("required").and_then(Value::as_array);
    let mut names = required.into_iter().flatten().filter_map(Value::as_str);
    names.find(|name| !given.contains_key(*name))
}

fn from_text(kind: &str, value: &Value) -> Option<Value> {
    let text = value.as_str()?.trim();
    match (kind, text) {
        ("boolean", "true" | "True" | "yes" | "on" | "1") => Some(Value::Bool(true)),
        ("boolean", "false" | "False" | "no" | "off" | "0") => Some(Value::Bool(false)),
        ("object", _) => serde_json::from_str(text).ok().filter(Value::is_object),
        ("array", _) => serde_json::from_str(text).ok().filter(Value::is_array),
        _ => None,
    }
}

fn comma_separated<T: AsRef<str>>(words: impl Iterator<Item = T>) -> String {
    let words: Vec<String> = words.map(|word| format!("`{}`", word.as_ref())).collect();
    words.join(", ")
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    format!("`{}`", shortened(&text))
}

/// The beginning of a value, for an error.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
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
                "count": { "type": "integer", "minimum": 1, "maximum": 9, "description": "How many" },
                "offset": { "type": "integer", "format": "uint64" },
                "deep": { "type": "boolean" },
                "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                "keys": { "type": ["array", "null"] },
                "ports": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": { "guest": { "type": "integer", "minimum": 1, "maximum": 99 } },
                        "required": ["guest"],
                        "additionalProperties": false,
                    },
                },
                "mode": { "type": "string", "enum": ["off", "on"] },
                "secrets": { "type": "array", "writeOnly": true },
                "variables": {
                    "type": "object",
                    "writeOnly": true,
                    "additionalProperties": { "type": "string" },
                },
            },
            "required": ["id"],
        });
        match schema {
            Value::Object(schema) => Arguments {
                operation: "tool",
                schema: schema.into(),
                declared: |_| Schema::new(),
                left_out: &["secret"],
            },
            _ => unreachable!(),
        }
    }

    fn normal(value: Value) -> Result<Value, Error> {
        let map = value.as_object().cloned().unwrap();
        arguments().normalize(map).map(Value::Object)
    }

    #[test]
    fn what_is_plainly_meant_is_taken() {
        assert_eq!(
            normal(json!({
                "id": "a", "count": " 7 ", "deep": "yes", "labels": "{\"a\": \"b\"}",
                "keys": "[\"k\"]", "mode": null,
            }))
            .unwrap(),
            json!({ "id": "a", "count": 7, "deep": true, "labels": { "a": "b" }, "keys": ["k"] })
        );
        assert_eq!(
            normal(json!({ "id": "a", "count": 2.0 })).unwrap()["count"],
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
                "`count` is for: How many",
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
                json!({ "id": "a", "count": 0 }),
                "count must be between 1 and 9, not 0",
                "",
            ),
            (
                json!({ "id": "a", "count": 1e30 }),
                "count must be between 1 and 9, not 1e30",
                "",
            ),
            (
                json!({ "id": "a", "offset": -1 }),
                "offset must be between 0 and 18446744073709551615, not -1",
                "",
            ),
            (
                json!({ "id": "a", "labels": { "x": 5 } }),
                "labels.x must be text, not `5`",
                "",
            ),
            (
                json!({ "id": "a", "ports": [{ "guest": 1 }, "x"] }),
                "ports[1] must be an object, not `x`",
                "",
            ),
            (
                json!({ "id": "a", "ports": [{ "guest": 100 }] }),
                "ports[0].guest must be between 1 and 99, not 100",
                "",
            ),
            (
                json!({ "id": "a", "ports": [{ "guest": null }] }),
                "ports[0] needs the field `guest`",
                "",
            ),
            (
                json!({ "id": "a", "ports": [{ "gest": 1 }] }),
                "ports[0] has no field `gest`",
                "`guest`",
            ),
            (
                json!({ "id": "a", "secrets": "TOKEN=hunter2" }),
                "secrets must be a list",
                "",
            ),
            (
                json!({ "id": "a", "variables": { "hunter2": 7 } }),
                "A part of variables must be text",
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
            let refused = normal(given).unwrap_err();
            assert_eq!(refused.error, error);
            assert!(refused.hint.unwrap_or_default().contains(hint), "{error}");
        }
    }
}
