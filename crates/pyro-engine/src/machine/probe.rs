//! Asks a shim what works on this host: which accelerator, and whether sandboxes do.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use pyro_catalog::Installed;
use pyro_wire::launch::{Probe, SandboxProbe};
use serde::de::DeserializeOwned;
use tokio::process::Command;
use tokio::time::timeout;

use crate::config::{QEMU, on_path};
use crate::engine::Engine;

const PATIENCE: Duration = Duration::from_secs(60);

impl Engine {
    /// Where shims remember the answer.
    pub(crate) fn probe_cache(&self) -> PathBuf {
        self.config().cache_dir.join("kvm-probe.json")
    }

    /// The answer, or in words why there is none.
    pub(crate) async fn probe(&self, installed: &Installed) -> Result<Probe, String> {
        let binary = on_path(QEMU).ok_or("QEMU is missing")?;
        let agent = self.config().agent().map_err(|error| error.error)?;
        let initramfs = self
            .catalog()
            .initramfs(&installed.kernel, agent)
            .map_err(|error| error.to_string())?;
        let kernel = &installed.kernel.image;
        let cache = self.probe_cache();
        self.ask_shim("--probe", &[&binary, kernel, &initramfs, &cache])
            .await
    }

    /// Whether sandboxes of gVisor run with this `runsc`.
    pub(crate) async fn probe_sandbox(&self, runsc: &Path) -> Result<SandboxProbe, String> {
        let agent = self.config().agent().map_err(|error| error.error)?;
        let cache = self.config().cache_dir.join("sandbox-probe.json");
        self.ask_shim("--probe-sandbox", &[runsc, agent, &cache])
            .await
    }

    async fn ask_shim<T: DeserializeOwned>(
        &self,
        what: &str,
        about: &[&Path],
    ) -> Result<T, String> {
        let output = Command::new(self.config().pyro().map_err(|error| error.error)?)
            .args(["shim", what])
            .args(about)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(PATIENCE, output)
            .await
            .map_err(|_| format!("the probe did not answer within {} s", PATIENCE.as_secs()))?
            .map_err(|error| error.to_string())?;
        serde_json::from_slice(&output.stdout).map_err(|_| {
            format!(
                "the probe failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )
        })
    }
}
