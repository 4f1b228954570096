//! What can go wrong, and what a person can do about it.

use std::io;
use std::path::PathBuf;

use pyro_api::{Error, ErrorCode};

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("the home folder is not known, so the configuration of {host} cannot be found")]
    NoHome { host: &'static str },
    #[error("{host} has no configuration per project")]
    NoProjectScope { host: &'static str },
    #[error("pyro does not know where {host} keeps its configuration")]
    NoKnownFile { host: &'static str },
    #[error("{what} could not be determined")]
    Unknown {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{} is not valid {format}", .file.display())]
    Broken {
        file: PathBuf,
        format: &'static str,
        line: usize,
        column: usize,
        why: String,
    },
    #[error("{} has something else in the place of the servers", .file.display())]
    WrongShape { file: PathBuf, at: String },
    #[error("{} has another entry called `{name}`", .file.display())]
    NotPyros {
        file: PathBuf,
        name: String,
        starts: String,
    },
    #[error("{} has an entry called `{name}` that is not pyro's", .file.display())]
    NotToRemove {
        file: PathBuf,
        name: String,
        starts: String,
    },
    #[error("{} changed while pyro was editing it", .file.display())]
    Changed { file: PathBuf },
    #[error("{} was not changed", .file.display())]
    ReadOnly { file: PathBuf },
    #[error("{} cannot be {doing}", .file.display())]
    Io {
        file: PathBuf,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the name `{name}` cannot be used")]
    BadName { name: String },
    #[error("the variable `{given}` cannot be passed on")]
    BadVariable { given: String, why: &'static str },
    #[error("the path of pyro is not valid UTF-8")]
    NonUtf8Path { path: PathBuf },
}

impl From<HostError> for Error {
    fn from(error: HostError) -> Self {
        let words = sentence(&error.to_string());
        match error {
            HostError::NoHome { .. } => Self::new(ErrorCode::HostIo, words)
                .hint("Set HOME, or name the file with `--config PATH`"),
            HostError::NoProjectScope { .. } => Self::invalid(words)
                .hint("Leave `--scope` out, or name a file with `--config PATH`"),
            HostError::NoKnownFile { .. } => Self::invalid(words).hint(
                "Name its file with `--config PATH`, or paste the output of `pyro host \
                 print-config`",
            ),
            HostError::Unknown { source, .. } => {
                Self::new(ErrorCode::HostIo, words).because(source)
            }
            HostError::Broken {
                ref file,
                line,
                column,
                ref why,
                ..
            } => Self::new(ErrorCode::BadHostConfig, words)
                .because(format!("line {line}, column {column}: {why}"))
                .hint(format!(
                    "Correct it in an editor, or let `pyro host repair` with the same arguments \
                     and `--move-aside` rename it to {}.broken and start a new one",
                    file.display()
                )),
            HostError::WrongShape { ref at, .. } => Self::new(ErrorCode::BadHostConfig, words)
                .because(format!("`{at}` is not a table of names and values"))
                .hint("Correct it in an editor"),
            HostError::NotPyros { ref starts, .. } => Self::new(ErrorCode::Conflict, words)
                .because(format!("it starts `{starts}`"))
                .hint("Choose another name with `--name`, or give `--replace` to overwrite it"),
            HostError::NotToRemove { ref starts, .. } => Self::new(ErrorCode::Conflict, words)
                .because(format!("it starts `{starts}`"))
                .hint("To remove it anyway, use an editor"),
            HostError::ReadOnly { ref file } => Self::new(ErrorCode::HostIo, words)
                .because("the file is read-only")
                .hint(format!(
                    "Make it writable with `chmod u+w {}`, or paste the output of `pyro host \
                     print-config`",
                    file.display()
                )),
            HostError::Changed { .. } => Self::new(ErrorCode::Conflict, words)
                .because("another program wrote it at the same time; pyro changed nothing")
                .hint("Try again"),
            HostError::Io {
                ref file,
                ref source,
                ..
            } => Self::new(code_of(source), words)
                .because(source)
                .hint(match source.kind() {
                    io::ErrorKind::Other => "Name another file with `--config PATH`".to_owned(),
                    _ => format!("Check the permissions of {}", file.display()),
                }),
            HostError::BadName { .. } => {
                Self::invalid(words).because("names have 1 to 64 letters, digits, `-` and `_`")
            }
            HostError::BadVariable { why, .. } => Self::invalid(words)
                .because(why)
                .hint("Give `--env NAME` to pass on what is set here, or `--env NAME=VALUE`"),
            HostError::NonUtf8Path { ref path } => Self::invalid(words)
                .because(path.display())
                .hint("Give the command with `--command`"),
        }
    }
}

fn code_of(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::StorageFull => ErrorCode::NoSpace,
        _ => ErrorCode::HostIo,
    }
}

/// Errors for people begin with a capital; a path or a name stays as it is.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}
