//! The list of environments: the words behind `debian:12`.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use pyro_oci::registry::ImageName;
use pyro_oci::{Digest, Reference};

use crate::CatalogError;

/// What the images run on.
pub const PLATFORM: &str = "linux-x86_64";
/// Version of this list.
pub const CATALOG_VERSION: &str = "4.1.0";
pub const DISTRIBUTION: &str = "debian";
/// The versions of pyro that can use these environments.
pub const COMPATIBILITY: &str = ">=4.0.0,<5.0.0";

/// A release of Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    /// What its archive calls it.
    pub(crate) suite: &'static str,
    /// What its users call it.
    version: &'static str,
}

/// One entry of the catalog, or an image that somebody named.
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
    /// Of which packages it is made, unless it is made of an image.
    pub(crate) release: Release,
    /// Whose files it has, if it is made of an image.
    pub(crate) image: Option<Reference>,
    /// The most room that a build was seen to need (306, 671 and 1758 MiB), and some more.
    pub(crate) build_bytes: u64,
}

impl EnvironmentSpec {
    /// Its directory in the cache. An image has one, in which its contents of today take the place of those
    /// of yesterday.
    pub(crate) fn dir_name(&self) -> String {
        match self.image {
            None if !self.is_kept() => format!("{}-{}", self.subject(), self.version),
            None | Some(_) => self.subject(),
        }
    }

    /// Its name where a colon would be in the way: lock files, partial directories.
    pub(crate) fn subject(&self) -> String {
        match &self.image {
            None if self.is_kept() => subject_of(KEPT_PREFIX, self.name),
            None => self.name.replace(':', "_"),
            Some(_) => subject_of(IMAGE_PREFIX, self.name),
        }
    }

    /// The version of the distribution whose packages it is made of; an image, and a kept one, says nothing of that.
    pub fn distribution_version(&self) -> &'static str {
        match self.is_image() || self.is_kept() {
            true => "",
            false => self.release.version,
        }
    }

    /// Where on this host its image is, if that is a file or a folder.
    pub fn local_path(&self) -> Option<&Path> {
        Some(self.image.as_ref()?.local()?.path())
    }

    /// What it is called in a registry, if it comes from one.
    pub fn registry(&self) -> Option<&ImageName> {
        match &self.image {
            Some(Reference::Registry(name)) => Some(name),
            Some(Reference::Local(_)) | None => None,
        }
    }

    /// Whether it is made of an image, and not of packages.
    pub fn is_image(&self) -> bool {
        self.image.is_some()
    }

    /// Whether somebody made it, of a workspace or by an import, and named it. It cannot be made again.
    pub fn is_kept(&self) -> bool {
        self.version == KEPT
    }
}

/// The subject of a name that may have slashes, which have no place in a file's name.
pub(crate) fn subject_of(prefix: &str, name: &str) -> String {
    format!("{prefix}{}", &Digest::of(name.as_bytes()).hex()[..24])
}

/// What directories of images begin with.
pub(crate) const IMAGE_PREFIX: &str = "image-";

/// What directories of kept environments begin with.
pub(crate) const KEPT_PREFIX: &str = "kept-";

/// What stands in the place of a version where a person has kept an environment.
pub(crate) const KEPT: &str = "kept";

/// The images that this process has met. Each is kept to its end, as the entries of the catalog are: a few
/// hundred bytes for a name that somebody typed.
static IMAGES: Mutex<Vec<&'static EnvironmentSpec>> = Mutex::new(Vec::new());

fn image(reference: Reference) -> &'static EnvironmentSpec {
    let mut images = IMAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = images
        .iter()
        .find(|spec| spec.image.as_ref() == Some(&reference));
    if let Some(spec) = known {
        return spec;
    }
    let spec = Box::leak(Box::new(EnvironmentSpec {
        name: reference.to_string().leak(),
        version: "",
        description: "An OCI image.",
        default_packages: &[],
        include: &[],
        release: BOOKWORM,
        image: Some(reference),
        build_bytes: 0,
    }));
    images.push(spec);
    spec
}

