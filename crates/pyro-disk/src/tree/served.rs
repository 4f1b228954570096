//! A folder that another process reads: files of sandboxes belong to ids whose files an ordinary
//! user may not read from outside of their namespace.
//!
//! One request at a time, each with one reply, in CBOR.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Tree;
use crate::entry::{Entry, Stat};
use crate::error::TreeError;
use crate::names::escaped;

/// The other end is our own program, but what it reads was written by a guest.
const DEEPEST: usize = 16;

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Stat {
        #[serde(with = "serde_bytes")]
        path: Vec<u8>,
    },
    Read {
        #[serde(with = "serde_bytes")]
        path: Vec<u8>,
        offset: u64,
        limit: u64,
    },
    Target {
        #[serde(with = "serde_bytes")]
        path: Vec<u8>,
    },
    List {
        #[serde(with = "serde_bytes")]
        path: Vec<u8>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Stat(Option<Stat>),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Entries(Vec<Entry>),
    NotFound,
    NotFile,
    NotLink,
    NotFolder,
    Unreadable { code: Option<i32>, words: String },
}

/// The end that asks. Without lines, once the other end is gone.
pub(crate) struct Served(Mutex<Option<Lines>>);

struct Lines {
    to: BufWriter<Box<dyn Write + Send>>,
    from: BufReader<Box<dyn Read + Send>>,
}

impl Served {
    pub(crate) fn new(to: Box<dyn Write + Send>, from: Box<dyn Read + Send>) -> Self {
        Self(Mutex::new(Some(Lines {
            to: BufWriter::new(to),
            from: BufReader::new(from),
        })))
    }

    pub(crate) fn stat(&self, path: &[u8]) -> Result<Stat, TreeError> {
        let path = path.to_vec();
        match self.ask(Request::Stat { path: path.clone() })? {
            Reply::Stat(Some(stat)) => Ok(stat),
            Reply::Stat(None) => Err(TreeError::not_found(&path)),
            reply => Err(reply.refusal(&path)),
        }
    }

    pub(crate) fn read(
        &self,
        path: &[u8],
        offset: u64,
        limit: usize,
    ) -> Result<Vec<u8>, TreeError> {
        let request = Request::Read {
            path: path.to_vec(),
            offset,
            limit: limit as u64,
        };
        match self.ask(request)? {
            Reply::Bytes(bytes) => Ok(bytes),
            reply => Err(reply.refusal(path)),
        }
    }

    pub(crate) fn target(&self, path: &[u8]) -> Result<Vec<u8>, TreeError> {
        let request = Request::Target {
            path: path.to_vec(),
        };
        match self.ask(request)? {
            Reply::Bytes(bytes) => Ok(bytes),
            reply => Err(reply.refusal(path)),
        }
    }

    pub(crate) fn list(&self, path: &[u8]) -> Result<Vec<Entry>, TreeError> {
        let request = Request::List {
            path: path.to_vec(),
        };
        match self.ask(request)? {
            Reply::Entries(entries) => Ok(entries),
            reply => Err(reply.refusal(path)),
        }
    }

    fn ask(&self, request: Request) -> Result<Reply, TreeError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = held
            .as_mut()
            .ok_or_else(|| gone(io::ErrorKind::BrokenPipe.into()))?;
        let answer = send(&mut lines.to, &request).and_then(|()| receive(&mut lines.from));
        answer.map_err(|error| {
            // An answer that comes later is not to be taken for the next one.
            *held = None;
            gone(error)
        })
    }
}

impl Reply {
    fn refusal(self, path: &[u8]) -> TreeError {
        match self {
            Self::NotFound => TreeError::not_found(path),
            Self::NotFile => TreeError::wrong_kind(path, "a file"),
            Self::NotLink => TreeError::wrong_kind(path, "a link"),
            Self::NotFolder => TreeError::wrong_kind(path, "a folder"),
            Self::Unreadable { code, words } => TreeError::Unreadable {
                name: escaped(path),
                source: code.map_or_else(|| io::Error::other(words), io::Error::from_raw_os_error),
            },
            Self::Stat(_) | Self::Bytes(_) | Self::Entries(_) => {
                gone(io::ErrorKind::InvalidData.into())
            }
        }
    }

    fn of<T>(answer: Result<T, TreeError>, reply: impl FnOnce(T) -> Self) -> Self {
        match answer {
            Ok(answer) => reply(answer),
            Err(TreeError::NotFound { .. }) => Self::NotFound,
            Err(TreeError::WrongKind { wanted, .. }) => match wanted {
                "a file" => Self::NotFile,
                "a link" => Self::NotLink,
                _ => Self::NotFolder,
            },
            Err(TreeError::Unreadable { source, .. }) => Self::Unreadable {
                code: source.raw_os_error(),
                words: source.to_string(),
            },
            Err(error) => Self::Unreadable {
                code: None,
                words: error.to_string(),
            },
        }
    }
}

/// In words: what the host says of a line is not what happened.
fn gone(error: io::Error) -> TreeError {
    use io::ErrorKind as Kind;
    let source = match error.kind() {
        kind @ (Kind::UnexpectedEof | Kind::BrokenPipe | Kind::ConnectionReset) => {
            io::Error::new(kind, "it has ended, or was killed")
        }
        Kind::WouldBlock | Kind::TimedOut => io::Error::new(Kind::TimedOut, "it takes too long"),
        _ => error,
    };
    TreeError::Gone { source }
}

/// Answers what is asked of a folder of this host until nobody asks any more.
pub fn serve(root: &Path, from: impl Read, to: impl Write) -> io::Result<()> {
    let tree = Tree::folder(root).map_err(io::Error::other)?;
    let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
    loop {
        let request = match receive(&mut from) {
            Ok(request) => request,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        let reply = match request {
            Request::Stat { path } => Reply::of(tree.stat(&path), Reply::Stat),
            Request::Read {
                path,
                offset,
                limit,
            } => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                Reply::of(tree.read_from(&path, offset, limit), Reply::Bytes)
            }
            Request::Target { path } => Reply::of(tree.target(&path), Reply::Bytes),
            Request::List { path } => Reply::of(tree.list(&path), Reply::Entries),
        };
        send(&mut to, &reply)?;
    }
}

fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    ciborium::into_writer(message, &mut *to).map_err(|error| match error {
        ciborium::ser::Error::Io(error) => error,
        ciborium::ser::Error::Value(why) => io::Error::other(why),
    })?;
    to.flush()
}

fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    ciborium::de::from_reader_with_recursion_limit(from, DEEPEST).map_err(|error| match error {
        ciborium::de::Error::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    })
}
