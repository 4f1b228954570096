//! Tasks of the project, run as `cargo xtask TASK`.

mod arrows;
mod bench;
mod python;

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("arrows") => arrows::check(),
        Some("python") => python::generate(std::env::args().skip(2)),
        Some("bench") if cfg!(debug_assertions) => optimised(),
        Some("bench") => bench::run(std::env::args().skip(2)),
        _ => bail!("usage: cargo xtask arrows | python [--check] | bench [ROUNDS] [--write]"),
    }
}

/// The same task from a release build: the engine is measured inside of this process.
fn optimised() -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let error = Command::new(cargo)
        .args([
            "run",
            "--quiet",
            "--release",
            "--locked",
            "--package",
            "xtask",
            "--",
        ])
        .args(std::env::args().skip(1))
        .exec();
    Err(error).context("starting cargo")
}
