//! What a command is started with: its arguments, its folder and its variables; and why it was not
//! started.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use pyro_wire::Bytes;
use pyro_wire::exec::{Command, Exec};
use pyro_wire::fault::{Fault, FaultCode};

use crate::backend::{Backend, WORKSPACE};
use crate::shell_words;
use crate::spawn::SpawnError;
use crate::user::User;

pub(crate) const SHELL: &str = "/bin/sh";
const BASH: &str = "/bin/bash";

/// Holds the `PATH` that was given until a login shell has set its own.
const GIVEN_PATH: &str = "PYRO_GIVEN_PATH";

const TOO_LARGE: &str = "arguments and variables together are larger than the kernel allows";

/// No file has a longer name.
const NAME: usize = 255;

/// The exit statuses with which shells say why a program did not start.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// Why a command does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the request cannot be carried out: {message}")]
    Refused { message: String },
    #[error("the folder {cwd} cannot be entered: {source}")]
    Folder { cwd: String, source: io::Error },
    /// With what to do about it, on a line of its own.
    #[error("{name}: command not found{hint}")]
    NotFound { name: String, hint: String },
    #[error("{name}: cannot be executed: {source}")]
    NotExecutable { name: String, source: io::Error },
    #[error("cannot start a process: {source}")]
    System {
        #[from]
        source: io::Error,
    },
    #[error("{fault}")]
    Fault {
        #[from]
        fault: Fault,
    },
}

impl StartError {
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::Refused {
            message: message.into(),
        }
    }

    /// The status that a shell would have ended with, where a shell would have run.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        match self {
            Self::NotFound { .. } => Some(NOT_FOUND),
            Self::NotExecutable { .. } => Some(NOT_EXECUTABLE),
            _ => None,
        }
    }

    pub(crate) fn fault(&self) -> Fault {
        let code = match self {
            Self::Fault { fault } => return fault.clone(),
            Self::Folder { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                FaultCode::NotFound
            }
            _ => FaultCode::Refused,
        };
        Fault::new(code, self.to_string())
    }
}

/// Refuses what the kernel cannot take or would take for something else.
pub(crate) fn check(request: &Exec) -> Result<(), StartError> {
    let arguments = match &request.command {
        Command::Shell(line) => std::slice::from_ref(line),
        Command::Program(words) => words,
    };
    check_texts(
        arguments,
        request.cwd.as_ref(),
        request.user.as_ref(),
        &request.env,
    )
}

pub(crate) fn check_texts(
    arguments: &[Bytes],
    cwd: Option<&Bytes>,
    user: Option<&Bytes>,
    env: &[(Bytes, Bytes)],
) -> Result<(), StartError> {
    let variables = env.iter().flat_map(|(name, value)| [name, value]);
    if arguments
        .iter()
        .chain(variables)
        .chain(cwd)
        .chain(user)
        .any(|text| text.contains(&0))
    {
        return Err(StartError::refused(
            "arguments, variables, folders and users cannot contain a NUL byte",
        ));
    }
    if env
        .iter()
        .any(|(name, _)| name.is_empty() || name.contains(&b'='))
    {
        return Err(StartError::refused(
            "the name of a variable cannot be empty or contain `=`",
        ));
    }
    Ok(())
}

pub(crate) fn argv(backend: &Backend, command: &Command) -> Result<Vec<OsString>, StartError> {
    match command {
        // An image of one program has no shell, and needs none for a line that is only words.
        Command::Shell(line) if backend.is_guest() && !Path::new(SHELL).exists() => {
            match shell_words::plain(line) {
                Some(words) => Ok(words),
                None => Err(StartError::NotFound {
                    name: SHELL.to_owned(),
                    hint: shell_words::NO_SHELL.to_owned(),
                }),
            }
        }
        Command::Shell(line) => Ok(vec![SHELL.into(), "-lc".into(), text(line)]),
        Command::Program(words) if words.is_empty() => {
            Err(StartError::refused("a command needs at least one word"))
        }
        Command::Program(words) => Ok(words.iter().map(text).collect()),
    }
}

