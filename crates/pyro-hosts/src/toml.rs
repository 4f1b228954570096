//! TOML, as Codex has it.

use std::collections::BTreeMap;

use toml_edit::{Array, Decor, DocumentMut, InlineTable, Item, RawString, Table, TableLike, Value};

use crate::document_error::{DocumentError, position};
use crate::entry::{Field, Fields};
use crate::entry_path::EntryPath;

pub(crate) struct Toml {
    document: DocumentMut,
    /// Line ends are those of another system.
    carriage_returns: bool,
}

impl Toml {
    pub(crate) fn parse(text: &str) -> Result<Self, DocumentError> {
        let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
            let at = error.span().map_or(0, |span| span.start);
            let (line, column) = position(text.as_bytes(), at);
            DocumentError::Broken {
                line,
                column,
                why: error.message().trim().replace('\n', "; "),
            }
        })?;
        let carriage_returns = text.contains("\r\n");
        Ok(Self {
            document,
            carriage_returns,
        })
    }

    pub(crate) fn fields(&self, path: EntryPath<'_>) -> Result<Option<Fields>, DocumentError> {
        let mut table: &dyn TableLike = self.document.as_table();
        for (depth, key) in path.servers.iter().copied().chain([path.name]).enumerate() {
            let Some(item) = table.get(key) else {
                return Ok(None);
            };
            table = item
                .as_table_like()
                .ok_or_else(|| DocumentError::WrongShape {
                    at: path.words(depth + 1),
                })?;
        }
        let fields = table
            .iter()
            .map(|(key, item)| (key.to_owned(), field(item)));
        Ok(Some(fields.collect()))
    }

    pub(crate) fn set(
        &mut self,
        path: EntryPath<'_>,
        fields: &[(&str, Field)],
    ) -> Result<(), DocumentError> {
        if self.fields(path)?.is_none() {
            self.make(path)?;
        }
        let entry = self.entry(path)?;
        for (key, wanted) in fields {
            let Some(item) = entry.get_mut(key) else {
                entry.insert(key, Item::Value(value(wanted)));
                continue;
            };
            if field(item) == *wanted {
                continue;
            }
            match wanted {
                Field::Table(wanted) => {
                    let table =
                        item.as_table_like_mut()
                            .ok_or_else(|| DocumentError::WrongShape {
                                at: format!("{}.{key}", path.words(path.servers.len() + 1)),
                            })?;
                    for (name, wanted) in wanted {
                        put(table, name, &Field::Text(wanted.clone()));
                    }
                }
                other => put(entry, key, other),
            }
        }
        Ok(())
    }

    pub(crate) fn clear(&mut self, path: EntryPath<'_>) -> Result<(), DocumentError> {
        if self.fields(path)?.is_some() {
            self.entry(path)?.clear();
        }
        Ok(())
    }

    pub(crate) fn names(&self, servers: &[&str]) -> Result<Vec<String>, DocumentError> {
        let path = EntryPath { servers, name: "" };
        let mut table: &dyn TableLike = self.document.as_table();
        for (depth, key) in servers.iter().copied().enumerate() {
            let Some(item) = table.get(key) else {
                return Ok(Vec::new());
            };
            table = item
                .as_table_like()
                .ok_or_else(|| DocumentError::WrongShape {
                    at: path.words(depth + 1),
                })?;
        }
        Ok(table.iter().map(|(name, _)| name.to_owned()).collect())
    }

    pub(crate) fn remove(&mut self, path: EntryPath<'_>) -> Result<(), DocumentError> {
        if self.fields(path)?.is_none() {
            return Ok(());
        }
        let mut table: &mut dyn TableLike = self.document.as_table_mut();
        for (depth, key) in path.servers.iter().copied().enumerate() {
            let below = table.get_mut(key).and_then(Item::as_table_like_mut);
            table = below.ok_or_else(|| DocumentError::WrongShape {
                at: path.words(depth + 1),
            })?;
        }
        let key = table.key(path.name).map(|key| key.leaf_decor().clone());
        let next = {
            let mut behind = table.iter().skip_while(|(name, _)| *name != path.name);
            behind.nth(1).map(|(name, _)| name.to_owned())
        };
        // What stands above it may be about anything, and stays.
        let gone = match table.remove(path.name) {
            Some(Item::Table(gone)) if !gone.is_dotted() => gone,
            _ => {
                let above = text_of(key.as_ref().and_then(Decor::prefix));
                if !above.contains('#') {
                    return Ok(());
                }
                if let Some(mut next) = next.and_then(|next| table.key_mut(&next)) {
                    let own = text_of(next.leaf_decor().prefix());
                    next.leaf_decor_mut().set_prefix(format!("{above}{own}"));
                    return Ok(());
                }
                self.put_last(&above);
                return Ok(());
            }
        };
        // The line ends of another system come back with the whole text.
        let above = text_of(gone.decor().prefix()).replace("\r\n", "\n");
        let config_file = gone.position();
        // One empty line was there for the entry.
        let above = match above.strip_suffix('\n') {
            Some(less) if less.is_empty() || less.ends_with('\n') => less.to_owned(),
            _ => above,
        };
        if above.is_empty() {
            return Ok(());
        }
        let document = self.document.as_table_mut();
        let next = config_file.and_then(|config_file| next_head(document, config_file));
        let given = next.is_some_and(|next| put_above(document, next, &above));
        if !given {
            self.put_last(&above);
        }
        Ok(())
    }

    fn put_last(&mut self, text: &str) {
        let own = self.document.trailing().as_str().unwrap_or_default();
        let all = format!("{text}{own}");
        self.document.set_trailing(all);
    }

    /// An entry that is known to be there.
    fn entry(&mut self, path: EntryPath<'_>) -> Result<&mut dyn TableLike, DocumentError> {
        let mut table: &mut dyn TableLike = self.document.as_table_mut();
        for (depth, key) in path.servers.iter().copied().chain([path.name]).enumerate() {
            let below = table.get_mut(key).and_then(Item::as_table_like_mut);
            table = below.ok_or_else(|| DocumentError::WrongShape {
                at: path.words(depth + 1),
            })?;
        }
        Ok(table)
    }

    fn make(&mut self, path: EntryPath<'_>) -> Result<(), DocumentError> {
        let empty = self.document.as_table().is_empty();
        // Comments at the end of a file belong before what is written after them.
        let before = self
            .document
            .trailing()
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let first = path.servers.first().copied().unwrap_or_default();
        let last = self.document.iter().last().map(|(key, _)| key.to_owned());
        // A table that is made now comes last.
        let at_the_end = last.as_deref() == Some(first) || !self.document.contains_key(first);
        let mut inline = false;
        let mut table: &mut dyn TableLike = self.document.as_table_mut();
        for (depth, key) in path.servers.iter().copied().enumerate() {
            let item = table.entry(key).or_insert_with(|| {
                let mut made = Table::new();
                made.set_implicit(true);
                Item::Table(made)
            });
            inline = item.is_inline_table();
            table = item
                .as_table_like_mut()
                .ok_or_else(|| DocumentError::WrongShape {
                    at: path.words(depth + 1),
                })?;
        }
        if inline {
            table.insert(
                path.name,
                Item::Value(Value::InlineTable(InlineTable::new())),
            );
            return Ok(());
        }
        let mut made = Table::new();
        let comments = whole_lines(&before, at_the_end);
        let gap = if empty && before.is_empty() { "" } else { "\n" };
        made.decor_mut().set_prefix(format!("{comments}{gap}"));
        table.insert(path.name, Item::Table(made));
        if at_the_end {
            self.document.set_trailing("");
        }
        Ok(())
    }

    pub(crate) fn text(&self) -> String {
        let text = self.document.to_string();
        match self.carriage_returns {
            true => text.replace("\r\n", "\n").replace('\n', "\r\n"),
            false => text,
        }
    }
}

