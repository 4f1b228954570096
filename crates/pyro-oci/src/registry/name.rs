//! What an image is called in a registry, by the rules of Docker's.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use oci_client::Reference;

use crate::ReferenceError;

/// Says that what follows is the name of an image in a registry, as for `skopeo` and `podman`.
const TRANSPORT: &str = "docker://";

/// How alike two tags must be for one to be meant by the other.
const ALIKE: f64 = 0.7;
const MOST_NEAR: usize = 5;

/// With its registry, and with a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName(Reference);

// Two references are equal when all that is written of them is.
impl Hash for ImageName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_string().hash(state);
    }
}

impl ImageName {
    /// `None` for what says neither that it is one nor where: `python:3.13` alone could be anything.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, ReferenceError> {
        let name = match text.strip_prefix(TRANSPORT) {
            Some(name) => name,
            None => match text.split_once('/') {
                Some((first, _)) if is_registry(first) => text,
                _ => return Ok(None),
            },
        };
        let bad = |why: String| ReferenceError::BadName {
            text: text.chars().take(200).collect(),
            why,
        };
        let reference: Reference = name
            .parse()
            .map_err(|error: oci_client::ParseError| bad(error.to_string()))?;
        if let Some(digest) = reference.digest()
            && crate::Digest::parse(digest).is_err()
        {
            return Err(bad(format!("`{digest}` is no SHA-256 digest")));
        }
        Ok(Some(Self(reference)))
    }

    pub(crate) fn reference(&self) -> &Reference {
        &self.0
    }

    pub fn registry(&self) -> &str {
        self.0.registry()
    }

    pub fn repository(&self) -> &str {
        self.0.repository()
    }

    /// Whether it can never mean another image than today.
    pub fn is_pinned(&self) -> bool {
        self.0.digest().is_some()
    }

    /// Whether nobody listens in between.
    pub(crate) fn is_on_this_host(&self) -> bool {
        let registry = self.registry();
        let host = match registry
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            Some((address, _)) => address,
            None => registry.split_once(':').map_or(registry, |(host, _)| host),
        };
        host == "localhost"
            || host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    /// Those of the tags that may have been meant.
    pub(super) fn near(&self, tags: Vec<String>) -> Vec<String> {
        let wanted = self.0.tag().unwrap_or_default();
        let mut near: Vec<(f64, String)> = tags
            .into_iter()
            .map(|tag| (strsim::jaro_winkler(&tag, wanted), tag))
            .filter(|(likeness, _)| *likeness > ALIKE)
            .collect();
        near.sort_by(|one, other| other.0.total_cmp(&one.0));
        near.into_iter()
            .map(|(_, tag)| tag)
            .take(MOST_NEAR)
            .collect()
    }
}

/// Docker's rule: a first part with a dot or a port is a host, and `localhost` is one.
fn is_registry(first: &str) -> bool {
    match first.rsplit_once(':') {
        Some((host, port)) => {
            !host.is_empty() && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
        }
        None => first == "localhost" || first.trim_matches('.').contains('.'),
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_by_dockers_rules() {
        let whole = |text: &str| ImageName::parse(text).unwrap().map(|name| name.to_string());
        let is = |text: &str, expected: &str| assert_eq!(whole(text).as_deref(), Some(expected));
        is("docker://python", "docker.io/library/python:latest");
        is("docker://python:3.13", "docker.io/library/python:3.13");
        is("docker://org/app", "docker.io/org/app:latest");
        is("docker.io/python:3.13", "docker.io/library/python:3.13");
        is("ghcr.io/org/name:1", "ghcr.io/org/name:1");
        is("localhost:5000/x", "localhost:5000/x:latest");
        is("localhost/x", "localhost/x:latest");
        let digest = format!("ghcr.io/a/b@sha256:{}", "a".repeat(64));
        is(&digest, &digest);
        assert!(ImageName::parse(&digest).unwrap().unwrap().is_pinned());
        let others = [
            "python:3.13",
            "debian:12",
            "org/app",
            "./x",
            "../x",
            "/x",
            "oci-archve:/x",
            "",
        ];
        for other in others {
            assert_eq!(ImageName::parse(other), Ok(None), "{other}");
        }
        for bad in [
            "docker://",
            "docker://UPPER",
            "ghcr.io/a/b@sha256:abc",
            "ghcr.io/a:b:c",
            "a.b/x y",
        ] {
            assert!(ImageName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_this_host_is_this_host() {
        let on_host = |text: &str| ImageName::parse(text).unwrap().unwrap().is_on_this_host();
        assert!(on_host("localhost:5000/x") && on_host("127.0.0.2:1/x") && on_host("localhost/x"));
        assert!(!on_host("10.0.0.1:5000/x") && !on_host("localhost.example.com/x"));
    }

    #[test]
    fn tags_that_are_like_it_are_near_and_the_likest_first() {
        let name = ImageName::parse("docker://python:3.31").unwrap().unwrap();
        let tags = ["latest", "3.13", "3.1", "bullseye"]
            .map(str::to_owned)
            .into();
        assert_eq!(name.near(tags), ["3.13", "3.1"]);
    }
}
