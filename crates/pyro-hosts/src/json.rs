//! JSON, with comments where the host takes them.

use std::collections::BTreeMap;

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstNode, CstObject, CstObjectProp, CstRootNode};

use crate::document_error::{DocumentError, position};
use crate::entry::{Field, Fields};
use crate::entry_path::EntryPath;
use crate::host::Format;

pub(crate) struct Json {
    root: CstRootNode,
    /// Some editors begin a file with one.
    mark: bool,
    /// The file had no text, so it had no last line either.
    was_empty: bool,
}

const BOM: char = '\u{feff}';

impl Json {
    pub(crate) fn parse(text: &str, format: Format) -> Result<Self, DocumentError> {
        let lenient = format == Format::Jsonc;
        let options = ParseOptions {
            allow_comments: lenient,
            allow_trailing_commas: lenient,
            allow_loose_object_property_names: false,
            allow_missing_commas: false,
            allow_single_quoted_strings: false,
            allow_hexadecimal_numbers: false,
            allow_unary_plus_numbers: false,
            allow_bare_decimal_point_numbers: false,
            allow_non_finite_numbers: false,
            allow_extended_string_escapes: false,
        };
        let bare = text.strip_prefix(BOM).unwrap_or(text);
        let root = CstRootNode::parse(bare, &options).map_err(|error| {
            let (line, column) = position(bare.as_bytes(), error.range().start);
            DocumentError::Broken {
                line,
                column,
                why: error.kind().to_string(),
            }
        })?;
        if !lenient && let Some(at) = comment(&root) {
            let (line, column) = position(bare.as_bytes(), at);
            return Err(DocumentError::Broken {
                line,
                column,
                why: "Comments are not allowed".to_owned(),
            });
        }
        Ok(Self {
            root,
            mark: bare.len() < text.len(),
            was_empty: bare.trim().is_empty(),
        })
    }

    pub(crate) fn fields(&self, path: EntryPath<'_>) -> Result<Option<Fields>, DocumentError> {
        let Some(entry) = self.entry(path)? else {
            return Ok(None);
        };
        let named = |property: &CstObjectProp| Some((property.decoded_name()?, field(property)));
        Ok(Some(entry.properties().iter().filter_map(named).collect()))
    }

    fn entry(&self, path: EntryPath<'_>) -> Result<Option<CstObject>, DocumentError> {
        let Some(mut object) = self.top()? else {
            return Ok(None);
        };
        for (depth, key) in path.servers.iter().copied().chain([path.name]).enumerate() {
            match below(&object, key, || path.words(depth + 1))? {
                Some(found) => object = found,
                None => return Ok(None),
            }
        }
        Ok(Some(object))
    }

    fn top(&self) -> Result<Option<CstObject>, DocumentError> {
        match self.root.value() {
            None => Ok(None),
            Some(value) => value
                .as_object()
                .map(Some)
                .ok_or(DocumentError::WrongShape {
                    at: "the whole document".to_owned(),
                }),
        }
    }

    pub(crate) fn set(
        &mut self,
        path: EntryPath<'_>,
        fields: &[(&str, Field)],
    ) -> Result<(), DocumentError> {
        self.top()?;
        if let Some(entry) = self.entry(path)? {
            update(&entry, path, fields)?;
            return Ok(());
        }
        let mut object = self.root.object_value_or_set();
        for (depth, key) in path.servers.iter().copied().enumerate() {
            object = match below(&object, key, || path.words(depth + 1))? {
                Some(found) => found,
                // What stands for nothing gives way.
                None => match last(&object, key) {
                    Some(null) => null.object_value_or_set(),
                    None => object
                        .append(key, CstInputValue::Object(Vec::new()))
                        .object_value_or_set(),
                },
            };
        }
        let whole = fields
            .iter()
            .map(|(key, field)| ((*key).to_owned(), value(field)));
        let whole = CstInputValue::Object(whole.collect());
        match last(&object, path.name) {
            Some(null) => null.set_value(whole),
            None => drop(object.append(path.name, whole)),
        }
        Ok(())
    }

