//! The schemas of an operation: those of its declared types, made flat and small.
//!
//! A host hands the whole list of tools to its model at the start of every conversation, so each
//! word here costs. No `$ref`, no titles, no formats, no names of types.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::Listed;

pub type Schema = Map<String, Value>;

/// A bound that is only the end of the number type says nothing; nor does a count that begins at 0.
const LARGEST: [u64; 2] = [u32::MAX as u64, u64::MAX];

/// What an operation takes, without the arguments that are not offered, and its doc comment.
pub fn input<O: Listed>(not_offered: &[&str]) -> (Schema, String) {
    let mut schema = offered::<O>(not_offered, Detail::Described);
    let words = match schema.shift_remove("description") {
        Some(Value::String(words)) => paragraphs(&words),
        _ => String::new(),
    };
    (schema, words)
}

/// The same with every bound, for checking what is given.
pub(crate) fn validation<O: Listed>(not_offered: &[&str]) -> Schema {
    offered::<O>(not_offered, Detail::WithBounds)
}

fn offered<O: Listed>(not_offered: &[&str], detail: Detail) -> Schema {
    let mut schema = O::input_schema();
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.retain(|name, _| !not_offered.contains(&name.as_str()));
        for property in properties.values_mut() {
            simplify(property, detail);
        }
    }
    schema
}

/// What a tool answers when it succeeds.
///
/// Nothing is required and nothing is forbidden: clients check the facts of an error against this
/// as well, and there all of these fields are missing.
pub fn output<O: Listed>(list: Option<&str>) -> Schema {
    let mut schema = O::output_schema();
    let mut properties = match schema.shift_remove("properties") {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    };
    for property in properties.values_mut() {
        simplify(property, Detail::Bare);
    }
    if let Some(list) = list {
        properties = properties
            .into_iter()
            .map(|(name, property)| (renamed(name, list), property))
            .collect();
    }
    let mut schema = Schema::new();
    schema.insert("type".into(), "object".into());
    schema.insert("properties".into(), properties.into());
    schema
}

/// How many fields a record must have before it is worth a reference.
const WORTH_A_REFERENCE: usize = 8;

/// Says of an answer that holds all that an earlier tool answers with, too, just that, and
/// describes what is beyond it. Schemas of different tools have no other way to share.
pub fn refer(schema: &mut Schema, tool: &str, earlier: &Schema) -> bool {
    let (Some(Value::Object(own)), Some(Value::Object(known))) =
        (schema.get_mut("properties"), earlier.get("properties"))
    else {
        return false;
    };
    let holds_all = known
        .iter()
        .all(|(name, property)| own.get(name) == Some(property));
    if !holds_all || known.len() < WORTH_A_REFERENCE {
        return false;
    }
    // The first field is what one looks for: the id.
    let first = known.keys().next();
    own.retain(|name, _| Some(name) == first || !known.contains_key(name));
    schema.insert(
        "description".into(),
        format!("All that `{tool}` answers with").into(),
    );
    true
}

/// What the contract calls a list that is the whole answer.
const RESULT: &str = "result";

pub fn renamed(name: String, list: &str) -> String {
    if name == list {
        RESULT.to_owned()
    } else {
        name
    }
}

pub(crate) fn of_input<T: JsonSchema>() -> Schema {
    root::<T>(SchemaSettings::draft2020_12().for_deserialize())
}

pub(crate) fn of_output<T: JsonSchema>() -> Schema {
    root::<T>(SchemaSettings::draft2020_12().for_serialize())
}

fn root<T: JsonSchema>(settings: SchemaSettings) -> Schema {
    let generator = settings
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .into_generator();
    let mut schema = match generator.into_root_schema_for::<T>().to_value() {
        Value::Object(schema) => schema,
        _ => Map::new(),
    };
    schema.shift_remove("title");
    schema
}

/// Whether descriptions stay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Described,
    /// And bounds that say nothing, too.
    WithBounds,
    /// Names of fields speak for themselves, and few hosts show a model what a result looks like.
    Bare,
}

fn simplify(schema: &mut Value, detail: Detail) {
    let Value::Object(map) = schema else { return };
    map.shift_remove("title");
    if detail != Detail::WithBounds {
        map.shift_remove("format");
        map.shift_remove("contentMediaType");
    }
    match detail {
        Detail::Bare => {
            for word in ["description", "default", "required"] {
                map.shift_remove(word);
            }
            for limit in ["minimum", "maximum", "minLength", "maxLength"] {
                map.shift_remove(limit);
            }
        }
        Detail::Described | Detail::WithBounds => {
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = paragraphs(text);
                if text.matches(". ").count() == 0 && text.ends_with('.') {
                    text.pop();
                }
            }
            if detail == Detail::Described {
                let bound = |name| map.get(name).and_then(Value::as_u64);
                let (least, most) = (bound("minimum"), bound("maximum"));
                if most.is_some_and(|bound| LARGEST.contains(&bound)) {
                    map.shift_remove("maximum");
                }
                if least == Some(0) {
                    map.shift_remove("minimum");
                }
                // For the surfaces, not for those who ask.
                map.shift_remove("writeOnly");
            }
            if map.get("default").is_some_and(Value::is_null) {
                map.shift_remove("default");
            }
        }
    }
    one_of_to_enum(map);
    if detail == Detail::Bare {
        // Such a set may grow, and there are clients that throw away what their list does not have.
        map.shift_remove("enum");
    }
    any_of_null_to_type(map, detail);
    let may_be_null = |kind: &Value| {
        kind.as_array()
            .is_some_and(|kinds| kinds.contains(&json!("null")))
    };
    if detail == Detail::Bare && map.get("type").is_some_and(may_be_null) {
        // What may be missing altogether is not spelt out.
        map.shift_remove("properties");
    }
    for below in ["items", "additionalProperties"] {
        if let Some(below) = map.get_mut(below) {
            simplify(below, detail);
        }
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        for property in properties.values_mut() {
            simplify(property, detail);
        }
    }
    if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
        for choice in choices {
            simplify(choice, detail);
        }
    }
}

