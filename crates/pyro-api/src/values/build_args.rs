//! Values for the `ARG` of a Containerfile.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::inline_schema::inline_schema;
use super::pairs::{is_name, pairs};
use crate::Error;

const FLAG: &str = "build-arg";

/// In JSON an object from name to value, on the command line `--build-arg NAME=VALUE`, once for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<String, String>")]
pub struct BuildArgs(Vec<(String, Option<String>)>);

impl BuildArgs {
    /// The last value of a name counts.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let pairs = self.0.iter();
        pairs
            .map(|(name, value)| (name.clone(), value.clone().unwrap_or_default()))
            .collect()
    }

    pub fn check(&self) -> Result<(), Error> {
        for (name, value) in &self.0 {
            if !is_name(name, 255) {
                return Err(Error::invalid("The name of a build argument is not valid")
                    .because(
                        "names consist of letters, digits and `_`, and do not begin with a digit",
                    )
                    .hint("Give `--build-arg NAME=VALUE` (`build_args`: {\"NAME\": \"VALUE\"})"));
            }
            if value.is_none() {
                return Err(
                    Error::invalid(format!("The build argument `{name}` has no value"))
                        .because("variables of this host are not passed on automatically")
                        .hint(format!(
                            "Give `--build-arg {name}=VALUE`, or `--build-arg {name}=\"${name}\"`"
                        )),
                );
            }
        }
        Ok(())
    }
}

impl From<BTreeMap<String, String>> for BuildArgs {
    fn from(given: BTreeMap<String, String>) -> Self {
        let pair = |(name, value)| (name, Some(value));
        Self(given.into_iter().map(pair).collect())
    }
}

inline_schema!(BuildArgs, {
    "type": "object",
    "default": {},
    "additionalProperties": { "type": "string" },
});

pairs!(
    BuildArgs,
    FLAG,
    "NAME=VALUE",
    "Give an `ARG` of the Containerfile a value; may be repeated",
    |text| match text.split_once('=') {
        Some((name, value)) => (name.trim().to_owned(), Some(value.to_owned())),
        None => (text.trim().to_owned(), None),
    }
);

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn typed(words: &[&str]) -> BuildArgs {
        let command = BuildArgs::augment_args(clap::Command::new("x").no_binary_name(true));
        let matches = command.try_get_matches_from(words).unwrap();
        BuildArgs::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn both_forms_say_the_same() {
        let typed = typed(&[
            "--build-arg",
            "A=b=c",
            "--build-arg",
            "B=",
            "--build-arg",
            "A=d",
        ]);
        let told: BuildArgs = serde_json::from_str(r#"{"A": "d", "B": ""}"#).unwrap();
        assert_eq!(typed.to_map(), told.to_map());
        typed.check().unwrap();
    }

    #[test]
    fn what_is_no_argument_is_refused() {
        for (word, what) in [
            ("A", "has no value"),
            ("1=x", "not valid"),
            ("=x", "not valid"),
        ] {
            let error = typed(&["--build-arg", word])
                .check()
                .unwrap_err()
                .in_words();
            assert!(error.contains(what), "{error}");
        }
    }
}
