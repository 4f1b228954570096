//! Which secrets a command sees, and by which variables.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::inline_schema::inline_schema;
use super::pairs::{self, pairs};
use crate::Error;

/// What secrets and variables may be called.
pub(super) const NAME_PATTERN: &str = "^[A-Za-z_][A-Za-z0-9_]{0,63}$";

const FLAG: &str = "secret-env";

/// Secrets for a command: in JSON an object from the secret's name to the variable's, on the
/// command line `--secret-env NAME[=VARIABLE]`, once for each. The rules are in
/// [`check`](Self::check) and not in the parsers: who mistakes this for the place of a value must
/// not read it in an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<String, String>")]
pub struct SecretEnv(Vec<(String, String)>);

impl SecretEnv {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names of secrets, each with that of its variable.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// Refuses names that no secret and no variable can have, and what is there twice.
    pub fn check(&self) -> Result<(), Error> {
        let (mut secrets, mut variables) = (BTreeSet::new(), BTreeSet::new());
        for (secret, variable) in &self.0 {
            if !is_name(secret) {
                return Err(Error::invalid("The name of a requested secret is not valid")
                    .because(NAME_RULE)
                    .hint(
                        "`--secret-env NAME` or `--secret-env NAME=VARIABLE` takes the name of a \
                         secret, not its value (`secret_env`: {\"NAME\": \"VARIABLE\"})",
                    ));
            }
            if !is_name(variable) {
                return Err(Error::invalid(format!(
                    "The variable name for the secret `{secret}` is not valid"
                ))
                .because(NAME_RULE)
                .hint(
                    "Give the name of a variable, not a value; values are set when the workspace \
                     is created",
                ));
            }
            if !secrets.insert(secret) {
                return Err(Error::invalid(format!(
                    "The secret `{secret}` is requested twice"
                )));
            }
            if !variables.insert(variable) {
                return Err(Error::invalid(format!(
                    "Two secrets are requested in the variable `{variable}`"
                )));
            }
        }
        Ok(())
    }
}

pub(super) const NAME_RULE: &str = "names consist of letters, digits and `_`, do not begin with a \
                                    digit, and have at most 64 characters";

/// Whether a secret or a variable may be called so.
pub(super) fn is_name(text: &str) -> bool {
    pairs::is_name(text, 64)
}

impl From<BTreeMap<String, String>> for SecretEnv {
    fn from(given: BTreeMap<String, String>) -> Self {
        Self(given.into_iter().collect())
    }
}

inline_schema!(SecretEnv, {
    "type": "object",
    "default": {},
    // A surface that refuses such a value does not repeat it: it may be that of a secret.
    "writeOnly": true,
    "additionalProperties": { "type": "string", "pattern": NAME_PATTERN },
});

pairs!(
    SecretEnv,
    FLAG,
    "NAME[=VARIABLE]",
    "Pass a secret to the command in a variable; may be repeated",
    |text| {
        let (secret, variable) = text.split_once('=').unwrap_or((text, text));
        (secret.trim().to_owned(), variable.trim().to_owned())
    }
);

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn typed(words: &[&str]) -> SecretEnv {
        let command = SecretEnv::augment_args(clap::Command::new("x").no_binary_name(true));
        let matches = command.try_get_matches_from(words).unwrap();
        SecretEnv::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn both_forms_say_the_same() {
        let typed = typed(&["--secret-env", "TOKEN", "--secret-env", "KEY=SSH_KEY"]);
        let told: SecretEnv =
            serde_json::from_str(r#"{"KEY": "SSH_KEY", "TOKEN": "TOKEN"}"#).unwrap();
        let sorted = |env: &SecretEnv| env.pairs().iter().cloned().collect::<BTreeMap<_, _>>();
        assert_eq!(sorted(&typed), sorted(&told));
        typed.check().unwrap();
        told.check().unwrap();
    }

    #[test]
    fn what_is_refused_is_not_repeated() {
        for (words, what) in [
            (&["--secret-env", "TOKEN=hunter-2"][..], "is not valid"),
            (&["--secret-env", "hunter-2"], "is not valid"),
            (&["--secret-env", "A", "--secret-env", "A=B"], "twice"),
            (&["--secret-env", "A=C", "--secret-env", "B=C"], "`C`"),
            (&["--secret-env", "A="], "is not valid"),
        ] {
            let error = typed(words).check().unwrap_err().in_words();
            assert!(error.contains(what), "{words:?}: {error}");
            assert!(!error.contains("hunter-2"), "{error}");
        }
    }
}
