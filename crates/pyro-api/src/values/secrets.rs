//! Secrets as they are given at create. No error here repeats what was given, as it may be a value.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches};
use serde::de::{self, Deserialize, Deserializer};
use serde_json::Value;
use zeroize::Zeroizing;

use super::inline_schema::inline_schema;
use super::secret_env::{NAME_PATTERN, NAME_RULE, is_name};
use crate::Error;

/// The longest value, in bytes.
pub const MAX_SECRET_BYTES: usize = 65_536;

/// How many secrets a workspace may have.
pub const MAX_SECRETS: usize = 64;

const LITERAL: &str = "secret";
const FILE: &str = "secret-file";
const FORM: &str = "On the command line `--secret NAME=VALUE` or `--secret-file NAME=PATH`; elsewhere \
                    `secrets` is a list of {\"name\", \"value\"} or {\"name\", \"file_path\"}";

/// The secrets of a new workspace. On the command line `--secret NAME=VALUE` and
/// `--secret-file NAME=PATH`, once for each; in JSON a list of objects.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Vec<SecretInput>);

/// One of them. What its name may be is not checked yet.
#[derive(Clone, Debug)]
pub struct SecretInput {
    pub name: String,
    pub source: SecretSource,
}

#[derive(Clone, Debug)]
pub enum SecretSource {
    Literal(SecretText),
    /// A file of the host; `-` is the caller's standard input.
    File(PathBuf),
}

/// A value that debug output does not show, and that is overwritten when it is dropped.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretText {
    fn from(value: String) -> Self {
        Self(Zeroizing::new(value))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("SecretText(..)")
    }
}

impl Secrets {
    /// Of what somebody else has read.
    pub fn of(inputs: Vec<SecretInput>) -> Self {
        Self(inputs)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &SecretInput> {
        self.0.iter()
    }

    /// Refuses what can be known to be wrong without reading a file.
    pub fn check(&self) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        let mut inputs = 0;
        for SecretInput { name, source } in &self.0 {
            if !is_name(name) {
                let which = match source {
                    SecretSource::Literal(_) => "The name of a secret is not valid",
                    SecretSource::File(_) => "The name of a secret from a file is not valid",
                };
                return Err(Error::invalid(which).because(NAME_RULE).hint(FORM));
            }
            if !names.insert(name) {
                return Err(Error::invalid(format!(
                    "The secret `{name}` is given twice"
                )));
            }
            match source {
                SecretSource::Literal(value) => check_length(name, value.as_str().len())?,
                SecretSource::File(path) if path.as_os_str().is_empty() => {
                    return Err(
                        Error::invalid(format!("The secret `{name}` has no file path")).hint(FORM),
                    );
                }
                SecretSource::File(path) => inputs += usize::from(path.as_os_str() == "-"),
            }
        }
        if inputs > 1 {
            return Err(
                Error::invalid("Only one secret can be read from standard input")
                    .hint("Read the other from a file"),
            );
        }
        if names.len() > MAX_SECRETS {
            return Err(Error::invalid(format!(
                "A workspace can have {MAX_SECRETS} secrets, not {}",
                names.len()
            )));
        }
        Ok(())
    }
}

/// The rule on the length of a value, wherever it came from.
pub fn check_length(name: &str, length: usize) -> Result<(), Error> {
    match length {
        0 => Err(Error::invalid(format!("The secret `{name}` is empty"))),
        1..=MAX_SECRET_BYTES => Ok(()),
        _ => Err(Error::invalid(format!(
            "The secret `{name}` has more than {MAX_SECRET_BYTES} bytes"
        ))
        .hint(
            "Copy larger files in with `pyro workspace sync push` (`workspace_sync_push`), which \
             does not keep them secret",
        )),
    }
}

impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // Read by hand: the derived errors repeat what they do not like.
        let items = match Value::deserialize(from)? {
            Value::Null => Vec::new(),
            Value::Array(items) => items,
            _ => return Err(de::Error::custom(format!("secrets are not a list. {FORM}"))),
        };
        let secrets = items.into_iter().map(|item| {
            given(item).ok_or_else(|| {
                de::Error::custom(
                    "secrets must be objects with a `name` and either a `value` or a `file_path`, \
                     all of them text",
                )
            })
        });
        secrets.collect::<Result<_, _>>().map(Self)
    }
}

fn given(item: Value) -> Option<SecretInput> {
    let Value::Object(mut item) = item else {
        return None;
    };
    let mut text = |key: &str| match item.remove(key) {
        Some(Value::String(text)) => Some(Some(text)),
        None | Some(Value::Null) => Some(None),
        Some(_) => None,
    };
    let (name, value, path) = (text("name")??, text("value")?, text("file_path")?);
    let source = match (value, path) {
        (Some(value), None) => SecretSource::Literal(value.into()),
        (None, Some(path)) => SecretSource::File(path.into()),
        _ => return None,
    };
    item.is_empty().then_some(SecretInput {
        name: name.trim().to_owned(),
        source,
    })
}

