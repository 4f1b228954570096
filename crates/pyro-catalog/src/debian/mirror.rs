//! Where packages come from: what the user says, what the host uses, or Debian's own mirror.

use std::fs;
use std::path::Path;

use crate::CatalogError;

/// One address, or two: the archive, and the security archive when it is not beside it.
const VARIABLE: &str = "PYRO_DEBIAN_MIRROR";
const ARCHIVE: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://deb.debian.org/debian-security";
/// Where the keyring is in the guest.
const GUEST_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirror {
    archive: String,
    security: String,
}

impl Mirror {
    /// The mirror to build from, by the environment and the host's configuration.
    pub(crate) fn configured() -> Result<Self, CatalogError> {
        match std::env::var(VARIABLE) {
            Ok(value) if !value.trim().is_empty() => Self::parse(&value),
            _ => Ok(Self::of_host(Path::new("/etc/apt"))),
        }
    }

    fn parse(value: &str) -> Result<Self, CatalogError> {
        let bad = || CatalogError::BadMirror {
            value: without_secret(value),
        };
        let words: Vec<&str> = value.split_whitespace().collect();
        let (archive, security) = match words[..] {
            [archive] => (tidy(archive), security_beside(archive)),
            [archive, security] => (tidy(archive), tidy(security)),
            _ => return Err(bad()),
        };
        let fit = |address: &str| is_http(address) && !host_of(address).is_empty();
        if !fit(&archive) || !fit(&security) {
            return Err(bad());
        }
        Ok(Self { archive, security })
    }

    /// The mirror that a Debian host is set up with; elsewhere Debian's own.
    fn of_host(etc_apt: &Path) -> Self {
        let mut sources = Vec::new();
        let single = etc_apt.join("sources.list");
        sources.extend(
            fs::read_to_string(single)
                .iter()
                .flat_map(|text| one_line(text)),
        );
        let entries = fs::read_dir(etc_apt.join("sources.list.d"))
            .into_iter()
            .flatten()
            .flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let text = fs::read_to_string(&path).unwrap_or_default();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("list") => sources.extend(one_line(&text)),
                Some("sources") => sources.extend(deb822(&text)),
                _ => {}
            }
        }
        Self::among(&sources)
    }

    fn among(sources: &[Source]) -> Self {
        let named = |kind| {
            sources
                .iter()
                .find(|s| s.kind() == Some(kind))
                .map(|s| tidy(&s.uri))
        };
        let Some(archive) = named(Kind::Archive) else {
            return Self {
                archive: ARCHIVE.to_owned(),
                security: SECURITY.to_owned(),
            };
        };
        let security = named(Kind::Security).unwrap_or_else(|| security_beside(&archive));
        Self { archive, security }
    }

    /// The build's sources, in apt's one-line form.
    pub(crate) fn sources(&self, suite: &str, keyring: &Path) -> String {
        lines(
            &self.archive,
            &self.security,
            suite,
            &keyring.to_string_lossy(),
        )
    }

    /// One suite of the archive alone.
    pub(crate) fn archive_source(&self, suite: &str, keyring: &Path) -> String {
        let keyring = keyring.to_string_lossy();
        format!("deb [signed-by={keyring}] {} {suite} main", self.archive)
    }

    /// The same for the guest. What only the host can reach or may know stays out of it.
    pub(crate) fn guest_sources(&self, suite: &str) -> String {
        let private = |address: &str| {
            let host = host_of(address);
            let host = host.split(':').next().unwrap_or_default();
            address != without_secret(address)
                || host == "localhost"
                || host.starts_with("127.")
                || host.starts_with('[')
        };
        if private(&self.archive) || private(&self.security) {
            lines(ARCHIVE, SECURITY, suite, GUEST_KEYRING)
        } else {
            lines(&self.archive, &self.security, suite, GUEST_KEYRING)
        }
    }

    /// Names the origin in a manifest.
    pub(crate) fn label(&self, suite: &str) -> String {
        let open = without_secret(&self.archive);
        let place = open.split_once("://").map_or(&*open, |(_, place)| place);
        format!("debian-packages://{place}/{suite}")
    }

    pub(crate) fn host(&self) -> &str {
        host_of(&self.archive)
    }
}

fn lines(archive: &str, security: &str, suite: &str, keyring: &str) -> String {
    // `main` is all that the environments need; a guest's owner may add others.
    [
        format!("deb [signed-by={keyring}] {archive} {suite} main"),
        format!("deb [signed-by={keyring}] {archive} {suite}-updates main"),
        format!("deb [signed-by={keyring}] {security} {suite}-security main"),
    ]
    .join("\n")
}

