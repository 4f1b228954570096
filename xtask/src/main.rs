//! Tasks of the project, run as `cargo xtask TASK`.

mod arrows;
mod bench;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("arrows") => arrows::check(),
        Some("bench") => bench::run(std::env::args().nth(2).as_deref()),
        _ => bail!("usage: cargo xtask arrows | bench [ROUNDS]"),
    }
}