const MIB: u64 = 1024 * 1024;

// The minimal base has neither `ps` nor `ip`, which agents reach for first.
const TOOLS: &[&str] = &[
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
];

const BUILD_TOOLS: &[&str] = &[
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
];

// What users are told of them; not the whole lists.
const TOLD_OF_TOOLS: &[&str] = &[
    "bash",
    "coreutils",
    "git",
    "python3",
    "pip",
    "venv",
    "curl",
    "ca-certificates",
];

const TOLD_OF_BUILD_TOOLS: &[&str] = &[
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
];

pub(crate) const BOOKWORM: Release = Release {
    suite: "bookworm",
    version: "12",
};

const TRIXIE: Release = Release {
    suite: "trixie",
    version: "13",
};

// Sorted by name.
static ENVIRONMENTS: [EnvironmentSpec; 6] = [
    EnvironmentSpec {
        name: "debian:12",
        version: "4.1.0",
        description: "Debian 12 with git, Python and curl for general agent work.",
        default_packages: TOLD_OF_TOOLS,
        include: TOOLS,
        release: BOOKWORM,
        image: None,
        build_bytes: 900 * MIB,
    },
    EnvironmentSpec {
        name: "debian:12-base",
        version: "4.0.0",
        description: "Minimal Debian 12: a shell, the core tools and apt.",
        default_packages: &["bash", "coreutils", "ca-certificates"],
        include: &["ca-certificates"],
        release: BOOKWORM,
        image: None,
        build_bytes: 450 * MIB,
    },
    EnvironmentSpec {
        name: "debian:12-build",
        version: "4.1.0",
        description: "Debian 12 with git, Python, Node, compilers and build tools.",
        default_packages: TOLD_OF_BUILD_TOOLS,
        include: BUILD_TOOLS,
        release: BOOKWORM,
        image: None,
        build_bytes: 2300 * MIB,
    },
    EnvironmentSpec {
        name: "debian:13",
        version: "4.1.0",
        description: "Debian 13 with git, Python and curl for general agent work.",
        default_packages: TOLD_OF_TOOLS,
        include: TOOLS,
        release: TRIXIE,
        image: None,
        build_bytes: 1000 * MIB,
    },
    EnvironmentSpec {
        name: "debian:13-base",
        version: "4.1.0",
        description: "Minimal Debian 13: a shell, the core tools and apt.",
        default_packages: &["bash", "coreutils", "ca-certificates"],
        include: &["ca-certificates"],
        release: TRIXIE,
        image: None,
        build_bytes: 500 * MIB,
    },
    EnvironmentSpec {
        name: "debian:13-build",
        version: "4.1.0",
        description: "Debian 13 with git, Python, Node, compilers and build tools.",
        default_packages: TOLD_OF_BUILD_TOOLS,
        include: BUILD_TOOLS,
        release: TRIXIE,
        image: None,
        build_bytes: 2600 * MIB,
    },
];

/// All environments, sorted by name.
pub fn environments() -> &'static [EnvironmentSpec] {
    &ENVIRONMENTS
}

/// The environment of that name: one of the list, or else an image. A name that is close to one of the list is an
/// error with the nearest one, so that a slip asks no registry.
pub fn find(name: &str) -> Result<&'static EnvironmentSpec, CatalogError> {
    if let Some(spec) = ENVIRONMENTS.iter().find(|spec| spec.name == name) {
        return Ok(spec);
    }
    if let Some(error) = slip(name) {
        return Err(error);
    }
    Ok(image(Reference::parse(name)?))
}

/// How alike a name must be to one of the list for it to be meant, and for it to be told as the nearest.
const SURELY_ALIKE: f64 = 0.9;
const ALIKE: f64 = 0.7;