/// Whether a command became a line for the shell.
pub(crate) fn is_shell(words: &[OsString], command: &Command) -> bool {
    matches!(command, Command::Shell(_)) && words.first().is_some_and(|first| first == SHELL)
}

/// Has a login shell take the `PATH` that was given, after what it reads first has set another.
///
/// It comes in a variable of its own: what a line says of itself holds no words of a `PATH`, and none
/// of a secret.
pub(crate) fn keep_path<'a>(
    words: &mut [OsString],
    variables: &mut BTreeMap<OsString, OsString>,
    given: impl IntoIterator<Item = &'a (Bytes, Bytes)>,
) {
    let path = given.into_iter().filter(|(name, _)| name[..] == *b"PATH");
    let (Some((_, path)), Some(line)) = (path.last(), words.last_mut()) else {
        return;
    };
    variables.insert(GIVEN_PATH.into(), text(path));
    // On the same line, so that those of the command keep their numbers.
    let mut kept = OsString::from(format!(
        "export PATH=\"${GIVEN_PATH}\"; unset {GIVEN_PATH}; "
    ));
    kept.push(&*line);
    *line = kept;
}

pub(crate) fn text(bytes: &Bytes) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

/// The path that a request gives as the guest sees it; relative ones are below `/workspace`.
pub(crate) fn folder(backend: &Backend, cwd: Option<&Bytes>) -> PathBuf {
    let wanted = Path::new(WORKSPACE).join(cwd.map(text).unwrap_or_default());
    match backend {
        Backend::Vm | Backend::Sandbox | Backend::Files => tidy(wanted),
        Backend::Process { folder } => match wanted.strip_prefix(WORKSPACE) {
            Ok(below) => tidy(folder.join(below)),
            Err(_) => wanted,
        },
    }
}

/// Without the slash that joining an empty path leaves at the end.
fn tidy(path: PathBuf) -> PathBuf {
    path.components().collect()
}

pub(crate) fn open_folder(cwd: &Path) -> Result<File, StartError> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(cwd)
        .map_err(|source| StartError::Folder {
            cwd: cwd.display().to_string(),
            source,
        })
}

/// The shell that a person gets.
pub(crate) fn shell() -> &'static str {
    if Path::new(BASH).exists() {
        BASH
    } else {
        SHELL
    }
}

/// Everything that a command sees of the environment.
///
/// A number without a name has none in `USER` either: one that is nobody's would only mislead.
pub(crate) fn environment<'a>(
    backend: &Backend,
    user: Option<&User>,
    shell: &str,
    cwd: &Path,
    extra: impl IntoIterator<Item = &'a (Bytes, Bytes)>,
) -> BTreeMap<OsString, OsString> {
    let root = Some(OsStr::new("root"));
    let (name, home, shell) = match (user, backend) {
        (Some(user), _) => (user.name.as_deref(), user.home.as_os_str(), &*user.shell),
        (None, Backend::Process { folder }) => (root, folder.as_os_str(), OsStr::new(shell)),
        (None, Backend::Vm | Backend::Sandbox | Backend::Files) => {
            (root, OsStr::new("/root"), OsStr::new(shell))
        }
    };
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let own = [
        ("PATH", Some(OsStr::new(path))),
        ("HOME", Some(home)),
        ("USER", name),
        ("LOGNAME", name),
        ("SHELL", Some(shell)),
        ("TERM", Some(OsStr::new("xterm-256color"))),
        ("LANG", Some(OsStr::new("C.UTF-8"))),
        ("PWD", Some(cwd.as_os_str())),
    ];
    let own = own.into_iter();
    let own = own.filter_map(|(name, value)| Some((OsString::from(name), value?.to_owned())));
    let extra = extra.into_iter();
    let extra = extra.map(|(name, value)| (text(name), text(value)));
    own.chain(extra).collect()
}

