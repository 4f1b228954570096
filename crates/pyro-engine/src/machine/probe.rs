//! Asks a shim which accelerator works on this host.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use pyro_catalog::Installed;
use pyro_wire::launch::Probe;
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
        let output = Command::new(self.config().pyro().map_err(|error| error.error)?)
            .args(["shim", "--probe"])
            .args([
                &binary,
                &installed.kernel.image,
                &initramfs,
                &self.probe_cache(),
            ])
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
