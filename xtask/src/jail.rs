//! Plays the attacker against the jail of a VMM on this host, and prints what stopped it.

use std::process::Command;

use anyhow::{Context, Result, ensure};

pub(crate) fn attack() -> Result<()> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/test");
    let ended = Command::new(script).arg("jail").status().context(script)?;
    ensure!(
        ended.success(),
        "not every attempt was stopped, or the test itself failed: see above"
    );
    Ok(())
}
