//! What can go wrong, precise enough for the engine to attach a code and a hint.

use std::io;
use std::path::{Path, PathBuf};

use pyro_oci::registry::AccessError;
use pyro_oci::{OciError, ReferenceError};

use crate::{RunscOrigin, disk_usage};

#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("there is no environment `{name}`; known environments: {}", known.join(", "))]
    UnknownEnvironment {
        name: String,
        nearest: Option<&'static str>,
        known: Vec<&'static str>,
        /// Under what name Docker Hub may have it.
        on_docker_hub: Option<String>,
    },
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("`{name}` cannot be used")]
    Image {
        name: &'static str,
        #[source]
        source: OciError,
    },
    #[error("this program cannot unpack images")]
    NoDiskWriter,
    /// What went wrong where the caller does the work, in the caller's words.
    #[error("the disk of `{name}` could not be made")]
    DiskWriter {
        name: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("environment `{name}` is not installed")]
    NotInstalled { name: &'static str },
    /// It was deleted, or is of another cache.
    #[error("environment `{name}` was kept by somebody, and is not here any more")]
    NotKept { name: &'static str },
    #[error("`{name}` cannot be the name of an environment: {why}")]
    BadKeptName { name: String, why: String },
    #[error("there is an environment `{name}` already")]
    NameTaken { name: &'static str },
    #[error("environment `{name}` is being made or pulled just now")]
    Busy { name: &'static str },
    #[error(
        "`{tool}` (Debian package {package}) is missing; looked in {}",
        join(looked_in)
    )]
    ToolMissing {
        tool: &'static str,
        package: &'static str,
        /// What cannot be done without it, like `build an environment`.
        needed_to: &'static str,
        looked_in: Vec<PathBuf>,
    },
    #[error("cannot write to the environment cache at {}", path.display())]
    CacheNotWritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "not enough space at {}: about {} MiB needed, {} MiB free",
        path.display(), needed.div_ceil(1 << 20), free >> 20
    )]
    NoSpace {
        path: PathBuf,
        needed: u64,
        free: u64,
    },
    #[error("{} is damaged: expected {expected}, found {found}", path.display())]
    Damaged {
        path: PathBuf,
        expected: String,
        found: String,
    },
    #[error(
        "{} was written by a newer pyro (schema {found}, this one supports {known})",
        path.display()
    )]
    NewerManifest {
        path: PathBuf,
        found: u64,
        known: u64,
    },
    #[error("cannot build without root here: {reason}")]
    UserNamespaces {
        reason: String,
        /// Something that can be typed or done.
        fix: String,
    },
    #[error("`PYRO_DEBIAN_MIRROR` is `{value}`, which is not one or two http(s) addresses")]
    BadMirror { value: String },
    #[error("building `{environment}` failed at step `{step}`{}", tail(log_tail))]
    BuildFailed {
        environment: &'static str,
        step: String,
        /// The last lines that the tools printed.
        log_tail: Vec<String>,
    },
    #[error(
        "building `{environment}` did not finish within {seconds}s; it was at step `{step}`{}",
        tail(log_tail)
    )]
    BuildTimedOut {
        environment: &'static str,
        step: String,
        seconds: u64,
        log_tail: Vec<String>,
    },
    #[error("fetching `{package}` failed at step `{step}`{}", tail(log_tail))]
    FetchFailed {
        package: &'static str,
        step: String,
        /// The last lines that the tools printed.
        log_tail: Vec<String>,
    },
    #[error(
        "fetching `{package}` did not finish within {seconds}s; it was at step `{step}`{}",
        tail(log_tail)
    )]
    FetchTimedOut {
        package: &'static str,
        step: String,
        seconds: u64,
        log_tail: Vec<String>,
    },
    #[error("{} cannot be used as gVisor's `runsc`: {reason}", path.display())]
    RunscUnusable {
        path: PathBuf,
        origin: RunscOrigin,
        reason: String,
    },
    #[error("cancelled")]
    Cancelled,
    #[error("the kernel package is not usable: {reason} ({})", path.display())]
    KernelUnusable { path: PathBuf, reason: String },
    #[error("the guest agent is missing at {}", path.display())]
    AgentMissing {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} cannot be the guest's first process: {reason}", path.display())]
    AgentNotStatic { path: PathBuf, reason: &'static str },
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl CatalogError {
    /// For `map_err` around what reads.
    pub(crate) fn reading(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// For `map_err` around what writes to the cache: a full or read-only one has its own error.
    pub(crate) fn writing(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let path = path.to_owned();
        move |source| match source.kind() {
            StorageFull | QuotaExceeded => Self::no_space(&path, 0),
            PermissionDenied | ReadOnlyFilesystem => Self::CacheNotWritable { path, source },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    /// For `map_err` around what finds and fetches images.
    pub(crate) fn of_image(name: &'static str, error: OciError) -> Self {
        match error {
            OciError::Unwanted => Self::Cancelled,
            OciError::Store { path, source } => Self::writing("write", &path)(source),
            source => Self::Image { name, source },
        }
    }

    pub(crate) fn no_space(path: &Path, needed: u64) -> Self {
        let free = disk_usage::free_bytes(path).unwrap_or(0);
        Self::NoSpace {
            path: path.to_owned(),
            needed: needed.max(free + 1),
            free,
        }
    }

    pub(crate) fn damaged(
        path: &Path,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            expected: expected.into(),
            found: found.into(),
        }
    }
}

fn join(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
    shown.join(", ")
}

/// A few lines for a one-glance message; the variant has them all. The tools call the first
/// cause an error early on, and then complain about its consequences.
fn tail(lines: &[String]) -> String {
    let errors: Vec<&String> = lines
        .iter()
        .filter(|line| line.starts_with("E: "))
        .collect();
    let shown = match errors.len() {
        0 => lines[lines.len().saturating_sub(4)..].iter().collect(),
        _ => errors[..errors.len().min(2)].to_vec(),
    };
    shown.iter().map(|line| format!("\n    {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_build_shows_its_first_errors_or_else_its_last_lines() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let log = lines("I: a\nE: cause\nI: b\nE: more\nE: consequence\nI: c");
        assert_eq!(tail(&log), "\n    E: cause\n    E: more");
        assert_eq!(
            tail(&lines("a\nb\nc\nd\ne")),
            "\n    b\n    c\n    d\n    e"
        );
        assert_eq!(tail(&[]), "");
    }
}
