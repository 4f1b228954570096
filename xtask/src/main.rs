//! Tasks of the project, run as `cargo xtask TASK`.

mod arrows;
mod jail;
mod left_out;
mod python;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("arrows") => arrows::check(),
        Some("jail") => jail::attack(),
        Some("left-out") => left_out::check(),
        Some("python") => python::generate(std::env::args().skip(2)),
        _ => bail!("usage: cargo xtask arrows | jail | left-out | python [--check]"),
    }
}
