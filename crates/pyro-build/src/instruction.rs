//! Instructions as they are written: variables are not replaced yet.

use crate::error::Place;
use crate::mounts::SecretMount;

/// A whole Containerfile.
#[derive(Clone, Debug)]
pub struct File {
    /// `ARG` before the first `FROM`.
    pub(crate) global_args: Vec<Variable>,
    pub(crate) stages: Vec<Stage>,
    /// What begins an escape: `\`, or a backtick by directive.
    pub(crate) escape: char,
    /// Instructions that say something which has no meaning here.
    pub notes: Vec<String>,
}

impl File {
    /// The same, where the first stage begins with another environment.
    pub fn beginning_with(mut self, environment: &str) -> Self {
        if let Some(stage) = self.stages.first_mut() {
            environment.clone_into(&mut stage.from);
        }
        self
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) at: Place,
    pub(crate) from: String,
    pub(crate) name: Option<String>,
    pub(crate) instructions: Vec<Instruction>,
}

#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    pub(crate) at: Place,
    /// As it is shown to people: one line.
    pub(crate) text: String,
    pub(crate) kind: Kind,
}

/// A name, and what is given for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) at: Place,
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Run(Run),
    Copy(Copy),
    Env(Vec<Variable>),
    Arg(Vec<Variable>),
    Workdir(String),
    User(String),
    Label(Vec<Variable>),
    Entrypoint(Form),
    Cmd(Form),
    Expose(Vec<String>),
    Shell(Vec<String>),
}

/// How a command is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Exec(Vec<String>),
    /// For the shell of the stage.
    Shell(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) form: Form,
    /// A program that a here-document holds, with a first line that says what reads it.
    pub(crate) script: Option<String>,
    pub(crate) secrets: Vec<SecretMount>,
}

#[derive(Clone, Debug)]
pub(crate) struct Copy {
    /// `ADD`, which unpacks archives.
    pub(crate) unpacks: bool,
    pub(crate) from: Option<String>,
    pub(crate) chown: Option<String>,
    pub(crate) chmod: Option<String>,
    pub(crate) sources: Vec<Source>,
    pub(crate) destination: String,
}

#[derive(Clone, Debug)]
pub(crate) enum Source {
    Path(String),
    /// A file that the Containerfile holds itself.
    Inline {
        name: String,
        text: String,
        /// Whether variables in it are replaced.
        expands: bool,
    },
}