    pub(crate) fn clear(&mut self, path: EntryPath<'_>) -> Result<(), DocumentError> {
        if let Some(entry) = self.entry(path)? {
            for property in entry.properties() {
                property.remove();
            }
        }
        Ok(())
    }

    pub(crate) fn names(&self, servers: &[&str]) -> Result<Vec<String>, DocumentError> {
        let Some(table) = self.servers(servers)? else {
            return Ok(Vec::new());
        };
        let mut names: Vec<String> = Vec::new();
        for name in table
            .properties()
            .iter()
            .filter_map(CstObjectProp::decoded_name)
        {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn servers(&self, servers: &[&str]) -> Result<Option<CstObject>, DocumentError> {
        let path = EntryPath { servers, name: "" };
        let Some(mut object) = self.top()? else {
            return Ok(None);
        };
        for (depth, key) in servers.iter().copied().enumerate() {
            match below(&object, key, || path.words(depth + 1))? {
                Some(found) => object = found,
                None => return Ok(None),
            }
        }
        Ok(Some(object))
    }

    pub(crate) fn remove(&mut self, path: EntryPath<'_>) -> Result<(), DocumentError> {
        let Some(table) = self.servers(path.servers)? else {
            return Ok(());
        };
        // All of that name, or an earlier one would count from now on.
        while let Some(property) = last(&table, path.name) {
            property.remove();
        }
        let (Some(top), [key]) = (self.top()?, path.servers) else {
            return Ok(());
        };
        if is_bare(&table)
            && let Some(property) = last(&top, key)
        {
            property.remove();
        }
        Ok(())
    }

    /// Whether nothing is in it, and nothing around it.
    pub(crate) fn is_empty(&self) -> bool {
        let context = self.root.children();
        let nothing = match self.root.value() {
            None => true,
            Some(value) => value.as_object().is_some_and(|top| is_bare(&top)),
        };
        nothing && !context.iter().any(CstNode::is_comment)
    }

    pub(crate) fn text(&self) -> String {
        let mut text = self.root.to_string();
        if self.was_empty && !text.ends_with('\n') {
            text.push('\n');
        }
        if self.mark {
            text.insert(0, BOM);
        }
        text
    }
}

/// Whether a table holds neither values nor comments.
fn is_bare(table: &CstObject) -> bool {
    table.properties().is_empty() && !table.children().iter().any(CstNode::is_comment)
}

/// Where the first comment outside of the value is: the parser looks for them inside only.
fn comment(root: &CstRootNode) -> Option<usize> {
    let mut at = 0;
    for child in root.children() {
        if child.is_comment() {
            return Some(at);
        }
        at += child.to_string().len();
    }
    None
}

fn update(
    entry: &CstObject,
    path: EntryPath<'_>,
    fields: &[(&str, Field)],
) -> Result<(), DocumentError> {
    for (key, wanted) in fields {
        let Some(property) = last(entry, key) else {
            entry.append(key, value(wanted));
            continue;
        };
        if field(&property) == *wanted {
            continue;
        }
        match (wanted, property.object_value()) {
            (Field::Table(wanted), Some(table)) => {
                for (name, wanted) in wanted {
                    match last(&table, name) {
                        Some(one) if text(&one).as_ref() == Some(wanted) => {}
                        Some(one) => one.set_value(wanted.as_str().into()),
                        None => drop(table.append(name, wanted.as_str().into())),
                    }
                }
            }
            (Field::Table(_), None) if !is_null(&property) => {
                return Err(DocumentError::WrongShape {
                    at: format!("{}.{key}", path.words(path.servers.len() + 1)),
                });
            }
            _ => property.set_value(value(wanted)),
        }
    }
    Ok(())
}

/// The table of this key; `None` when nothing is there.
fn below(
    object: &CstObject,
    key: &str,
    words: impl Fn() -> String,
) -> Result<Option<CstObject>, DocumentError> {
    match last(object, key) {
        None => Ok(None),
        Some(property) if is_null(&property) => Ok(None),
        Some(property) => property
            .object_value()
            .map(Some)
            .ok_or_else(|| DocumentError::WrongShape { at: words() }),
    }
}

/// Where a key is there twice, every reader takes the last one.
fn last(object: &CstObject, key: &str) -> Option<CstObjectProp> {
    let properties = object.properties();
    let mut matching = properties
        .into_iter()
        .filter(|property| property.decoded_name().as_deref() == Some(key));
    matching.next_back()
}

fn is_null(property: &CstObjectProp) -> bool {
    property
        .value()
        .is_some_and(|value| value.as_null_keyword().is_some())
}

fn text(property: &CstObjectProp) -> Option<String> {
    property.value()?.as_string_lit()?.decoded_value().ok()
}

fn field(property: &CstObjectProp) -> Field {
    let read = property.value().and_then(|value| {
        if let Some(text) = value.as_string_lit() {
            return text.decoded_value().ok().map(Field::Text);
        }
        if let Some(switch) = value.as_boolean_lit() {
            return Some(Field::Switch(switch.value()));
        }
        if let Some(list) = value.as_array() {
            let texts = list.elements().into_iter().map(|item: CstNode| {
                item.as_string_lit()
                    .and_then(|text| text.decoded_value().ok())
            });
            return texts.collect::<Option<_>>().map(Field::List);
        }
        let table = value.as_object()?.properties();
        let pairs = table
            .iter()
            .map(|one| Some((one.decoded_name()?, text(one)?)));
        let pairs: Option<BTreeMap<_, _>> = pairs.collect();
        pairs.map(Field::Table)
    });
    read.unwrap_or(Field::Other)
}

fn value(field: &Field) -> CstInputValue {
    match field {
        Field::Text(text) => text.as_str().into(),
        Field::Switch(on) => (*on).into(),
        Field::List(list) => {
            CstInputValue::Array(list.iter().map(|item| item.as_str().into()).collect())
        }
        Field::Table(table) => {
            let pairs = table
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().into()));
            CstInputValue::Object(pairs.collect())
        }
        Field::Other => CstInputValue::Null,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{hash_map, vec};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const PATH: EntryPath<'static> = EntryPath {
        servers: &["mcpServers"],
        name: "pyro",
    };

