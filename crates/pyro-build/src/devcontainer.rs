//! `devcontainer.json`: an image or a build, and a command for afterwards. Comments and trailing commas are
//! allowed in it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::BuildError;

/// What pyro reads of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devcontainer {
    pub from: From,
    /// Commands that run when all else is there, each as a line for a shell or as a program.
    pub post_create: Vec<Command>,
    pub remote_user: Option<String>,
    /// `containerEnv`, which every command sees.
    pub env: BTreeMap<String, String>,
    /// Keys that mean nothing here.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    Image(String),
    Build {
        /// Relative to the folder of the file.
        containerfile: String,
        /// Relative to the folder of the file.
        context: String,
        args: BTreeMap<String, String>,
        target: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Line(String),
    Words(Vec<String>),
}

impl Devcontainer {
    pub fn parse(text: &str) -> Result<Self, BuildError> {
        let value: Value = jsonc_parser::parse_to_serde_value(text, &Default::default())
            .map_err(|error| failed(format!("it is no JSON: {error}")))?;
        let Value::Object(mut all) = value else {
            return Err(failed("it is no object of JSON"));
        };
        let image = all.remove("image");
        let build = all.remove("build");
        // The older names of the same.
        let file = all.remove("dockerFile");
        let context = all.remove("context");
        let from = match (image, build, file) {
            (Some(image), None, None) => From::Image(text_of(&image, "image")?),
            (None, Some(Value::Object(build)), None) => build_of(build)?,
            (None, None, Some(file)) => From::Build {
                containerfile: text_of(&file, "dockerFile")?,
                context: match &context {
                    Some(context) => text_of(context, "context")?,
                    None => ".".to_owned(),
                },
                args: BTreeMap::new(),
                target: None,
            },
            (None, Some(_), None) => return Err(failed("`build` is no object")),
            (None, None, None) => {
                return Err(failed("it has neither `image` nor `build`"));
            }
            _ => {
                return Err(failed(
                    "it has more than one of `image`, `build` and `dockerFile`",
                ));
            }
        };
        let post_create = match all.remove("postCreateCommand") {
            Some(command) => commands_of(command)?,
            None => Vec::new(),
        };
        let user = all.remove("remoteUser");
        let user = user.or_else(|| all.get("containerUser").cloned());
        all.remove("containerUser");
        let remote_user = user.map(|user| text_of(&user, "remoteUser")).transpose()?;
        let env = match all.remove("containerEnv") {
            Some(Value::Object(env)) => texts(env, "containerEnv")?,
            Some(_) => return Err(failed("`containerEnv` is no object")),
            None => BTreeMap::new(),
        };
        if let Some((name, _)) = env.iter().find(|(_, value)| value.contains(['\n', '\r'])) {
            return Err(failed(format!(
                "`containerEnv.{name}` has more than one line"
            )));
        }
        if let Some((name, _)) = env.iter().find(|(_, value)| value.contains("${")) {
            return Err(failed(format!(
                "`containerEnv.{name}` has a variable, which is not supported"
            )));
        }
        // Words for people, and for tools that read them.
        let silent = ["name", "$schema", "customizations"];
        let notes = (all.keys())
            .filter(|key| !silent.contains(&key.as_str()))
            .map(|key| format!("`{key}` of devcontainer.json is not used"));
        Ok(Self {
            from,
            post_create,
            remote_user,
            env,
            notes: notes.collect(),
        })
    }
}

fn build_of(mut build: Map<String, Value>) -> Result<From, BuildError> {
    let file = build.remove("dockerfile");
    let file = file.ok_or_else(|| failed("`build` has no `dockerfile`"))?;
    let context = build.remove("context");
    let target = build.remove("target");
    let args = match build.remove("args") {
        Some(Value::Object(args)) => texts(args, "build.args")?,
        Some(_) => return Err(failed("`build.args` is no object")),
        None => BTreeMap::new(),
    };
    if let Some((name, _)) = args.iter().find(|(_, value)| value.contains("${")) {
        return Err(failed(format!(
            "`build.args.{name}` has a variable, which is not supported"
        )));
    }
    if let Some(key) = build.keys().find(|key| *key != "cacheFrom") {
        return Err(failed(format!("`build.{key}` is not supported")));
    }
    Ok(From::Build {
        containerfile: text_of(&file, "build.dockerfile")?,
        context: match &context {
            Some(context) => text_of(context, "build.context")?,
            None => ".".to_owned(),
        },
        args,
        target: target.map(|it| text_of(&it, "build.target")).transpose()?,
    })
}

