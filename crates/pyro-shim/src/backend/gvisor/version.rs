//! Which runsc it is.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::Command;
use tokio::time::timeout;

use crate::backend::child::{Inherit, describe, spawn};

/// The first release after the one that told of symbolic links that they have bad attributes.
const ATTRIBUTES_RIGHT: u32 = 20_241_101;

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

/// Whether it answers a question after an attribute of a symbolic link with EBADF, which `ls -l` reports
/// for each of them: <https://github.com/google/gvisor/issues/11049>. Set attributes it cannot either.
pub(super) fn has_bad_attributes(version: &str) -> bool {
    released(version).is_some_and(|date| date < ATTRIBUTES_RIGHT)
}

/// `20240729` of `0.0~20240729.0` or `release-20240729.0`.
fn released(version: &str) -> Option<u32> {
    let mut numbers = version.split(|character: char| !character.is_ascii_digit());
    numbers.find(|number| number.len() == 8)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_by_their_date() {
        assert_eq!(released("0.0~20240729.0"), Some(20_240_729));
        assert_eq!(released("release-20260831.0-12-gabcdef"), Some(20_260_831));
        assert_eq!(released("VERSION_MISSING"), None);
        assert!(has_bad_attributes("0.0~20240729.0"));
        assert!(!has_bad_attributes("release-20260831.0"));
    }
}