/// Variants with a doc comment each come as `oneOf` of constants; a list of words is the same.
fn one_of_to_enum(map: &mut Schema) {
    let Some(Value::Array(choices)) = map.get("oneOf") else {
        return;
    };
    let words: Option<Vec<Value>> = choices
        .iter()
        .flat_map(|choice| match choice.get("enum") {
            Some(Value::Array(several)) => several.iter().map(Some).collect(),
            _ => vec![choice.get("const")],
        })
        .map(|word| word.cloned())
        .collect();
    if let Some(words) = words {
        map.shift_remove("oneOf");
        map.insert("type".into(), "string".into());
        map.insert("enum".into(), words.into());
    }
}

/// `anyOf` of something and null becomes that something, of the type or null.
fn any_of_null_to_type(map: &mut Schema, detail: Detail) {
    let Some(Value::Array(choices)) = map.get("anyOf") else {
        return;
    };
    let [Value::Object(real), null] = choices.as_slice() else {
        return;
    };
    if null != &json!({ "type": "null" }) {
        return;
    }
    let mut real = Value::Object(real.clone());
    simplify(&mut real, detail);
    let Value::Object(mut real) = real else {
        return;
    };
    let Some(Value::String(kind)) = real.get("type").cloned() else {
        return;
    };
    real.insert("type".into(), json!([kind, "null"]));
    if let Some(Value::Array(words)) = real.get_mut("enum") {
        words.push(Value::Null);
    }
    map.shift_remove("anyOf");
    // What the field says goes before what its type says.
    for (name, value) in real {
        map.entry(name).or_insert(value);
    }
}

/// A doc comment as running text: its lines joined, its first sentence ended, paragraphs kept
/// apart.
fn paragraphs(doc: &str) -> String {
    doc.split("\n\n")
        .map(|paragraph| {
            let mut line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
            if line.ends_with(|last: char| last.is_alphanumeric() || "`)".contains(last)) {
                line.push('.');
            }
            line
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shrunk(mut schema: Value) -> Value {
        simplify(&mut schema, Detail::Bare);
        schema
    }

    #[test]
    fn choices_become_lists_of_words() {
        let mut choices = json!({
            "oneOf": [
                { "type": "string", "enum": ["a", "b"] },
                { "description": "C", "type": "string", "const": "c" },
            ]
        });
        assert_eq!(shrunk(choices.clone()), json!({ "type": "string" }));
        simplify(&mut choices, Detail::Described);
        assert_eq!(
            choices,
            json!({ "type": "string", "enum": ["a", "b", "c"] })
        );
        assert_eq!(
            shrunk(json!({
                "description": "field",
                "anyOf": [
                    { "title": "T", "type": "object", "properties": { "a": { "format": "x" } } },
                    { "type": "null" },
                ]
            })),
            json!({ "type": ["object", "null"] })
        );
        let two = json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] });
        assert_eq!(shrunk(two.clone()), two);
    }

    #[test]
    fn what_an_earlier_tool_answers_is_referred_to() {
        let record = |more: &[&str]| {
            let names = ["id", "b", "c", "d", "e", "f", "g", "h"].iter().chain(more);
            let properties: Schema = names
                .map(|name| ((*name).to_owned(), json!({ "type": "string" })))
                .collect();
            Schema::from_iter([("properties".to_owned(), properties.into())])
        };
        let mut longer = record(&["more"]);
        assert!(refer(&mut longer, "get", &record(&[])));
        let string = json!({ "type": "string" });
        assert_eq!(
            longer["properties"],
            json!({ "id": string, "more": string })
        );
        assert_eq!(longer["description"], "All that `get` answers with");
        let mut shorter = record(&[]);
        assert!(!refer(&mut shorter, "get", &record(&["more"])));
        assert_eq!(shorter, record(&[]));
    }

    #[test]
    fn a_doc_comment_reads_as_sentences() {
        assert_eq!(
            paragraphs("Do a\nthing\n\nUse it\nwell. Or `not`"),
            "Do a thing. Use it well. Or `not`."
        );
    }
}
