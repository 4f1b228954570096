//! The host's tools that pulls and fetches use, for `pyro doctor` and for a clear error beforehand.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::{CatalogError, child, namespace};

/// A tool or file that pulls need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    pub name: &'static str,
    /// `None` when it is missing.
    pub path: Option<PathBuf>,
    /// The Debian and Ubuntu package that provides it.
    pub package: &'static str,
    pub why: &'static str,
}

const COMMANDS: [(&str, &str, &str); 5] = [
    (
        "mmdebstrap",
        "mmdebstrap",
        "assembles the packages of an environment",
    ),
    (
        "apt-get",
        "apt",
        "downloads packages and checks their signatures",
    ),
    ("dpkg-deb", "dpkg", "unpacks packages"),
    ("mke2fs", "e2fsprogs", "writes the disk image"),
    ("unshare", "util-linux", "isolates a build from the host"),
];

// Root needs no ids mapped.
const USER_COMMANDS: [(&str, &str, &str); 2] = [
    (
        "newuidmap",
        "uidmap",
        "lets a build without root own its files",
    ),
    (
        "newgidmap",
        "uidmap",
        "lets a build without root own its files",
    ),
];

const KEYRING: &str = "debian-archive-keyring";
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// What a pull needs here, found or not.
pub fn tools() -> Vec<Tool> {
    let for_user = if namespace::is_root() {
        &[][..]
    } else {
        &USER_COMMANDS[..]
    };
    let commands = COMMANDS.iter().chain(for_user);
    let mut tools: Vec<Tool> = commands
        .map(|&(name, package, why)| Tool {
            name,
            path: find(name),
            package,
            why,
        })
        .collect();
    tools.push(Tool {
        name: KEYRING,
        path: KEYRINGS
            .iter()
            .map(PathBuf::from)
            .find(|path| path.is_file()),
        package: KEYRING,
        why: "has the keys that Debian's packages are signed with",
    });
    tools
}

/// What tools are needed for, in an error.
pub(crate) const BUILD: &str = "build an environment";
const FETCH: &str = "fetch gVisor's `runsc`";

/// Fails on the first one missing; returns Debian's keyring.
pub(crate) fn require_all() -> Result<PathBuf, CatalogError> {
    require(tools(), BUILD)
}

/// The same for what the fetch of one package needs.
pub(crate) fn require_for_fetch() -> Result<PathBuf, CatalogError> {
    let mut needed = tools();
    needed.retain(|tool| ["apt-get", "dpkg-deb", KEYRING].contains(&tool.name));
    require(needed, FETCH)
}

/// The same for what unpacks an image. Its kernel is another matter.
pub(crate) fn require_for_image() -> Result<(), CatalogError> {
    let mut needed = tools();
    needed.retain(|tool| ["mke2fs", "unshare", "newuidmap", "newgidmap"].contains(&tool.name));
    require(needed, BUILD).map(drop)
}

fn require(tools: Vec<Tool>, needed_to: &'static str) -> Result<PathBuf, CatalogError> {
    let mut keyring = PathBuf::new();
    for tool in tools {
        let looked_in = || match tool.name {
            KEYRING => KEYRINGS.iter().map(PathBuf::from).collect(),
            _ => child::search_path(),
        };
        let path = tool.path.ok_or_else(|| CatalogError::ToolMissing {
            tool: tool.name,
            package: tool.package,
            needed_to,
            looked_in: looked_in(),
        })?;
        if tool.name == KEYRING {
            keyring = path;
        }
    }
    Ok(keyring)
}

fn find(name: &str) -> Option<PathBuf> {
    let candidates = child::search_path()
        .into_iter()
        .map(|folder| folder.join(name));
    candidates.into_iter().find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