    fn entry() -> Vec<(&'static str, Field)> {
        vec![
            ("command", Field::Text("pyro".into())),
            ("args", Field::List(vec!["mcp".into(), "serve".into()])),
        ]
    }

    fn after(
        text: &str,
        format: Format,
        fields: &[(&str, Field)],
    ) -> Result<String, DocumentError> {
        let mut json = Json::parse(text, format)?;
        json.set(PATH, fields)?;
        // What was written is what is read.
        let again = Json::parse(&json.text(), format)?;
        let read = again.fields(PATH)?.unwrap();
        for (key, field) in fields {
            match (field, &read[*key]) {
                (Field::Table(wanted), Field::Table(read)) => {
                    assert!(wanted.iter().all(|(name, value)| read[name] == *value));
                }
                (wanted, read) => assert_eq!(wanted, read),
            }
        }
        Ok(json.text())
    }

    #[test]
    fn an_empty_file_gets_a_document() {
        let whole = "{\n  \"mcpServers\": {\n    \"pyro\": {\n      \"command\": \"pyro\",\n      \
                     \"args\": [\"mcp\", \"serve\"]\n    }\n  }\n}\n";
        for empty in ["", " \n"] {
            assert_eq!(
                after(empty, Format::Json, &entry()).unwrap().trim_start(),
                whole
            );
        }
        assert_eq!(after("{}\n", Format::Json, &entry()).unwrap(), whole);
        let nothing = after("{\"mcpServers\": null}\n", Format::Json, &entry()).unwrap();
        assert!(!nothing.contains("null"), "{nothing}");
    }

