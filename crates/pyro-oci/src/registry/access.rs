//! How registries are reached, beyond what their names say: settings of this host.

use std::env;
use std::net::IpAddr;

use oci_client::Reference;

use super::ImageName;
use super::name::is_registry;

/// Where images of Docker Hub are asked for instead: `HOST[:PORT][/PREFIX]`.
const DOCKER_MIRROR: &str = "PYRO_DOCKER_MIRROR";

/// Registries that have no TLS: `HOST[:PORT]`, with commas between them.
const INSECURE: &str = "PYRO_INSECURE_REGISTRIES";

const DOCKER_HUB: &str = "docker.io";

/// The settings of one pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    mirror: Option<Mirror>,
    insecure: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mirror {
    registry: String,
    /// What comes before a repository there.
    prefix: Option<String>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{variable}` is `{value}`: {why}")]
pub struct AccessError {
    pub variable: &'static str,
    pub value: String,
    pub why: &'static str,
}

impl Access {
    pub fn from_environment() -> Result<Self, AccessError> {
        let read = |name: &str| {
            let value = env::var_os(name).unwrap_or_default();
            value.to_string_lossy().trim().to_owned()
        };
        Self::of(&read(DOCKER_MIRROR), &read(INSECURE))
    }

    /// An empty text is no setting.
    pub(super) fn of(mirror: &str, insecure: &str) -> Result<Self, AccessError> {
        let hosts = insecure.split(',').map(str::trim);
        let hosts = hosts.filter(|host| !host.is_empty()).map(str::to_owned);
        let insecure_hosts: Vec<String> = hosts.collect();
        let bad = |variable, value: &str, why| AccessError {
            variable,
            value: value.to_owned(),
            why,
        };
        if insecure_hosts
            .iter()
            .any(|host| host.contains(['/', '@', ' ']))
        {
            let why = "it is hosts, each with or without a port, and commas between them";
            return Err(bad(INSECURE, insecure, why));
        }
        let mirror = match mirror {
            "" => None,
            text => Some(Mirror::parse(text).map_err(|why| bad(DOCKER_MIRROR, text, why))?),
        };
        Ok(Self {
            mirror,
            insecure: insecure_hosts,
        })
    }

    /// What is asked for to get an image.
    pub(super) fn asked(&self, name: &ImageName) -> Reference {
        let reference = name.reference();
        let Some(mirror) = self
            .mirror
            .as_ref()
            .filter(|_| name.registry() == DOCKER_HUB)
        else {
            return reference.clone();
        };
        let repository = match &mirror.prefix {
            Some(prefix) => format!("{prefix}/{}", reference.repository()),
            None => reference.repository().to_owned(),
        };
        let registry = mirror.registry.clone();
        match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Reference::with_digest(registry, repository, digest.to_owned()),
            (None, tag) => {
                Reference::with_tag(registry, repository, tag.unwrap_or("latest").to_owned())
            }
        }
    }

    /// Whether a registry is asked without TLS: on this host nobody listens in between, and others are named.
    pub(super) fn is_plain(&self, registry: &str) -> bool {
        let is_named = |named: &String| {
            let rest = registry.strip_prefix(named.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        is_on_this_host(registry) || self.insecure.iter().any(is_named)
    }
}

impl Mirror {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains("://") {
            return Err("it is a host with or without a path, and no address with `://`");
        }
        let (registry, prefix) = match text.trim_end_matches('/').split_once('/') {
            Some((registry, prefix)) => (registry, Some(prefix.to_owned())),
            None => (text.trim_end_matches('/'), None),
        };
        if !is_registry(registry) {
            return Err("it begins with no host; a host without a dot is written with its port");
        }
        let example = match &prefix {
            Some(prefix) => format!("{registry}/{prefix}/x:y"),
            None => format!("{registry}/x:y"),
        };
        let whole: Result<Reference, _> = example.parse();
        match whole.is_ok_and(|whole| whole.registry() == registry) {
            true => Ok(Self {
                registry: registry.to_owned(),
                prefix,
            }),
            false => {
                Err("it is no name of a registry, with or without the beginning of a repository")
            }
        }
    }
}

fn is_on_this_host(registry: &str) -> bool {
    let bracketed = registry
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'));
    let host = match bracketed {
        Some((address, _)) => address,
        None => registry.split_once(':').map_or(registry, |(host, _)| host),
    };
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(mirror: &str, name: &str) -> String {
        let access = Access::of(mirror, "").unwrap();
        access.asked(&ImageName::parse(name).unwrap()).to_string()
    }

    #[test]
    fn a_mirror_is_asked_for_images_of_docker_hub_and_for_no_others() {
        let hub = "docker.io/library/python:3.13";
        assert_eq!(asked("", "python:3.13"), hub);
        assert_eq!(
            asked("a.b:5000", "python:3.13"),
            "a.b:5000/library/python:3.13"
        );
        assert_eq!(
            asked("a.b/hub/cache/", "docker.io/org/x:1"),
            "a.b/hub/cache/org/x:1"
        );
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(
            asked("localhost:1", &format!("org/x@{digest}")),
            format!("localhost:1/org/x@{digest}")
        );
        assert_eq!(asked("a.b", "ghcr.io/org/x:1"), "ghcr.io/org/x:1");
    }

    #[test]
    fn only_this_host_and_what_is_named_is_asked_without_tls() {
        let access = Access::of("", "10.0.0.1:5000, registry.lan").unwrap();
        for plain in [
            "localhost",
            "localhost:5000",
            "127.0.0.2:1",
            "[::1]:5000",
            "10.0.0.1:5000",
            "registry.lan",
            "registry.lan:5000",
        ] {
            assert!(access.is_plain(plain), "{plain}");
        }
        for safe in [
            "10.0.0.1",
            "10.0.0.1:50000",
            "registry.lane",
            "localhost.example.com",
            "docker.io",
        ] {
            assert!(!access.is_plain(safe), "{safe}");
        }
    }

    #[test]
    fn a_setting_that_is_none_says_which_and_why() {
        for (mirror, insecure, told) in [
            ("https://a.b", "", "no address with `://`"),
            ("mirror", "", "begins with no host"),
            ("a.b/UPPER", "", "no name of a registry"),
            ("", "a.b/c", "hosts, each with or without a port"),
        ] {
            let error = Access::of(mirror, insecure).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        assert_eq!(Access::of("", " , ").unwrap(), Access::default());
    }
}
