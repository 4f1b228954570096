//! Every parser of a guest's bytes, with input that was sound before: the same inputs every time,
//! on every machine.
//!
//! An input that fails is kept in a file, and played alone with
//! `PYRO_FUZZ_INPUT=FILE cargo test --workspace --test damaged TARGET`. So is any other file.

mod damage;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use damage::Inputs;
use pyro_fuzz::{SeedError, Target};
use pyro_tests::played;
use watch::Watch;

macro_rules! tests {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            play(pyro_fuzz::target(stringify!($name)).expect("a target"));
        })*
    };
}

pyro_fuzz::each_target!(tests);

fn play(target: Target) {
    if let Some(file) = std::env::var_os("PYRO_FUZZ_INPUT") {
        (target.play)(&std::fs::read(file).expect("a file with an input"));
        return;
    }
    let (seeds, missing) = match (target.seeds)() {
        Ok(seeds) => (Some(seeds), String::new()),
        Err(SeedError::ToolMissing { what }) => (None, what),
        Err(error) => panic!("{}: no sound input: {error}", target.name),
    };
    let Some(seeds) = played(seeds, &missing) else {
        return;
    };
    let inputs = Inputs::new(target, seeds);
    let watch = Watch::begin(inputs.clone());
    for number in 0..target.inputs {
        let (origin, bytes) = inputs.get(number);
        watch.plays(number);
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.play)(&bytes)));
        // What is refused at once leads nowhere, however it is damaged.
        let as_it_should = outcome.is_ok_and(|sound| sound || !inputs.is_whole_seed(number));
        assert!(
            as_it_should,
            "{}",
            failure(&target, number, &origin, &bytes)
        );
    }
}

/// What is said of an input that failed. The input is kept.
fn failure(target: &Target, number: u64, origin: &str, bytes: &[u8]) -> String {
    let name = target.name;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("damaged");
    let file: PathBuf = folder.join(format!("{name}-{number}"));
    let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, bytes));
    let file = match kept {
        Ok(()) => file.display().to_string(),
        Err(error) => format!("(not kept: {error})"),
    };
    format!(
        "target {name} failed with input {number} of {}: {origin}\n\
         again:  PYRO_FUZZ_INPUT={file} cargo test --locked --workspace \
         --features pyro-shim/real-vms --test damaged {name}",
        target.inputs
    )
}