/// One source of the host's apt: an address with one of its suites.
#[derive(Debug, PartialEq)]
struct Source {
    uri: String,
    suite: String,
    has_main: bool,
    signed_by: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Archive,
    Security,
}

impl Source {
    /// What of Debian's this is, if anything. Others' sources also say `bookworm main`
    /// (HashiCorp, Microsoft) or end in `/debian` (Docker), so a name alone proves nothing.
    fn kind(&self) -> Option<Kind> {
        const RELEASES: [&str; 10] = [
            "bullseye",
            "bookworm",
            "trixie",
            "forky",
            "sid",
            "oldoldstable",
            "oldstable",
            "stable",
            "testing",
            "unstable",
        ];
        let (release, kind) = match self.suite.strip_suffix("-security") {
            Some(release) => (release, Kind::Security),
            None => (&*self.suite, Kind::Archive),
        };
        let folder = match kind {
            Kind::Archive => "debian",
            Kind::Security => "debian-security",
        };
        let by_path = self
            .uri
            .trim_end_matches('/')
            .ends_with(&format!("/{folder}"));
        let by_key = self.signed_by.contains("debian-archive-");
        let debians = is_http(&self.uri)
            && self.has_main
            && RELEASES.contains(&release)
            && (by_path || by_key);
        debians.then_some(kind)
    }
}