/// What is wrong with a name that was meant to be one of the list, as far as one can tell. The digest of an image is
/// nobody's slip, and neither is a name that says where it is.
fn slip(name: &str) -> Option<CatalogError> {
    let repository = |name: &str| name.split(':').next().unwrap_or_default().to_owned();
    let likeness = |spec: &EnvironmentSpec| (strsim::jaro_winkler(spec.name, name), spec.name);
    // Of several that are as near, the first.
    let nearest = ENVIRONMENTS.iter().rev().map(likeness);
    let (likeness, nearest) = nearest.max_by(|one, other| one.0.total_cmp(&other.0))?;
    let is_ours = |spec: &EnvironmentSpec| repository(spec.name) == repository(name);
    let says_more = name.contains(['/', '@']);
    let is_slip = !says_more && (likeness > SURELY_ALIKE || ENVIRONMENTS.iter().any(is_ours));
    (is_slip || name.is_empty()).then(|| CatalogError::UnknownEnvironment {
        name: name.to_owned(),
        nearest: (likeness > ALIKE).then_some(nearest),
        known: ENVIRONMENTS.iter().map(|spec| spec.name).collect(),
        on_docker_hub: ENVIRONMENTS
            .iter()
            .any(is_ours)
            .then(|| format!("docker.io/{name}")),
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
            let version = spec.distribution_version();
            assert!(spec.name.starts_with(&format!("debian:{version}")));
        }
        assert_eq!(find("debian:13-base").unwrap().release.suite, "trixie");
    }

    #[test]
    fn an_image_is_an_environment_of_one_name_wherever_it_is_named() {
        let here = std::env::current_dir().unwrap();
        let spec = find("oci-archive:app.tar").unwrap();
        assert_eq!(spec.name, format!("oci-archive:{}/app.tar", here.display()));
        assert!(std::ptr::eq(find(spec.name).unwrap(), spec));
        assert!(spec.is_image() && !find("debian:12").unwrap().is_image());
        let other = find("oci-archive:app.tar:1.0").unwrap();
        assert_ne!(other.dir_name(), spec.dir_name());
        assert!(spec.dir_name().starts_with(IMAGE_PREFIX));
        assert!(matches!(find("oci:"), Err(CatalogError::Reference(_))));
    }

    #[test]
    fn a_slip_is_answered_with_the_nearest_and_with_all_and_asks_nobody() {
        let told = |name: &str| match find(name) {
            Err(CatalogError::UnknownEnvironment {
                nearest,
                known,
                on_docker_hub,
                ..
            }) => {
                assert_eq!(known.len(), ENVIRONMENTS.len());
                (nearest, on_docker_hub)
            }
            other => panic!("{name}: {other:?}"),
        };
        let hub = |name: &str| Some(format!("docker.io/{name}"));
        assert_eq!(told("debian12"), (Some("debian:12"), None));
        assert_eq!(told("debain:12"), (Some("debian:12"), None));
        let (nearest, on_hub) = told("debian:12-buidl");
        assert_eq!(nearest, Some("debian:12-build"));
        assert_eq!(on_hub, hub("debian:12-buidl"));
        assert_eq!(told("debian:12-bse").0, Some("debian:12-base"));
        assert_eq!(told("debian:bookworm").1, hub("debian:bookworm"));
        assert_eq!(told("debian"), (Some("debian:12"), hub("debian")));
        assert_eq!(told(""), (None, None));
    }

    #[test]
    fn every_other_name_is_one_of_docker_hub() {
        let digest = format!("debian@sha256:{}", "0".repeat(64));
        for (name, whole) in [
            ("python:3.13", "docker.io/library/python:3.13"),
            ("node", "docker.io/library/node:latest"),
            ("alpine:3", "docker.io/library/alpine:3"),
            ("org/debian:12", "docker.io/org/debian:12"),
            ("docker.io/debian:12", "docker.io/library/debian:12"),
            ("docker://debian:12", "docker.io/library/debian:12"),
            (&digest, &format!("docker.io/library/{digest}")),
        ] {
            let spec = find(name).unwrap();
            assert_eq!(spec.name, whole);
            assert!(spec.registry().is_some());
            assert!(std::ptr::eq(find(spec.name).unwrap(), spec));
        }
        assert!(matches!(find("Python"), Err(CatalogError::Reference(_))));
    }
}
