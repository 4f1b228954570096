//! Pulls an environment for real and says how long each step took.
//!
//! With `PRUNE=1` it prunes instead, with `DOCTOR=1` it lists the tools.
//!
//! `cargo run --release -p pyro-catalog --example pull -- CACHE [ENVIRONMENT] [AGENT]`

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use pyro_catalog::{
    Catalog, CatalogError, Installed, ProgressMonitor, Step, find, tools, user_namespaces,
};

struct Printed {
    start: Instant,
}

impl ProgressMonitor for Printed {
    fn progress(&self, step: &Step) {
        let percent = step
            .fraction
            .map_or("  ".to_owned(), |f| format!("{:2.0}", f * 100.0));
        let at = self.start.elapsed().as_secs_f32();
        println!(
            "{at:6.2}s {percent}% {:<12} {}",
            step.phase.as_str(),
            step.message
        );
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
    let spec = find(arguments.get(1).map_or("debian:12", String::as_str))?;
    let catalog = Catalog::open(cache);
    let monitor = Printed {
        start: Instant::now(),
    };
    if std::env::var_os("DOCTOR").is_some() {
        println!("{:#?}\n{:?}", tools(), user_namespaces());
        return Ok(());
    }
    if std::env::var_os("PRUNE").is_some() {
        println!("{:?}", catalog.prune(&|_| false)?);
        return Ok(());
    }

    let installed: Installed = catalog.pull(spec, &monitor)?;
    println!(
        "{:6.2}s pulled\n{installed:#?}",
        monitor.start.elapsed().as_secs_f32()
    );
    timed("ensure", || catalog.ensure(spec, &monitor).map(drop))?;
    timed("verify", || catalog.verify(spec).map(drop))?;
    if let Some(agent) = arguments.get(2) {
        for _ in 0..2 {
            timed("initramfs", || {
                let path = catalog.initramfs(&installed.kernel, Path::new(agent))?;
                println!("{}", path.display());
                Ok(())
            })?;
        }
    }
    println!("{:?}", catalog.space()?);
    Ok(())
}

fn timed(what: &str, call: impl Fn() -> Result<(), CatalogError>) -> Result<(), CatalogError> {
    let start = Instant::now();
    call()?;
    println!("{what}: {:.3} ms", start.elapsed().as_secs_f64() * 1000.0);
    Ok(())
}
