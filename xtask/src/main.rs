//! Tasks of the project, run as `cargo xtask TASK`.

mod arrows;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("arrows") => arrows::check(),
        _ => bail!("usage: cargo xtask arrows"),
    }
}
