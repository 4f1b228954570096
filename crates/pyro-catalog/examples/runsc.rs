//! Finds or fetches a `runsc` for real, and says how long each step took.
//!
//! With `PULL=1` it asks the archive in any case, with `LOOK=1` it only looks, with `PRUNE=1` it prunes.
//!
//! `cargo run --release -p pyro-catalog --example runsc -- CACHE [PATH]`

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use pyro_catalog::{Catalog, CatalogError, NoMonitor, ProgressMonitor, Step};

struct Printed {
    start: Instant,
}

impl ProgressMonitor for Printed {
    fn progress(&self, step: &Step) {
        let at = self.start.elapsed().as_secs_f32();
        println!("{at:6.2}s {:<12} {}", step.phase.as_str(), step.message);
    }

    /// `CANCEL_AFTER=seconds` tries that too.
    fn cancelled(&self) -> bool {
        let after = std::env::var("CANCEL_AFTER")
            .ok()
            .and_then(|text| text.parse().ok());
        after.is_some_and(|after: f32| self.start.elapsed().as_secs_f32() > after)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            println!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), CatalogError> {
    let cache = arguments.first().map_or("/tmp/pyro-cache", String::as_str);
    let chosen = arguments.get(1).map(Path::new);
    let catalog = Catalog::open(cache);
    let wanted = |name: &str| std::env::var_os(name).is_some();
    if wanted("LOOK") {
        println!("{:#?}", catalog.installed_runsc(chosen)?);
        return Ok(());
    }
    if wanted("PRUNE") {
        println!("{:?}", catalog.prune(&|_| false)?);
        return Ok(());
    }
    let start = Instant::now();
    let monitor = Printed { start };
    let found = match wanted("PULL") {
        true => catalog.pull_runsc(&monitor)?,
        false => catalog.runsc(chosen, &monitor)?,
    };
    println!("{:6.2}s {found:#?}", start.elapsed().as_secs_f32());

    let again = Instant::now();
    let rounds = 1000;
    for _ in 0..rounds {
        catalog.runsc(chosen, &NoMonitor)?;
    }
    println!(
        "known: {:.1} µs each",
        again.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
    );
    Ok(())
}
