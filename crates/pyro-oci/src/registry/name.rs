//! What an image is called in a registry, by the rules of Docker's.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::Ipv6Addr;

use oci_client::Reference;

use crate::ReferenceError;

/// Says that what follows is the name of an image in a registry, as for `skopeo` and `podman`.
const TRANSPORT: &str = "docker://";

/// How alike two tags must be for one to be meant by the other.
const ALIKE: f64 = 0.7;
const MOST_NEAR: usize = 5;

/// Registries take no longer repositories.
const LONGEST_NAME: usize = 255;

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
    /// As Docker reads it: without a registry it is Docker Hub's, without a tag it is the latest.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let name = text.strip_prefix(TRANSPORT).unwrap_or(text);
        let reference: Result<Reference, _> = name.parse();
        // The crate takes some that registries do not: other digests, and capitals in a word before a slash.
        let why = match (reference, wrong_part(name)) {
            (Ok(reference), None) => return Ok(Self(reference)),
            (_, Some(why)) => why,
            (Err(error), None) => error.to_string(),
        };
        Err(ReferenceError::BadName {
            text: text.chars().take(200).collect(),
            why,
        })
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

/// What keeps a text from being a name: the first of its parts that is none.
fn wrong_part(name: &str) -> Option<String> {
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    if let Some(digest) = digest
        && crate::Digest::parse(digest).is_err()
    {
        return Some(format!(
            "its digest `{digest}` is not `sha256:` and 64 hexadecimal digits"
        ));
    }
    let (registry, rest) = match rest.split_once('/') {
        Some((first, rest)) if is_registry(first) => (Some(first), rest),
        _ => (None, rest),
    };
    let (repository, tag) = match rest.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (rest, None),
    };
    if repository.is_empty() {
        return Some("it has no repository".to_owned());
    }
    if repository.len() + registry.map_or(0, |registry| registry.len() + 1) > LONGEST_NAME {
        return Some(format!("it is longer than {LONGEST_NAME} characters"));
    }
    if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(format!(
            "its repository `{repository}` has capitals, and may have small letters only"
        ));
    }
    if let Some(part) = repository.split('/').find(|part| !is_component(part)) {
        return Some(format!(
            "the part `{part}` of its repository is not small letters and digits, with one `.`, `_`, `__` or \
             dashes between them"
        ));
    }
    if let Some(tag) = tag
        && !is_tag(tag)
    {
        return Some(format!(
            "its tag `{tag}` is not up to 128 letters, digits, `_`, `.` and `-`, of which the first is none of \
             the last two"
        ));
    }
    registry
        .filter(|registry| !is_host(registry))
        .map(|registry| format!("its registry `{registry}` is no host"))
}

/// A name or an address, with or without a port.
fn is_host(registry: &str) -> bool {
    let host = registry.split_once("]:").map_or(registry, |(host, _)| host);
    let host = match host.strip_prefix('[') {
        Some(address) => return address.trim_end_matches(']').parse::<Ipv6Addr>().is_ok(),
        None => host.split_once(':').map_or(host, |(host, _)| host),
    };
    host.split('.').all(|word| {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !word.is_empty()
            && word.bytes().all(is_inner)
            && !word.starts_with('-')
            && !word.ends_with('-')
    })
}

/// A word of a repository, by the grammar of registries.
fn is_component(part: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut words =
        part.split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    part.bytes().next().is_some_and(is_plain)
        && part.bytes().last().is_some_and(is_plain)
        && words.all(|between| {
            matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(is_word)
        && tag
            .bytes()
            .all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

/// Docker's rule: a first part with a dot or a port is a host, and `localhost` is one.
pub(super) fn is_registry(first: &str) -> bool {
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
        let is = |text: &str, expected: &str| {
            assert_eq!(ImageName::parse(text).unwrap().to_string(), expected);
        };
        for (text, expected) in [
            ("python", "docker.io/library/python:latest"),
            ("python:3.13", "docker.io/library/python:3.13"),
            ("org/app", "docker.io/org/app:latest"),
            ("docker://python:3.13", "docker.io/library/python:3.13"),
            ("docker.io/python:3.13", "docker.io/library/python:3.13"),
            ("index.docker.io/python", "docker.io/library/python:latest"),
            ("ghcr.io/org/name:1", "ghcr.io/org/name:1"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("localhost/x", "localhost/x:latest"),
        ] {
            is(text, expected);
        }
        let digest = format!("@sha256:{}", "a".repeat(64));
        is(&format!("a/b{digest}"), &format!("docker.io/a/b{digest}"));
        is(
            &format!("ghcr.io/a/b{digest}"),
            &format!("ghcr.io/a/b{digest}"),
        );
        let pinned = ImageName::parse(&format!("python{digest}")).unwrap();
        assert!(pinned.is_pinned());
    }

    #[test]
    fn what_is_no_name_says_which_part_of_it_is_none() {
        let long = "a/".repeat(200) + "b";
        for (text, part) in [
            ("", "it has no repository"),
            ("docker://", "it has no repository"),
            (":3.13", "it has no repository"),
            ("ghcr.io/", "it has no repository"),
            ("Python:3.13", "`Python` has capitals"),
            ("docker://UPPER", "`UPPER` has capitals"),
            ("org//app", "the part `` of its repository"),
            ("./x", "the part `.` of its repository"),
            ("py thon", "the part `py thon`"),
            ("a..b", "the part `a..b`"),
            ("-a", "the part `-a`"),
            ("python:", "its tag `` is not"),
            ("python:.3", "its tag `.3` is not"),
            ("python:3 13", "its tag `3 13` is not"),
            ("ghcr.io/a:b:c", "the part `a:b` of its repository"),
            ("ghcr.io/a/b@sha256:abc", "its digest `sha256:abc` is not"),
            ("a@md5:00", "its digest `md5:00` is not"),
            ("-.b/x", "its registry `-.b` is no host"),
            (&long, "longer than 255"),
        ] {
            let told = ImageName::parse(text).unwrap_err().to_string();
            assert!(told.contains(part), "{text}: {told}");
        }
    }

    #[test]
    fn tags_that_are_like_it_are_near_and_the_likest_first() {
        let name = ImageName::parse("python:3.31").unwrap();
        let tags = ["latest", "3.13", "3.1", "bullseye"]
            .map(str::to_owned)
            .into();
        assert_eq!(name.near(tags), ["3.13", "3.1"]);
    }
}