pub(crate) fn why_not(words: &[OsString], error: SpawnError) -> StartError {
    let name = words
        .first()
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let errno = match error {
        SpawnError::Program(errno) => errno,
        SpawnError::PreExec(_) => {
            return StartError::refused(
                "the new process could not enter its folder and its control group",
            );
        }
        SpawnError::User(errno) => {
            return StartError::refused(format!(
                "the new process could not become the user that was asked for: {}",
                io::Error::from(errno)
            ));
        }
        SpawnError::Process(errno) => {
            return StartError::System {
                source: errno.into(),
            };
        }
    };
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => StartError::NotFound {
            name,
            hint: shell_words::hint(words),
        },
        Errno::E2BIG => StartError::refused(TOO_LARGE),
        Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE => StartError::System {
            source: errno.into(),
        },
        // gVisor's word for a single argument that is too large.
        Errno::ENAMETOOLONG if name.len() <= NAME => StartError::refused(TOO_LARGE),
        _ => StartError::NotExecutable {
            name,
            source: errno.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Bytes {
        Bytes::from(text.as_bytes().to_vec())
    }

    #[test]
    fn a_folder_is_given_as_the_guest_sees_it() {
        let guest = |cwd: Option<&Bytes>| folder(&Backend::Vm, cwd);
        assert_eq!(guest(None), Path::new("/workspace"));
        assert_eq!(guest(Some(&bytes("sub"))), Path::new("/workspace/sub"));
        assert_eq!(guest(Some(&bytes("/etc"))), Path::new("/etc"));

        let backend = Backend::Process {
            folder: "/home/me/w".into(),
        };
        let host = |cwd: Option<&Bytes>| folder(&backend, cwd);
        assert_eq!(host(None), Path::new("/home/me/w"));
        assert_eq!(host(Some(&bytes("/workspace"))), Path::new("/home/me/w"));
        assert_eq!(
            host(Some(&bytes("/workspace/a/b"))),
            Path::new("/home/me/w/a/b")
        );
        assert_eq!(host(Some(&bytes("/tmp"))), Path::new("/tmp"));
        assert_eq!(host(Some(&bytes("/workspaces"))), Path::new("/workspaces"));
    }

    #[test]
    fn a_path_that_was_given_outlives_the_profile() {
        let line = "echo \"$PATH|$PYRO_GIVEN_PATH|$0|$#\"; exit 7";
        let given = [(bytes("A"), bytes("b")), (bytes("PATH"), bytes("/a 'b'$c"))];
        let mut words = argv(&Backend::Vm, &Command::Shell(bytes(line))).unwrap();
        let mut variables = environment(&Backend::Vm, None, SHELL, Path::new("/workspace"), &given);
        let untouched = words.clone();
        keep_path(&mut words, &mut variables, &given[..1]);
        assert_eq!(words, untouched);
        keep_path(&mut words, &mut variables, &given);
        let _children = crate::reaper::CHILDREN.blocking_lock();
        let ran = std::process::Command::new(&words[0])
            .args(&words[1..])
            .env_clear()
            .envs(&variables)
            .output()
            .unwrap();
        assert_eq!(ran.stdout, b"/a 'b'$c||/bin/sh|0\n");
        assert_eq!(ran.status.code(), Some(7));
    }

    #[test]
    fn a_request_may_change_but_not_break_the_environment() {
        let extra = [(bytes("LANG"), bytes("C")), (bytes("A"), bytes("x=y"))];
        let all = environment(&Backend::Vm, None, SHELL, Path::new("/workspace"), &extra);
        assert_eq!(all[OsStr::new("LANG")], "C");
        assert_eq!(all[OsStr::new("A")], "x=y");
        assert_eq!(all[OsStr::new("HOME")], "/root");

        let mut request = Exec {
            env: vec![(bytes("A=B"), bytes("c"))],
            ..Exec::new(Command::Shell(bytes("true")))
        };
        assert!(check(&request).is_err());
        request.env = vec![(bytes("A"), bytes("a\0b"))];
        assert!(check(&request).is_err());
        request.env.clear();
        assert!(check(&request).is_ok());
    }
}
