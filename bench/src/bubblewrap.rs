//! Bubblewrap: namespaces without a daemon, on the same files. It shares the host's kernel and
//! prepares next to nothing, so it shows what isolation costs at the very least.

use std::path::Path;

use super::contender::{Contender, Errand, League};
use super::process::{self, Process};

pub(crate) struct Bubblewrap {
    /// Or why it cannot be used.
    version: Result<String, String>,
}

impl Bubblewrap {
    pub(crate) async fn look() -> Self {
        let version = process::text("bwrap", &["--version"]).await;
        Self {
            version: version
                .map_err(|_| "bwrap is not here (`apt-get install bubblewrap`)".to_owned()),
        }
    }

    pub(crate) fn describe(&self) -> &str {
        self.version.as_deref().unwrap_or("none")
    }

    pub(crate) fn why_not(&self) -> Option<&str> {
        self.version.as_ref().err().map(String::as_str)
    }

    pub(crate) fn contenders(&self, rootfs: &Path) -> Vec<Contender> {
        let rootfs = rootfs.to_string_lossy();
        Errand::ALL
            .into_iter()
            .map(|errand| {
                let label = format!("`bwrap … {errand}`");
                match &self.version {
                    Ok(_) => Contender::new(label, bwrap(&rootfs, errand)),
                    Err(why) => Contender::missing(label, why),
                }
                .league(League::Fresh(errand))
            })
            .collect()
    }
}

fn bwrap(rootfs: &str, errand: Errand) -> Process {
    Process::new(words(rootfs).iter().chain(errand.words()).copied())
}

/// What stands before a command that runs on these files.
pub(crate) fn words(rootfs: &str) -> [&str; 14] {
    [
        "bwrap",
        "--unshare-all",
        "--die-with-parent",
        "--ro-bind",
        rootfs,
        "/",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
        "--chdir",
        "/",
    ]
}