/// What stands before something.
fn text_of(decor: Option<&RawString>) -> String {
    decor
        .and_then(RawString::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// Where the head of a table comes next behind a place in the document.
fn next_head(table: &Table, config_file: isize) -> Option<isize> {
    let heads = table.iter().flat_map(|(_, item)| match item {
        Item::Table(below) => vec![head(below), next_head(below, config_file)],
        Item::ArrayOfTables(several) => several
            .iter()
            .flat_map(|below| [head(below), next_head(below, config_file)])
            .collect(),
        _ => Vec::new(),
    });
    heads.flatten().filter(|at| *at > config_file).min()
}

/// Where the head of a table is, if it has one.
fn head(table: &Table) -> Option<isize> {
    let shown = !table.is_implicit() && !table.is_dotted();
    table.position().filter(|_| shown)
}

/// Puts a text above the head at this place; says whether it is there.
fn put_above(table: &mut Table, config_file: isize, text: &str) -> bool {
    if head(table) == Some(config_file) {
        let own = text_of(table.decor().prefix());
        table.decor_mut().set_prefix(format!("{text}{own}"));
        return true;
    }
    table.iter_mut().any(|(_, item)| match item {
        Item::Table(below) => put_above(below, config_file, text),
        Item::ArrayOfTables(several) => several
            .iter_mut()
            .any(|below| put_above(below, config_file, text)),
        _ => false,
    })
}

/// The comments to put before a table that comes last, as whole lines.
fn whole_lines(before: &str, at_the_end: bool) -> String {
    match at_the_end {
        true if !before.is_empty() && !before.ends_with('\n') => format!("{before}\n"),
        true => before.to_owned(),
        false => String::new(),
    }
}

/// Sets a value and keeps the comment that stands beside it.
fn put(table: &mut dyn TableLike, key: &str, wanted: &Field) {
    let mut new = value(wanted);
    match table.get_mut(key) {
        Some(item) if field(item) == *wanted => {}
        Some(item) => {
            if let Some(old) = item.as_value() {
                *new.decor_mut() = old.decor().clone();
            }
            *item = Item::Value(new);
        }
        None => drop(table.insert(key, Item::Value(new))),
    }
}

fn field(item: &Item) -> Field {
    let read = match item {
        Item::Value(Value::String(text)) => Some(Field::Text(text.value().clone())),
        Item::Value(Value::Boolean(switch)) => Some(Field::Switch(*switch.value())),
        Item::Value(Value::Array(list)) => {
            let texts = list.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map(Field::List)
        }
        other => other.as_table_like().and_then(|table| {
            let pairs = table
                .iter()
                .map(|(key, item)| Some((key.to_owned(), item.as_str()?.to_owned())));
            pairs.collect::<Option<BTreeMap<_, _>>>().map(Field::Table)
        }),
    };
    read.unwrap_or(Field::Other)
}

fn value(field: &Field) -> Value {
    match field {
        Field::Text(text) => text.as_str().into(),
        Field::Switch(on) => (*on).into(),
        Field::List(list) => Value::Array(list.iter().map(String::as_str).collect::<Array>()),
        Field::Table(table) => {
            let pairs = table
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()));
            Value::InlineTable(pairs.collect())
        }
        // TOML has no word for nothing, and this is never asked for.
        Field::Other => "".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: EntryPath<'static> = EntryPath {
        servers: &["mcp_servers"],
        name: "pyro",
    };

    const ADDED: &str = "[mcp_servers.pyro]\ncommand = \"pyro\"\nargs = [\"mcp\", \"serve\"]\n";

    fn entry() -> Vec<(&'static str, Field)> {
        vec![
            ("command", Field::Text("pyro".into())),
            ("args", Field::List(vec!["mcp".into(), "serve".into()])),
        ]
    }

    fn after(text: &str, fields: &[(&str, Field)]) -> Result<String, DocumentError> {
        let mut toml = Toml::parse(text)?;
        toml.set(PATH, fields)?;
        let again = Toml::parse(&toml.text())?;
        let read = again.fields(PATH)?.unwrap();
        assert_eq!(read["command"], Field::Text("pyro".into()));
        Ok(toml.text())
    }

    #[test]
    fn an_empty_file_gets_the_table() {
        assert_eq!(after("", &entry()).unwrap(), ADDED);
    }

    #[test]
    fn everything_else_stays() {
        for text in [
            "model = \"x\" # mine\n",
            "# top\nmodel = 'x'\n\n[mcp_servers.other]\ncommand = \"y\"\n\n# the end\n",
            "model = \"x\"\n[projects.\"/a b\"]\ntrust_level = \"trusted\"\n# [commented]\n# out = 1\n",
        ] {
            let changed = after(text, &entry()).unwrap();
            assert_eq!(changed, format!("{text}\n{ADDED}"));
        }
    }

    #[test]
    fn tables_that_follow_stay_behind() {
        let text = "[mcp_servers.other]\ncommand = \"y\"\n\n[tui]\ntheme = 1\n\n# the end\n";
        let changed = after(text, &entry()).unwrap();
        assert_eq!(
            changed.replace(&format!("\n{ADDED}"), ""),
            text,
            "{changed}"
        );
    }

    #[test]
    fn only_what_differs_inside_of_the_entry_changes() {
        let text = "[mcp_servers]\n[mcp_servers.pyro]\n# why\ncommand = \"/old/pyro\" # moved\n\
                    args = ['mcp', 'serve']\ntool_timeout_sec = 900\n[mcp_servers.pyro.env]\nA = \"1\"\n";
        let mut fields = entry();
        fields.push((
            "env",
            Field::Table([("B".to_owned(), "2".to_owned())].into()),
        ));
        let changed = after(text, &fields).unwrap();
        assert_eq!(
            changed,
            text.replace("/old/pyro", "pyro")
                .replace("A = \"1\"\n", "A = \"1\"\nB = \"2\"\n")
        );
        assert_eq!(after(&changed, &fields).unwrap(), changed);
    }

    #[test]
    fn tables_in_one_line_are_kept_so() {
        let changed = after("mcp_servers = { other = { command = \"y\" } }\n", &entry()).unwrap();
        assert_eq!(changed.lines().count(), 1, "{changed}");
        let changed = after("mcp_servers.pyro = { command = \"y\" }\n", &entry()).unwrap();
        assert_eq!(changed.lines().count(), 1, "{changed}");
    }

    #[test]
    fn dotted_keys_get_a_table_beside_them() {
        for text in [
            "mcp_servers.other.command = \"y\"\n",
            "mcp_servers.pyro.command = \"y\" # why\nmodel = \"x\"\n",
        ] {
            let changed = after(text, &entry()).unwrap();
            let [before, after] = [text, &changed].map(|text| {
                let mut table: toml_edit::DocumentMut = text.parse().unwrap();
                table["mcp_servers"]
                    .as_table_like_mut()
                    .unwrap()
                    .remove("pyro");
                table.to_string()
            });
            assert_eq!(before, after, "{changed}");
        }
    }

    fn without(text: &str) -> String {
        let mut toml = Toml::parse(text).unwrap();
        toml.remove(PATH).unwrap();
        assert_eq!(toml.fields(PATH), Ok(None));
        toml.text()
    }

    #[test]
    fn what_was_added_goes_and_leaves_nothing() {
        for text in [
            "",
            "model = \"x\" # mine\n",
            "# top\nmodel = 'x'\n\n[mcp_servers.other]\ncommand = \"y\"\n\n# the end\n",
            "model = \"x\"\n[projects.\"/a b\"]\ntrust_level = \"trusted\"\n# [commented]\n# out = 1\n",
            "[mcp_servers.other]\ncommand = \"y\"\n\n[tui]\ntheme = 1\n\n# the end\n",
            "mcp_servers = { other = { command = \"y\" } }\n",
            "a = 1\r\n[mcp_servers.other]\r\ncommand = \"y\"\r\n",
            "mcp_servers.other.command = \"y\"\n",
        ] {
            assert_eq!(without(&after(text, &entry()).unwrap()), text);
        }
    }

    #[test]
    fn an_entry_goes_with_all_that_is_in_it_and_nothing_else() {
        for (text, left) in [
            (
                "a = 1\n\n# about servers\n\n[mcp_servers.pyro]\n# inside\ncommand = \"pyro\" # beside\n\
                 [mcp_servers.pyro.env]\nA = \"1\"\n\n# about tui\n[tui]\nb = 2\n[tui.deep]\nc = 3\n# end\n",
                "a = 1\n\n# about servers\n\n# about tui\n[tui]\nb = 2\n[tui.deep]\nc = 3\n# end\n",
            ),
            (
                "[tui]\nb = 2\n# why\n[mcp_servers.pyro]\ncommand = \"pyro\"\n[tui.deep]\nc = 3\n",
                "[tui]\nb = 2\n# why\n[tui.deep]\nc = 3\n",
            ),
            (
                "mcp_servers.pyro.command = \"y\" # why\nmodel = \"x\"\n",
                "model = \"x\"\n",
            ),
            (
                "[mcp_servers]\n# why\npyro = { command = \"y\" }\n# b\nb = { command = \"x\" }\n",
                "[mcp_servers]\n# why\n# b\nb = { command = \"x\" }\n",
            ),
            (
                "[mcp_servers]\n# why\npyro = { command = \"y\" }\n",
                "[mcp_servers]\n# why\n",
            ),
        ] {
            assert_eq!(without(text), left, "{text}");
        }
    }

    #[test]
    fn line_ends_stay() {
        let changed = after("model = \"x\"\r\n", &entry()).unwrap();
        assert_eq!(
            changed.matches('\n').count(),
            changed.matches("\r\n").count()
        );
        assert_eq!(changed.matches('\n').count(), 5);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_place() {
        match Toml::parse("a = 1\nb = = 2\n").err() {
            Some(DocumentError::Broken {
                line: 2, column: 5, ..
            }) => {}
            other => panic!("{other:?}"),
        }
        for (text, at) in [
            ("mcp_servers = 1\n", "mcp_servers"),
            ("[mcp_servers]\npyro = 1\n", "mcp_servers.pyro"),
            ("[[mcp_servers]]\na = 1\n", "mcp_servers"),
        ] {
            let refused = after(text, &entry());
            assert_eq!(
                refused,
                Err(DocumentError::WrongShape { at: at.into() }),
                "{text}"
            );
        }
    }
}
