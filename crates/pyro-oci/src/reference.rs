//! What names an image: `oci-archive:FILE`, `docker-archive:FILE` or `oci:FOLDER`, each with an optional `:NAME`,
//! or the name that it has in a registry.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::registry::ImageName;

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    Local(Local),
    Registry(ImageName),
}

/// A place on this host, in the words of `skopeo` and `podman`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Local {
    pub(crate) transport: Transport,
    /// Absolute.
    pub(crate) path: PathBuf,
    /// Which one, where there are several: an annotation of a layout, a tag of Docker's.
    pub(crate) name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Transport {
    OciArchive,
    DockerArchive,
    OciLayout,
}

impl Transport {
    const ALL: [Self; 3] = [Self::OciArchive, Self::DockerArchive, Self::OciLayout];

    fn word(self) -> &'static str {
        match self {
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
            Self::OciLayout => "oci",
        }
    }

    /// The word that may have been meant.
    fn nearest(word: &str) -> Option<&'static str> {
        let words = Self::ALL.into_iter().map(Self::word);
        let likeness = words.map(|known| (strsim::jaro_winkler(known, word), known));
        likeness
            .filter(|(likeness, _)| *likeness > ALIKE)
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .map(|(_, known)| known)
    }
}

/// How alike two words must be for one to be meant by the other.
const ALIKE: f64 = 0.8;

/// Whether a text that is no name looks like a transport and a path.
fn is_transport(word: &str, path: &str) -> bool {
    let is_word = !word.is_empty()
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    is_word && (path.contains('/') || path.is_empty())
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("`{text}` names no path after `{transport}:`")]
    NoPath {
        text: String,
        transport: &'static str,
    },
    #[error("`{text}` has an empty name after the path")]
    NoName { text: String },
    #[error("`{text}` has a character that cannot be in a path")]
    BadCharacter { text: String },
    #[error("`{text}` is no name of an image: {why}")]
    BadName { text: String, why: String },
    #[error("`{text}` is a path, and nothing says what is there")]
    BarePath { text: String },
    #[error("`{text}` begins with `{word}:`, which is no way to name an image here")]
    UnknownTransport {
        text: String,
        word: String,
        nearest: Option<&'static str>,
    },
    #[error("the current folder, which `{text}` starts from, cannot be read: {why}")]
    NoCurrentFolder { text: String, why: String },
}

impl Reference {
    /// What begins as no place on this host is the name that an image has in a registry.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if let Some(local) = Local::parse(text)? {
            return Ok(Self::Local(local));
        }
        if ["/", "./", "../", "~"]
            .iter()
            .any(|start| text.starts_with(start))
            || [".", ".."].contains(&text)
        {
            return Err(ReferenceError::BarePath {
                text: text.to_owned(),
            });
        }
        let name = ImageName::parse(text);
        match (&name, text.split_once(':')) {
            // A tag has no slash, and a host with a port is followed by one.
            (Err(_), Some((word, path)))
                if !text.starts_with("docker://") && is_transport(word, path) =>
            {
                Err(ReferenceError::UnknownTransport {
                    text: text.to_owned(),
                    word: word.to_owned(),
                    nearest: Transport::nearest(word),
                })
            }
            _ => name.map(Self::Registry),
        }
    }

    pub fn local(&self) -> Option<&Local> {
        match self {
            Self::Local(local) => Some(local),
            Self::Registry(_) => None,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(local) => local.fmt(f),
            Self::Registry(name) => name.fmt(f),
        }
    }
}

impl Local {
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, ReferenceError> {
        let Some((word, rest)) = text.split_once(':') else {
            return Ok(None);
        };
        let Some(transport) = Transport::ALL.into_iter().find(|one| one.word() == word) else {
            return Ok(None);
        };
        let text = || text.to_owned();
        if rest.contains(['\0', '\n']) {
            return Err(ReferenceError::BadCharacter {
                text: text().replace(['\0', '\n'], "?"),
            });
        }
        // As `skopeo` reads it: a colon ends the path.
        let (path, name) = match rest.split_once(':') {
            Some((_, "")) => return Err(ReferenceError::NoName { text: text() }),
            Some((path, name)) => (path, Some(name.to_owned())),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err(ReferenceError::NoPath {
                text: text(),
                transport: transport.word(),
            });
        }
        let path = std::path::absolute(path).map_err(|error| ReferenceError::NoCurrentFolder {
            text: text(),
            why: error.to_string(),
        })?;
        Ok(Some(Self {
            transport,
            path,
            name,
        }))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that is another one whenever the image is.
    pub fn index(&self) -> PathBuf {
        match self.transport {
            Transport::OciLayout => self.path.join("index.json"),
            Transport::OciArchive | Transport::DockerArchive => self.path.clone(),
        }
    }
}

/// The same wherever it is read: with an absolute path.
impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.word(), self.path.display())?;
        match &self.name {
            Some(name) => write!(f, ":{name}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_written_as_it_can_be_read_again() {
        let canonical = |text: &str| Reference::parse(text).unwrap().to_string();
        assert_eq!(canonical("oci:/a/b"), "oci:/a/b");
        assert_eq!(canonical("oci:/a/b:1.0"), "oci:/a/b:1.0");
        assert_eq!(
            canonical("docker-archive:/a/b.tar:repo/app:1"),
            "docker-archive:/a/b.tar:repo/app:1"
        );
        let here = std::env::current_dir().unwrap();
        let relative = canonical("oci-archive:app.tar");
        assert_eq!(relative, format!("oci-archive:{}/app.tar", here.display()));
        assert_eq!(canonical(&relative), relative);
        let whole = canonical("python:3.13");
        assert_eq!(whole, "docker.io/library/python:3.13");
        assert_eq!(canonical(&whole), whole);
        // A repository of that name, at most.
        assert_eq!(canonical("oci"), "docker.io/library/oci:latest");
    }

    #[test]
    fn half_ones_say_what_is_missing_and_wrong_ones_what_they_look_like() {
        let error = |text: &str| Reference::parse(text).unwrap_err().to_string();
        assert!(error("oci:").contains("no path after `oci:`"));
        assert!(error("oci-archive::x").contains("no path"));
        assert!(error("oci:/a:").contains("empty name"));
        assert!(error("oci:/a\nb").contains("character"));
        for path in ["./app.tar", "/a/b", "../x", "~/app.tar", "."] {
            assert!(error(path).contains("is a path"), "{path}");
        }
        let transport = |text: &str| match Reference::parse(text) {
            Err(ReferenceError::UnknownTransport { word, nearest, .. }) => (word, nearest),
            other => panic!("{other:?}"),
        };
        let is = |text: &str, word: &str, nearest| {
            assert_eq!(transport(text), (word.to_owned(), nearest));
        };
        is("oci-archve:/x", "oci-archve", Some("oci-archive"));
        is(
            "docker-archiv:./a.tar",
            "docker-archiv",
            Some("docker-archive"),
        );
        is("OCI:/a", "OCI", None);
        is("https://ghcr.io/x", "https", None);
        assert!(error("a:b:c").contains("no name of an image"));
    }
}