inline_schema!(Secrets, {
    "type": "array",
    "default": [],
    "maxItems": MAX_SECRETS,
    // A surface that refuses such a value does not repeat it.
    "writeOnly": true,
    "items": {
        "type": "object",
        "properties": {
            "name": { "type": "string", "pattern": NAME_PATTERN },
            "value": { "type": "string", "minLength": 1 },
            "file_path": {
                "type": "string",
                "description": "A file of this host, in place of `value`",
            },
        },
        "required": ["name"],
        "additionalProperties": false,
    },
});

impl clap::Args for Secrets {
    fn augment_args(command: clap::Command) -> clap::Command {
        command
            .arg(
                Arg::new(LITERAL)
                    .long(LITERAL)
                    .value_name("NAME=VALUE")
                    .help(
                        "A secret. Other users of this host may see it in the process list; \
                         `--secret-file` avoids that. May be repeated",
                    )
                    .action(ArgAction::Append),
            )
            .arg(
                Arg::new(FILE)
                    .long(FILE)
                    .value_name("NAME=PATH")
                    .help(
                        "A secret from a file of this host, or from standard input if PATH is `-`. \
                         May be repeated",
                    )
                    .action(ArgAction::Append),
            )
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Secrets {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        // Without `=` the whole may be a value, and so is no name. See `check`.
        let pair = |text: &String| {
            let (name, value) = text.split_once('=').unwrap_or(("", text));
            (name.trim().to_owned(), value.to_owned())
        };
        let given = |flag| {
            matches
                .get_many::<String>(flag)
                .unwrap_or_default()
                .map(pair)
        };
        let literals = given(LITERAL).map(|(name, value)| SecretInput {
            name,
            source: SecretSource::Literal(value.into()),
        });
        let files = given(FILE).map(|(name, path)| SecretInput {
            name,
            source: SecretSource::File(path.trim().into()),
        });
        Ok(Self(literals.chain(files).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};
    use serde_json::json;

    use super::*;

    fn typed(words: &[&str]) -> Secrets {
        let command = Secrets::augment_args(clap::Command::new("x").no_binary_name(true));
        let matches = command.try_get_matches_from(words).unwrap();
        Secrets::from_arg_matches(&matches).unwrap()
    }

    fn in_words(secrets: &Secrets) -> Vec<String> {
        let words = |given: &SecretInput| match &given.source {
            SecretSource::Literal(value) => format!("{} is {}", given.name, value.as_str()),
            SecretSource::File(path) => format!("{} from {}", given.name, path.display()),
        };
        secrets.iter().map(words).collect()
    }

    #[test]
    fn both_forms_say_the_same() {
        let typed = typed(&[
            "--secret",
            " A = x=y ",
            "--secret-file",
            "B= /key",
            "--secret-file",
            "C=-",
        ]);
        let told: Secrets = serde_json::from_value(json!([
            { "name": "A", "value": " x=y " },
            { "name": "B", "file_path": "/key" },
            { "name": "C", "file_path": "-", "value": null },
        ]))
        .unwrap();
        typed.check().unwrap();
        told.check().unwrap();
        assert_eq!(in_words(&typed), in_words(&told));
        assert_eq!(in_words(&typed), ["A is  x=y ", "B from /key", "C from -"]);
        assert!(!format!("{told:?}").contains("x=y"));
    }

    #[test]
    fn what_is_refused_is_not_repeated() {
        for words in [
            &["--secret", "hunter-2"][..],
            &["--secret", "=hunter-2"],
            &["--secret", "hunter-2=hunter-2"],
            &["--secret", "A=hunter-2", "--secret-file", "A=hunter-2"],
            &["--secret", "A="],
            &["--secret-file", "hunter-2"],
            &["--secret-file", "A="],
            &["--secret-file", "A=-", "--secret-file", "B=-"],
        ] {
            let error = typed(words).check().unwrap_err();
            assert!(!error.in_words().contains("hunter-2"), "{error:?}");
        }
        let long = format!("A={}", "x".repeat(MAX_SECRET_BYTES + 1));
        assert!(typed(&["--secret", &long]).check().is_err());
        assert!(
            typed(&["--secret", &long[..long.len() - 1]])
                .check()
                .is_ok()
        );
        for bad in [
            json!("hunter-2"),
            json!(["hunter-2"]),
            json!([{ "A": "hunter-2" }]),
            json!([{ "name": "A" }]),
            json!([{ "name": "A", "value": 8128 }]),
            json!([{ "name": "A", "value": "hunter-2", "file_path": "hunter-2" }]),
            json!([{ "name": "A", "value": "x", "hunter-2": "y" }]),
        ] {
            let told = serde_json::from_value::<Secrets>(bad.clone()).unwrap_err();
            assert!(!told.to_string().contains("hunter-2"), "{told}");
            assert!(!told.to_string().contains("8128"), "{told}");
        }
    }
}
