//! Variables that a command sees beyond the usual ones.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::SecretEnv;
use super::inline_schema::inline_schema;
use super::pairs::{is_name, pairs};
use crate::Error;

const FLAG: &str = "env";

/// The bytes of `NAME=VALUE` that Linux still starts a program with; a zero follows it there.
const LONGEST: usize = 32 * 4096 - 1;

/// How many bytes all of them have together. Linux takes some more, arguments included.
const ALL: usize = 1024 * 1024;

const LONGEST_NAME: usize = 255;

/// Variables for a command: in JSON an object from name to value, on the command line
/// `--env NAME=VALUE`, once for each. The rules are in [`check`](Self::check) and not in the parsers:
/// an error must not repeat what may be a password in the wrong place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<String, String>")]
pub struct EnvVars(Vec<(String, Option<String>)>);

impl EnvVars {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names, each with its value.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or_default()))
    }

    /// Refuses what no variable can be, what is there twice, and what is a secret's, too.
    pub fn check(&self, secrets: &SecretEnv) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        let mut all = 0;
        for (name, value) in &self.0 {
            if !is_name(name, LONGEST_NAME) {
                return Err(Error::invalid("A variable name is not valid")
                    .because(
                        "names consist of letters, digits and `_`, do not begin with a digit, and \
                         have at most 255 characters",
                    )
                    .hint("Give `--env NAME=VALUE` (`env`: {\"NAME\": \"VALUE\"})"));
            }
            let Some(value) = value else {
                return Err(Error::invalid(format!("The variable `{name}` has no value"))
                    .because("variables of this host are not passed on automatically")
                    .hint(format!(
                        "Give `--env {name}=VALUE`, or `--env {name}=\"${name}\"` for the value in \
                         your shell"
                    )));
            };
            if value.contains('\0') {
                return Err(Error::invalid(format!(
                    "The value of the variable `{name}` contains a NUL byte, which is not allowed"
                )));
            }
            let length = name.len() + 1 + value.len();
            all += length + 1;
            if length > LONGEST || all > ALL {
                return Err(Error::invalid(format!(
                    "The variable `{name}` is larger than Linux allows"
                ))
                .because(format!(
                    "the limit is {LONGEST} bytes for one variable and {ALL} for all together"
                ))
                .hint(
                    "Write the text to a file with `pyro workspace file write` \
                     (`workspace_file_write`)",
                ));
            }
            if !names.insert(name.as_str()) {
                return Err(Error::invalid(format!(
                    "The variable `{name}` is given twice"
                )));
            }
            if secrets.pairs().iter().any(|(_, variable)| variable == name) {
                return Err(Error::invalid(format!(
                    "The variable `{name}` is set both to a value and to a secret"
                )));
            }
        }
        Ok(())
    }
}

impl From<BTreeMap<String, String>> for EnvVars {
    fn from(given: BTreeMap<String, String>) -> Self {
        let pair = |(name, value)| (name, Some(value));
        Self(given.into_iter().map(pair).collect())
    }
}

inline_schema!(EnvVars, {
    "type": "object",
    "default": {},
    // A surface that refuses such a value does not repeat it: it may be a password.
    "writeOnly": true,
    "additionalProperties": { "type": "string" },
});

pairs!(
    EnvVars,
    FLAG,
    "NAME=VALUE",
    "An environment variable for the command; may be repeated",
    |text| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
);

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn typed(words: &[&str]) -> EnvVars {
        let command = EnvVars::augment_args(clap::Command::new("x").no_binary_name(true));
        let matches = command.try_get_matches_from(words).unwrap();
        EnvVars::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn both_forms_say_the_same() {
        let typed = typed(&["--env", "A=", "--env", "B= x=y "]);
        let told: EnvVars = serde_json::from_str(r#"{"A": "", "B": " x=y "}"#).unwrap();
        assert_eq!(typed, told);
        typed.check(&SecretEnv::default()).unwrap();
        assert_eq!(
            typed.pairs().collect::<Vec<_>>(),
            [("A", ""), ("B", " x=y ")]
        );
    }

    #[test]
    fn what_is_refused_is_not_repeated() {
        let secrets: SecretEnv = serde_json::from_str(r#"{"KEY": "TOKEN"}"#).unwrap();
        let long = format!("A=hunter-2{}", "x".repeat(LONGEST));
        for (words, what) in [
            (&["--env", "hunter-2"][..], "is not valid"),
            (&["--env", "=hunter-2"], "is not valid"),
            (&["--env", "1A=hunter-2"], "is not valid"),
            (&["--env", "HOME"], "`HOME` has no value"),
            (&["--env", "A=hunter-2\0"], "NUL"),
            (&["--env", "A=1", "--env", "A=hunter-2"], "twice"),
            (&["--env", "TOKEN=hunter-2"], "and to a secret"),
            (&["--env", &long], "larger"),
        ] {
            let error = typed(words).check(&secrets).unwrap_err().in_words();
            assert!(error.contains(what), "{words:?}: {error}");
            assert!(!error.contains("hunter-2"), "{error}");
        }
    }
}
