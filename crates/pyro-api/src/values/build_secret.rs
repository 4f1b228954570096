//! A secret that steps of a build read and that leaves no trace in what is built.

use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use super::inline_schema::inline_schema;

/// `id=ID,src=PATH` for a file of this host, or `id=ID,env=VARIABLE` for a variable of the process that builds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct BuildSecret {
    pub id: String,
    pub source: BuildSecretSource,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildSecretSource {
    File(PathBuf),
    Variable(String),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a build secret is `id=ID,src=PATH` or `id=ID,env=VARIABLE`: {why}")]
pub struct InvalidBuildSecret {
    why: String,
}

impl FromStr for BuildSecret {
    type Err = InvalidBuildSecret;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |why: &str| InvalidBuildSecret {
            why: why.to_owned(),
        };
        let (mut id, mut source, mut given_type) = (None, None, None);
        for pair in text.split(',') {
            // What stands there may be a secret in the wrong place, so no word of it is repeated.
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| invalid("each part is KEY=VALUE"))?;
            match key.trim() {
                "id" => id = Some(value.to_owned()),
                "src" | "source" => source = Some(BuildSecretSource::File(value.into())),
                "env" => source = Some(BuildSecretSource::Variable(value.to_owned())),
                "type" => given_type = Some(value),
                _ => return Err(invalid("a key is `id`, `src` or `env`")),
            }
        }
        let id = id.filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| invalid("it has no `id`"))?;
        let is_plain = |it: char| it.is_ascii_alphanumeric() || "_-.".contains(it);
        if !id.chars().all(is_plain) || id.len() > 128 {
            return Err(invalid("an `id` has letters, digits, `.`, `_` and `-`"));
        }
        if given_type == Some("env") && source.is_none() {
            source = Some(BuildSecretSource::Variable(id.clone()));
        }
        let source = source.ok_or_else(|| invalid("it has neither `src` nor `env`"))?;
        Ok(Self { id, source })
    }
}

impl TryFrom<String> for BuildSecret {
    type Error = InvalidBuildSecret;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

inline_schema!(BuildSecret, {
    "type": "string",
    "pattern": "^.*id=.+$",
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_an_id_and_a_source() {
        let read = |text: &str| text.parse::<BuildSecret>();
        let secret = read("id=npm-token,src=~/.npmrc").unwrap();
        assert_eq!(secret.id, "npm-token");
        assert_eq!(secret.source, BuildSecretSource::File("~/.npmrc".into()));
        let secret = read("id=a,env=B").unwrap();
        assert_eq!(secret.source, BuildSecretSource::Variable("B".to_owned()));
        let secret = read("type=env,id=A").unwrap();
        assert_eq!(secret.source, BuildSecretSource::Variable("A".to_owned()));
        for text in [
            "",
            "hunter-2",
            "id=a",
            "src=x",
            "id=a/b,src=x",
            "id=a,hunter-2=x",
        ] {
            let told = read(text).unwrap_err().to_string();
            assert!(
                told.contains("id=ID") && !told.contains("hunter-2"),
                "{told}"
            );
        }
    }
}