/// Reads the one-line form: `deb [options] URI SUITE COMPONENT…`.
fn one_line(text: &str) -> Vec<Source> {
    let parse = |line: &str| {
        let line = line.split('#').next()?.trim();
        let rest = line
            .strip_prefix("deb")?
            .strip_prefix([' ', '\t'])?
            .trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(inner) => inner.split_once(']')?,
            None => ("", rest),
        };
        let signed_by = options
            .split_whitespace()
            .find_map(|o| o.strip_prefix("signed-by="));
        let mut words = rest.split_whitespace();
        Some(Source {
            uri: words.next()?.to_owned(),
            suite: words.next()?.to_owned(),
            has_main: words.any(|component| component == "main"),
            signed_by: signed_by.unwrap_or_default().to_owned(),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// Reads the deb822 form: stanzas of `Field: values`, with continuation lines.
fn deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut stanza: Vec<(String, String)> = Vec::new();
    let mut flush = |stanza: &mut Vec<(String, String)>| {
        let field = |name: &str| {
            let found = stanza
                .iter()
                .find(|(field, _)| field.eq_ignore_ascii_case(name));
            found.map_or("", |(_, value)| value.as_str())
        };
        let off = ["no", "false", "0"].contains(&field("Enabled").trim().to_lowercase().as_str());
        if !off && field("Types").split_whitespace().any(|kind| kind == "deb") {
            for uri in field("URIs").split_whitespace() {
                for suite in field("Suites").split_whitespace() {
                    sources.push(Source {
                        uri: uri.to_owned(),
                        suite: suite.to_owned(),
                        has_main: field("Components").split_whitespace().any(|c| c == "main"),
                        signed_by: field("Signed-By").trim().to_owned(),
                    });
                }
            }
        }
        stanza.clear();
    };
    for line in text.lines() {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            flush(&mut stanza);
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((field, value)) = line.split_once(':') {
            stanza.push((field.trim().to_owned(), value.trim().to_owned()));
        }
    }
    flush(&mut stanza);
    sources
}

fn is_http(address: &str) -> bool {
    address.starts_with("http://") || address.starts_with("https://")
}

fn tidy(address: &str) -> String {
    address.trim_end_matches('/').to_owned()
}

/// Most mirrors of Debian carry only the archive; its security updates have their own.
fn security_beside(archive: &str) -> String {
    let archive = tidy(archive);
    let host = host_of(&archive);
    match archive.strip_suffix("/debian") {
        Some(base) if !host.ends_with(".debian.org") => format!("{base}/debian-security"),
        _ => SECURITY.to_owned(),
    }
}

/// Host and port.
fn host_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

/// Takes `user:password@` out of each address.
fn without_secret(addresses: &str) -> String {
    let open = |address: &str| match address.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => address.to_owned(),
    };
    let words: Vec<String> = addresses.split_whitespace().map(open).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(archive: &str, security: &str) -> Mirror {
        Mirror {
            archive: archive.to_owned(),
            security: security.to_owned(),
        }
    }

    fn of_files(files: &[(&str, &str)]) -> Mirror {
        let etc = tempfile::tempdir().unwrap();
        fs::create_dir(etc.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            fs::write(etc.path().join(name), text).unwrap();
        }
        Mirror::of_host(etc.path())
    }

    #[test]
    fn a_hosts_own_mirror_is_found_in_both_forms() {
        let expected = mirror(
            "http://mirror.example/debian",
            "https://sec.example/debian-security",
        );
        let list = "# deb http://old.example/debian bookworm main\n\
            deb-src http://src.example/debian bookworm main\n\
            deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian/ bookworm main contrib # x\n\
            deb https://sec.example/debian-security bookworm-security main\n";
        assert_eq!(of_files(&[("sources.list", list)]), expected);

        let stanzas = "Types: deb deb-src\n# a remark\nURIs: http://mirror.example/debian\n\
            Suites: trixie trixie-updates\nComponents: main\n\n\
            Enabled: no\nTypes: deb\nURIs: http://off.example/debian-security\n\
            Suites: trixie-security\nComponents: main\n\n\
            Types: deb\nURIs:\n https://sec.example/debian-security/\nSuites: trixie-security\n\
            Components: main contrib\n";
        assert_eq!(
            of_files(&[("sources.list.d/debian.sources", stanzas)]),
            expected
        );
    }

    #[test]
    fn a_mirror_at_an_odd_path_is_known_by_its_key() {
        let list = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
            https://repo.example/artifactory/deb bookworm main\n";
        let found = of_files(&[("sources.list.d/a.list", list)]);
        assert_eq!(
            found,
            mirror("https://repo.example/artifactory/deb", SECURITY)
        );
    }

    #[test]
    fn other_vendors_and_other_distributions_are_not_taken_for_debian() {
        let others = "deb https://download.docker.com/linux/debian bookworm stable\n\
            deb https://apt.releases.hashicorp.com bookworm main\n\
            deb https://packages.microsoft.com/debian/12/prod bookworm main\n\
            deb https://apt.postgresql.org/pub/repos/apt bookworm-pgdg main\n\
            deb https://deb.nodesource.com/node_20.x nodistro main\n\
            deb http://archive.ubuntu.com/ubuntu noble main universe\n\
            deb file:/srv/debian bookworm main\n\
            deb\n deb [ bookworm main\n";
        assert_eq!(
            of_files(&[("sources.list", others)]),
            mirror(ARCHIVE, SECURITY)
        );
        assert_eq!(of_files(&[]), mirror(ARCHIVE, SECURITY));
    }

    #[test]
    fn the_variable_may_hold_one_address_or_two() {
        let parse = |value| Mirror::parse(value).ok();
        assert_eq!(
            parse(" http://m.example/debian/ "),
            Some(mirror(
                "http://m.example/debian",
                "http://m.example/debian-security"
            ))
        );
        assert_eq!(
            parse("http://ftp.de.debian.org/debian"),
            Some(mirror("http://ftp.de.debian.org/debian", SECURITY))
        );
        assert_eq!(
            parse("http://a.example/x http://b.example/y"),
            Some(mirror("http://a.example/x", "http://b.example/y"))
        );
        for bad in [
            "ftp://m.example/debian",
            "m.example",
            "http:///debian",
            "a b c",
        ] {
            assert!(
                matches!(Mirror::parse(bad), Err(CatalogError::BadMirror { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn secrets_and_loopback_addresses_stay_on_the_host() {
        let secret = Mirror::parse("https://me:pw@m.example:8443/debian").unwrap();
        assert!(
            secret
                .sources(SUITE, Path::new("/k.gpg"))
                .contains("me:pw@")
        );
        assert!(!secret.guest_sources(SUITE).contains("m.example"));
        assert_eq!(
            secret.label(SUITE),
            "debian-packages://m.example:8443/debian/bookworm"
        );
        assert_eq!(secret.host(), "m.example:8443");
        let local = Mirror::parse("http://127.0.0.1:3142/debian").unwrap();
        assert!(
            local
                .guest_sources(SUITE)
                .contains("http://deb.debian.org/debian bookworm main")
        );
        let near = Mirror::parse("http://m.example/debian").unwrap();
        assert!(
            near.guest_sources(SUITE)
                .contains("m.example/debian-security bookworm-security")
        );
    }

    const SUITE: &str = "bookworm";
}