    #[test]
    fn comments_order_and_style_stay() {
        let text = "// mine\n{\n\t\"zeta\": 1, // last letter first\n\t\"mcpServers\": {\n\t\t/* two \
                    words */ \"other\": { \"command\": \"x\" },\n\t},\n\t\"alpha\": [ 1,2 ],\n}\n";
        let changed = after(text, Format::Jsonc, &entry()).unwrap();
        let added = "\t\t\"pyro\": {\n\t\t\t\"command\": \"pyro\",\n\t\t\t\"args\": [\"mcp\", \
                     \"serve\"],\n\t\t},\n";
        assert!(changed.contains(added), "{changed}");
        assert_eq!(changed.replace(added, ""), text);
    }

    #[test]
    fn only_what_differs_inside_of_the_entry_changes() {
        let text = "{\n  \"mcpServers\": {\n    \"pyro\": {\n      // why\n      \"args\" : [ \"mcp\", \
                    \"serve\" ],\n      \"command\": \"/old/pyro\",\n      \"timeout\": 9,\n      \
                    \"env\": { \"A\": \"1\" }\n    }\n  }\n}";
        let mut fields = entry();
        fields.push((
            "env",
            Field::Table([("B".to_owned(), "2".to_owned())].into()),
        ));
        let changed = after(text, Format::Jsonc, &fields).unwrap();
        assert!(
            changed.contains("\"args\" : [ \"mcp\", \"serve\" ],\n      \"command\": \"pyro\",")
        );
        assert!(changed.contains("// why") && changed.contains("\"timeout\": 9"));
        assert!(changed.contains("\"A\": \"1\"") && changed.contains("\"B\": \"2\""));
        assert_eq!(after(&changed, Format::Jsonc, &fields).unwrap(), changed);
    }

    fn without(text: &str, format: Format) -> Json {
        let mut json = Json::parse(text, format).unwrap();
        json.remove(PATH).unwrap();
        assert_eq!(json.fields(PATH), Ok(None));
        json
    }

    #[test]
    fn what_was_added_goes_and_leaves_nothing() {
        for text in [
            "{\n  \"a\": 1\n}\n",
            "{\n  \"mcpServers\": {\n    \"b\": {}\n  }\n}",
            "// mine\n{\n\t\"zeta\": 1, // last\n\t\"mcpServers\": {\n\t\t/* two */ \"other\": { \"command\": \
             \"x\" },\n\t},\n\t\"alpha\": [ 1,2 ],\n}\n",
            "\u{feff}{\r\n  \"a\": 1\r\n}\r\n",
        ] {
            let added = after(text, Format::Jsonc, &entry()).unwrap();
            let json = without(&added, Format::Jsonc);
            assert_eq!(json.text(), text);
            assert!(!json.is_empty());
        }
        for nothing in ["", "{}", "{\"mcpServers\": {}}", "{\n}\n"] {
            let added = after(nothing, Format::Json, &entry()).unwrap();
            let json = without(&added, Format::Json);
            assert!(json.is_empty(), "{}", json.text());
        }
    }

    #[test]
    fn an_entry_goes_with_all_of_its_name_and_comments_stay() {
        let text = "{\n  \"mcpServers\": {\n    // first\n    \"pyro\": { \"command\": \"x\" },\n    \
                    // second\n    \"b\": {}, // beside\n    \"pyro\": {}\n  }\n}\n";
        let left = without(text, Format::Jsonc).text();
        for stays in ["// first", "// second", "\"b\": {}", "// beside"] {
            assert!(left.contains(stays), "{left}");
        }
        assert!(!left.contains("pyro"), "{left}");
        let text =
            "{\n  // servers\n  \"mcpServers\": {\n    \"pyro\": {}\n    // none yet\n  }\n}\n";
        let json = without(text, Format::Jsonc);
        assert!(json.text().contains("// none yet"), "{}", json.text());
        assert!(!json.is_empty());
    }

