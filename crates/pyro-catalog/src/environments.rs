//! The list of environments: the words behind `debian:12`.

use crate::CatalogError;

/// What the images run on.
pub const PLATFORM: &str = "linux-x86_64";
/// Version of this list.
pub const CATALOG_VERSION: &str = "4.1.0";
pub const DISTRIBUTION: &str = "debian";
pub const DISTRIBUTION_VERSION: &str = "12";
/// The versions of pyro that can use these environments.
pub const COMPATIBILITY: &str = ">=4.0.0,<5.0.0";

/// One entry of the catalog.
#[derive(Debug, PartialEq, Eq)]
pub struct EnvironmentSpec {
    pub name: &'static str,
    /// Raised when what goes into it changes. It is part of the name of the install directory, so an
    /// older image stays beside it for as long as a workspace stands on that.
    pub version: &'static str,
    pub description: &'static str,
    /// What to tell users about its contents; not the whole list.
    pub default_packages: &'static [&'static str],
    /// What the build asks for beyond Debian's minimal base.
    pub(crate) include: &'static [&'static str],
    /// The most room that a build was seen to need (306, 671 and 1758 MiB), and some more.
    pub(crate) build_bytes: u64,
}

impl EnvironmentSpec {
    /// Its directory in the cache.
    pub(crate) fn dir_name(&self) -> String {
        format!("{}-{}", self.subject(), self.version)
    }

    /// Its name where a colon would be in the way: lock files, partial directories.
    pub(crate) fn subject(&self) -> String {
        self.name.replace(':', "_")
    }
}

const MIB: u64 = 1024 * 1024;

// Sorted by name. The minimal base has neither `ps` nor `ip`, which agents reach for first.
static ENVIRONMENTS: [EnvironmentSpec; 3] = [
    EnvironmentSpec {
        name: "debian:12",
        version: "4.1.0",
        description: "Debian 12 with git, Python and curl for general agent work.",
        default_packages: &[
            "bash",
            "coreutils",
            "git",
            "python3",
            "pip",
            "venv",
            "curl",
            "ca-certificates",
        ],
        include: &[
            "bzip2",
            "ca-certificates",
            "curl",
            "file",
            "git",
            "gpg",
            "iproute2",
            "less",
            "openssh-client",
            "patch",
            "procps",
            "python3",
            "python3-pip",
            "python3-venv",
            "rsync",
            "sudo",
            "unzip",
            "xz-utils",
        ],
        build_bytes: 900 * MIB,
    },
    EnvironmentSpec {
        name: "debian:12-base",
        version: "4.0.0",
        description: "Minimal Debian 12: a shell, the core tools and apt.",
        default_packages: &["bash", "coreutils", "ca-certificates"],
        include: &["ca-certificates"],
        build_bytes: 450 * MIB,
    },
    EnvironmentSpec {
        name: "debian:12-build",
        version: "4.1.0",
        description: "Debian 12 with git, Python, Node, compilers and build tools.",
        default_packages: &[
            "bash",
            "coreutils",
            "git",
            "python3",
            "pip",
            "venv",
            "curl",
            "ca-certificates",
            "gcc",
            "g++",
            "make",
            "cmake",
            "pkg-config",
            "nodejs",
            "npm",
        ],
        include: &[
            "bzip2",
            "ca-certificates",
            "cmake",
            "curl",
            "file",
            "g++",
            "gcc",
            "git",
            "gpg",
            "iproute2",
            "less",
            "libc6-dev",
            "make",
            "nodejs",
            "npm",
            "openssh-client",
            "patch",
            "pkg-config",
            "procps",
            "python3",
            "python3-pip",
            "python3-venv",
            "rsync",
            "sudo",
            "unzip",
            "xz-utils",
        ],
        build_bytes: 2300 * MIB,
    },
];

/// All environments, sorted by name.
pub fn environments() -> &'static [EnvironmentSpec] {
    &ENVIRONMENTS
}

/// The environment of that name; the error names the nearest one.
pub fn find(name: &str) -> Result<&'static EnvironmentSpec, CatalogError> {
    if let Some(spec) = ENVIRONMENTS.iter().find(|spec| spec.name == name) {
        return Ok(spec);
    }
    let nearest = ENVIRONMENTS
        .iter()
        .map(|spec| (strsim::jaro_winkler(spec.name, name), spec.name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name);
    Err(CatalogError::UnknownEnvironment {
        name: name.to_owned(),
        nearest,
        known: ENVIRONMENTS.iter().map(|spec| spec.name).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_finds_each_of_its_names() {
        assert!(environments().is_sorted_by_key(|spec| spec.name));
        for spec in environments() {
            assert_eq!(find(spec.name).unwrap(), spec);
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_and_with_all() {
        let nearest_to = |name: &str| match find(name) {
            Err(CatalogError::UnknownEnvironment { nearest, known, .. }) => {
                assert_eq!(known.len(), 3);
                nearest
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(nearest_to("debian12"), Some("debian:12"));
        assert_eq!(nearest_to("debian:12-buidl"), Some("debian:12-build"));
        assert_eq!(nearest_to("debian:12-bse"), Some("debian:12-base"));
        assert_eq!(nearest_to("xyzzy"), None);
        assert_eq!(nearest_to(""), None);
    }
}
