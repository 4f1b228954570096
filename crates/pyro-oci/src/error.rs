//! What can be wrong with an image.

use std::io;
use std::path::PathBuf;

use crate::Digest;
use crate::registry::RegistryError;

#[derive(Debug, thiserror::Error)]
pub enum OciError {
    #[error("there is no {what} at {}", path.display())]
    NotFound { what: &'static str, path: PathBuf },
    #[error("{} cannot be read", path.display())]
    Path {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{what} cannot be read")]
    Unreadable {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("{} is no image of this kind: {why}", path.display())]
    NoImage { path: PathBuf, why: String },
    #[error("{what} is malformed: {why}")]
    Malformed { what: String, why: String },
    #[error("{what} is longer than the {most} bytes that are read")]
    TooLong { what: String, most: u64 },
    #[error("`{text}` is no SHA-256 digest")]
    BadDigest { text: String },
    #[error("{what} is not what its digest says: expected {expected}, found {found}")]
    WrongDigest {
        what: String,
        expected: Digest,
        found: Digest,
    },
    #[error(
        "{what} is not as long as its descriptor says: expected {expected} bytes, found {found}"
    )]
    WrongSize {
        what: String,
        expected: u64,
        found: u64,
    },
    #[error("{} has no image named `{name}`; it has {}", path.display(), list(known))]
    NoSuchName {
        path: PathBuf,
        name: String,
        known: Vec<String>,
    },
    #[error("{} has more than one image, and none was named; it has {}", path.display(), list(known))]
    SeveralImages { path: PathBuf, known: Vec<String> },
    #[error("the image is for {found}, and guests are linux/amd64")]
    OtherPlatform { found: String },
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("what was fetched cannot be kept at {}", path.display())]
    Store {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("nobody wants it any more")]
    Unwanted,
    #[error("the image has {count} layers, more than the {most} that are unpacked")]
    TooManyLayers { count: usize, most: usize },
}

impl OciError {
    /// Whether another try is of no use.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_lasting(),
            _ => true,
        }
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none with a name".to_owned(),
        names => names.join(", "),
    }
}
