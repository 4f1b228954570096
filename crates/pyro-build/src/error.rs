//! Why a Containerfile cannot be built.

use std::fmt;

/// Where in a file something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1; 0 where it is about the whole file.
    pub line: usize,
    /// The first word there, such as `COPY`.
    pub instruction: String,
}

impl fmt::Display for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.instruction.as_str()) {
            (0, _) => to.write_str("the file"),
            (line, "") => write!(to, "line {line}"),
            (line, instruction) => write!(to, "line {line} ({instruction})"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It is not what the format allows.
    #[error("{at}: {what}")]
    Malformed { at: Place, what: String },
    /// It is a thing of Docker's that pyro does not do.
    #[error("{at}: {what} is not supported")]
    Unsupported { at: Place, what: String },
    /// A name leads to nothing.
    #[error("{at}: {what}")]
    NotFound { at: Place, what: String },
    /// Stages that need each other, or themselves.
    #[error("{at}: stage `{stage}` is not made before it is used")]
    NotYet { at: Place, stage: String },
    #[error("there is no stage `{name}`; there are {known}")]
    NoSuchStage { name: String, known: String },
    /// The context cannot be read.
    #[error("{path} in the context cannot be read")]
    Context {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the context has more than {most} files and folders to look at")]
    ContextTooLarge { most: usize },
    #[error("{path} was changed while it was copied")]
    Changed { path: String },
    #[error("{what}")]
    Devcontainer { what: String },
}

impl BuildError {
    pub(crate) fn malformed(at: &Place, what: impl Into<String>) -> Self {
        Self::Malformed {
            at: at.clone(),
            what: what.into(),
        }
    }

    pub(crate) fn unsupported(at: &Place, what: impl Into<String>) -> Self {
        Self::Unsupported {
            at: at.clone(),
            what: what.into(),
        }
    }

    pub(crate) fn not_found(at: &Place, what: impl Into<String>) -> Self {
        Self::NotFound {
            at: at.clone(),
            what: what.into(),
        }
    }
}
