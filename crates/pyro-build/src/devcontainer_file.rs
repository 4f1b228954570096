//! What a `devcontainer.json` asks for beyond an image or a build, as instructions.

use crate::devcontainer::{Command, Devcontainer};

/// Where the project's files lie for its commands.
const FOLDER: &str = "/workspace";

/// No line of a command is this.
const END: &str = "PYRO_END_OF_COMMAND";

impl Devcontainer {
    /// Instructions that go on from an environment: the variables, the user, and the commands, which see the files
    /// of the project.
    pub fn containerfile(&self, from: &str) -> String {
        let mut text = format!("FROM {from}\n");
        for (name, value) in &self.env {
            let mut quoted = String::new();
            for character in value.chars() {
                if ['"', '\\', '$'].contains(&character) {
                    quoted.push('\\');
                }
                quoted.push(character);
            }
            text.push_str(&format!("ENV {name}=\"{quoted}\"\n"));
        }
        let user = self.remote_user.as_deref();
        if !self.post_create.is_empty() {
            let chown = user.map_or_else(String::new, |user| format!("--chown={user} "));
            text.push_str(&format!("COPY {chown}. {FOLDER}/\n"));
        }
        if let (Some(user), false) = (user, self.post_create.is_empty()) {
            // The folder is there already, and root's.
            let words = serde_json::json!(["chown", user, FOLDER]);
            text.push_str(&format!("RUN {words}\n"));
        }
        if let Some(user) = user {
            text.push_str(&format!("USER {user}\n"));
        }
        if !self.post_create.is_empty() {
            text.push_str(&format!("WORKDIR {FOLDER}\n"));
        }
        for command in &self.post_create {
            match command {
                Command::Line(line) => text.push_str(&format!("RUN <<{END}\n{line}\n{END}\n")),
                Command::Words(words) => {
                    let words: Vec<_> = words.iter().map(|word| serde_json::json!(word)).collect();
                    text.push_str(&format!("RUN {}\n", serde_json::Value::from(words)));
                }
            }
        }
        text
    }

    /// Whether anything is left to do after its image or its build.
    pub fn goes_on(&self) -> bool {
        !self.env.is_empty() || self.remote_user.is_some() || !self.post_create.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::File;
    use crate::context::Context;
    use crate::ignore_rules::IgnoreRules;
    use crate::key::Key;
    use crate::plan::Plan;
    use crate::resolve::{Action, BaseFacts};

    #[test]
    fn commands_run_among_the_files_of_the_project() {
        let text = r#"{"image": "base", "remoteUser": "dev", "containerEnv": {"A": "x $B \"y\\"},
                       "postCreateCommand": {"a": "echo $A\ndone", "b": ["printf", "a b"]}}"#;
        let devcontainer = Devcontainer::parse(text).unwrap();
        assert!(devcontainer.goes_on());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("f"), "").unwrap();
        let context = Context::open(folder.path(), IgnoreRules::default()).unwrap();
        let file = File::parse(&devcontainer.containerfile("base")).unwrap();
        let plan = Plan::of(&file, None, &BTreeMap::new()).unwrap();
        let base = BaseFacts {
            key: Key::of_environment("1", ""),
            config: Default::default(),
        };
        let facts = BTreeMap::from([("base".to_owned(), base)]);
        let resolved = plan.resolve(&facts, Some(&context)).unwrap();
        let stage = &resolved.stages[0];
        assert_eq!(stage.config.env, ["A=x $B \"y\\"]);
        let run = |number: usize| match &stage.steps[number].action {
            Action::Run(run) => run,
            other => panic!("{other:?}"),
        };
        assert_eq!(run(5).words, ["/bin/sh", "-c", "echo $A\ndone\n"]);
        assert_eq!(run(2).words, ["chown", "dev", "/workspace"]);
        assert_eq!(run(6).words, ["printf", "a b"]);
        assert_eq!(
            (run(6).folder.as_str(), run(6).user.as_deref()),
            ("/workspace", Some("dev"))
        );
    }
}