/// A string, an array of words, or an object of such, which Docker's tools run beside each other.
fn commands_of(value: Value) -> Result<Vec<Command>, BuildError> {
    let one = |value: Value| match value {
        Value::String(line) => Ok(Command::Line(line)),
        Value::Array(words) => {
            let words = words.iter().map(|word| text_of(word, "postCreateCommand"));
            Ok(Command::Words(words.collect::<Result<_, _>>()?))
        }
        _ => Err(failed(
            "`postCreateCommand` is no string, array or object of these",
        )),
    };
    let commands = match value {
        Value::Object(commands) => commands.into_iter().map(|(_, value)| one(value)).collect(),
        value => one(value).map(|command| vec![command]),
    };
    let mut commands: Vec<Command> = commands?;
    let is_empty = |command: &Command| match command {
        Command::Line(line) => line.trim().is_empty(),
        Command::Words(words) => words.is_empty(),
    };
    commands.retain(|command| !is_empty(command));
    Ok(commands)
}

fn texts(all: Map<String, Value>, key: &str) -> Result<BTreeMap<String, String>, BuildError> {
    let pairs = all.into_iter().map(|(name, value)| {
        let value = text_of(&value, &format!("{key}.{name}"))?;
        Ok((name, value))
    });
    pairs.collect()
}

fn text_of(value: &Value, key: &str) -> Result<String, BuildError> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| failed(format!("`{key}` is no string")))
}

fn failed(what: impl Into<String>) -> BuildError {
    BuildError::Devcontainer { what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_with_a_command() {
        let text = r#"{
            // what people see
            "name": "mine",
            "image": "debian:12", /* here */
            "postCreateCommand": {"a": "echo 1", "b": ["printf", "%s", "2"]},
            "forwardPorts": [3000],
            "containerEnv": {"A": "1"},
            "remoteUser": "dev",
        }"#;
        let read = Devcontainer::parse(text).unwrap();
        assert_eq!(read.from, From::Image("debian:12".to_owned()));
        let words = ["printf", "%s", "2"].map(str::to_owned).into();
        assert_eq!(
            read.post_create,
            [Command::Line("echo 1".to_owned()), Command::Words(words)]
        );
        assert_eq!(
            read.notes,
            ["`forwardPorts` of devcontainer.json is not used"]
        );
        assert_eq!(read.remote_user.as_deref(), Some("dev"));
        assert_eq!(read.env["A"], "1");
    }

    #[test]
    fn a_build_with_its_context() {
        let text = r#"{"build": {"dockerfile": "../Dockerfile", "context": "..", "target": "dev",
                       "args": {"V": "1"}}, "postCreateCommand": "make"}"#;
        let read = Devcontainer::parse(text).unwrap();
        let From::Build {
            containerfile,
            context,
            args,
            target,
        } = read.from
        else {
            panic!("no build");
        };
        assert_eq!(
            (containerfile.as_str(), context.as_str()),
            ("../Dockerfile", "..")
        );
        assert_eq!((args["V"].as_str(), target.as_deref()), ("1", Some("dev")));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, words) in [
            ("{", "it is no JSON"),
            ("[]", "no object"),
            ("{}", "neither `image` nor `build`"),
            (r#"{"image": 1}"#, "`image` is no string"),
            (r#"{"image": "a", "build": {}}"#, "more than one"),
            (r#"{"build": {}}"#, "no `dockerfile`"),
            (
                r#"{"build": {"dockerfile": "x", "options": []}}"#,
                "`build.options` is not supported",
            ),
            (
                r#"{"image": "a", "postCreateCommand": 1}"#,
                "`postCreateCommand`",
            ),
            (
                r#"{"image": "a", "containerEnv": {"A": "${localEnv:A}"}}"#,
                "has a variable",
            ),
        ] {
            let told = Devcontainer::parse(text).unwrap_err().to_string();
            assert!(told.contains(words), "{told}");
        }
    }
}
