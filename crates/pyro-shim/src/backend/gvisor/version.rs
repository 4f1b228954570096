//! Which runsc it is.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::Command;
use tokio::time::timeout;

use crate::backend::child::{Inherit, describe, spawn};

const TIMEOUT: Duration = Duration::from_secs(5);

/// `0.0~20240729.0`, as runsc tells it; or why it cannot be asked.
pub(super) async fn version(runsc: &Path) -> Result<String, String> {
    let failed = |words: String| format!("runsc ({}) cannot be used: {words}", runsc.display());
    let mut command = Command::new(runsc);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let child = spawn(command, &Inherit::SameNumbers(&[]), Signal::SIGKILL)
        .map_err(|error| failed(error.to_string()))?;
    let told = timeout(TIMEOUT, child.wait_with_output()).await;
    let output = told
        .map_err(|_| failed("it does not tell its version".into()))?
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(describe(output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_once("version ").map(|(_, rest)| rest);
    let version = version.and_then(|rest| rest.split_whitespace().next());
    version
        .map(str::to_owned)
        .ok_or_else(|| failed("it does not tell its version".into()))
}