    #[test]
    fn line_ends_and_the_mark_of_an_editor_stay() {
        let changed = after("\u{feff}{\r\n  \"a\": 1\r\n}\r\n", Format::Json, &entry()).unwrap();
        assert!(changed.starts_with('\u{feff}'));
        assert_eq!(
            changed.matches('\n').count(),
            changed.matches("\r\n").count()
        );
    }

    #[test]
    fn a_cleared_entry_holds_nothing_old() {
        let text = r#"{"mcpServers": {"pyro": {"url": "https://example.com"}, "b": {}}}"#;
        let mut json = Json::parse(text, Format::Json).unwrap();
        json.clear(PATH).unwrap();
        json.set(PATH, &entry()).unwrap();
        assert!(!json.text().contains("url") && json.text().contains("\"b\": {}"));
    }

    #[test]
    fn what_is_broken_is_refused_with_its_place() {
        for (text, format, line, column) in [
            ("{\n  \"a\": 1,\n}", Format::Json, 2, 9),
            ("// no\n{}", Format::Json, 1, 1),
            ("{\n  \"a\": }", Format::Jsonc, 2, 8),
            ("{ \"mcpServers\": {", Format::Jsonc, 1, 17),
            ("{} {}", Format::Jsonc, 1, 4),
        ] {
            match Json::parse(text, format).err() {
                Some(DocumentError::Broken {
                    line: l, column: c, ..
                }) => {
                    assert_eq!((l, c), (line, column), "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_has_another_shape_is_refused() {
        for (text, at) in [
            ("[]", "the whole document"),
            (r#"{"mcpServers": []}"#, "mcpServers"),
            (r#"{"mcpServers": {"pyro": true}}"#, "mcpServers.pyro"),
        ] {
            let refused = after(text, Format::Json, &entry());
            assert_eq!(
                refused,
                Err(DocumentError::WrongShape { at: at.into() }),
                "{text}"
            );
        }
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                hash_map(".*", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        let keys = prop_oneof![Just("mcpServers".to_owned()), ".*"];
        hash_map(keys, value, 0..5).prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn whatever_else_is_there_stays(document in documents(), pretty: bool) {
            let text = match pretty {
                true => serde_json::to_string_pretty(&document).unwrap(),
                false => document.to_string(),
            };
            let mut json = Json::parse(&text, Format::Json).unwrap();
            let set = json.set(PATH, &entry());
            let mut after: Value = serde_json::from_str(&json.text()).unwrap();
            let servers = &document["mcpServers"];
            let room = servers.is_object() || servers.is_null();
            if !room {
                prop_assert!(set.is_err());
                prop_assert_eq!(after, document);
                return Ok(());
            }
            set.unwrap();
            let pyro = after["mcpServers"].as_object_mut().unwrap().remove("pyro");
            prop_assert_eq!(pyro, Some(json!({ "command": "pyro", "args": ["mcp", "serve"] })));
            let mut document = document;
            if !document["mcpServers"].is_object() {
                document["mcpServers"] = json!({});
            }
            prop_assert_eq!(after, document);
        }

        #[test]
        fn whatever_else_is_there_stays_when_an_entry_goes(document in documents()) {
            prop_assume!(document["mcpServers"].is_object());
            let before = {
                let mut before = document.clone();
                before["mcpServers"].as_object_mut().unwrap().remove("pyro");
                if before["mcpServers"] == json!({}) {
                    before.as_object_mut().unwrap().remove("mcpServers");
                }
                before
            };
            let mut json = Json::parse(&document.to_string(), Format::Json).unwrap();
            prop_assume!(json.set(PATH, &entry()).is_ok());
            json.remove(PATH).unwrap();
            let left: Value = serde_json::from_str(&json.text()).unwrap();
            prop_assert_eq!(left, before);
        }

        #[test]
        fn nothing_that_is_written_breaks_the_reader(text in ".*", lenient: bool) {
            let format = if lenient { Format::Jsonc } else { Format::Json };
            if let Ok(mut json) = Json::parse(&text, format) {
                let _ = json.set(PATH, &entry());
                let _ = json.text();
            }
        }
    }
}
