//! The half of the Python package that follows from the declarations: methods with their names,
//! defaults and documentation, types of results, one exception for each code.
//!
//! Generated files are committed, so that a person and a type checker can read them; `--check`
//! fails when one of them is not what the declarations say.

mod declared;
mod errors;
mod methods;
mod text;
mod types;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use declared::declared;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../python/pyro_mcp");

pub(crate) fn generate(mut flags: impl Iterator<Item = String>) -> Result<()> {
    let check = match flags.next().as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => bail!("`{other}` is not a flag of `cargo xtask python`"),
    };
    let methods = declared();
    let mut results = types::Results::default();
    let files = [
        (
            "_methods.py",
            methods::file(&methods, &mut results, methods::Kind::Plain),
        ),
        (
            "_async_methods.py",
            methods::file(&methods, &mut results, methods::Kind::Async),
        ),
        ("errors.py", errors::file()?),
        ("results.py", results.file()),
    ];
    let mut stale = Vec::new();
    for (name, text) in files {
        let path = Path::new(FOLDER).join(name);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if check {
            stale.push(format!("python/pyro_mcp/{name}"));
        } else {
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            println!("python: wrote {name}");
        }
    }
    if !stale.is_empty() {
        bail!(
            "these are not what the declarations say; `make generate` writes them:\n  {}",
            stale.join("\n  ")
        );
    }
    println!("python: {} methods", methods.len());
    Ok(())
}
