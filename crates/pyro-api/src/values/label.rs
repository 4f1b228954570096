//! Names and labels that people and agents give to workspaces.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::{Arg, ArgAction, ArgMatches};
use serde::{Deserialize, Serialize};

use super::inline_schema::inline_schema;
use super::invalid_text::{InvalidText, MAX_CHARS};
use super::word::word;

/// The name of a workspace: one line of 1 to 120 characters. Need not be unique.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkspaceName(String);

impl WorkspaceName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WorkspaceName {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        line("workspace name", text).map(Self)
    }
}

impl TryFrom<String> for WorkspaceName {
    type Error = InvalidText;

    fn try_from(text: String) -> Result<Self, InvalidText> {
        text.parse()
    }
}

impl From<WorkspaceName> for String {
    fn from(name: WorkspaceName) -> Self {
        name.0
    }
}

inline_schema!(WorkspaceName, { "type": "string", "minLength": 1, "maxLength": MAX_CHARS });

word! {
    /// The key of a label.
    LabelKey, "label key"
}

/// Labels: in JSON an object, on the command line `--label KEY=VALUE`, once for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<LabelKey, String>")]
pub struct Labels(BTreeMap<LabelKey, String>);

impl Labels {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&LabelKey, &str)> {
        self.0.iter().map(|(key, value)| (key, value.as_str()))
    }

    /// `k=v, k=v`, with the given separator.
    pub fn joined(&self, separator: &str) -> String {
        let pairs: Vec<String> = self
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        pairs.join(separator)
    }

    /// Takes over the other's labels, in place of those of the same keys.
    pub fn set(&mut self, labels: &Self) {
        self.0.extend(labels.0.clone());
    }

    pub fn remove(&mut self, key: &LabelKey) -> bool {
        self.0.remove(key).is_some()
    }
}

impl TryFrom<BTreeMap<LabelKey, String>> for Labels {
    type Error = InvalidText;

    fn try_from(given: BTreeMap<LabelKey, String>) -> Result<Self, InvalidText> {
        given
            .into_iter()
            .map(|(key, value)| Ok((key, line("label value", &value)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

inline_schema!(Labels, {
    "type": "object",
    "additionalProperties": { "type": "string", "minLength": 1, "maxLength": MAX_CHARS },
});

const LABEL: &str = "label";

impl clap::Args for Labels {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.arg(
            Arg::new(LABEL)
                .long(LABEL)
                .value_name("KEY=VALUE")
                .help("A label; may be repeated")
                .value_parser(pair)
                .action(ArgAction::Append),
        )
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Labels {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let pairs = matches.get_many::<(LabelKey, String)>(LABEL);
        Ok(Self(pairs.unwrap_or_default().cloned().collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn pair(text: &str) -> Result<(LabelKey, String), InvalidText> {
    let (key, value) = text.split_once('=').ok_or_else(|| InvalidText::NoValue {
        given: text.to_owned(),
    })?;
    Ok((key.parse()?, line("label value", value)?))
}

/// One line, trimmed, of 1 to 120 characters.
fn line(what: &'static str, text: &str) -> Result<String, InvalidText> {
    let trimmed = text.trim();
    if trimmed.contains(['\r', '\n']) {
        return Err(InvalidText::Lines { what });
    }
    match trimmed.chars().count() {
        1..=MAX_CHARS => Ok(trimmed.to_owned()),
        given => Err(InvalidText::Length { what, given }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_as_an_object_or_as_pairs() {
        let object: Labels = serde_json::from_str(r#"{"b": " two ", "a": "1"}"#).unwrap();
        assert_eq!(object.joined(","), "a=1,b=two");
        assert_eq!(pair("a=b=c").unwrap().1, "b=c");
        assert!(pair("a").is_err());
        for refused in [r#"{"-a": "1"}"#, r#"{"a": " "}"#, r#"{"a": "x\ny"}"#] {
            assert!(
                serde_json::from_str::<Labels>(refused).is_err(),
                "{refused}"
            );
        }
    }

    #[test]
    fn names_are_lines_of_bounded_length() {
        assert_eq!(" fix ".parse::<WorkspaceName>().unwrap().as_str(), "fix");
        assert!("é".repeat(120).parse::<WorkspaceName>().is_ok());
        for refused in ["", "  ", "a\nb", &"é".repeat(121)] {
            assert!(refused.parse::<WorkspaceName>().is_err(), "{refused:?}");
        }
    }
}
