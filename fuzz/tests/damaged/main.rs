//! Every parser of a guest's bytes, with input that was sound before: the same inputs every time,
//! on every machine.
//!
//! An input that fails is kept in a file, and played alone with
//! `PYRO_FUZZ_INPUT=FILE cargo test --package pyro-fuzz --test damaged TARGET`. So is any other file.

mod damage;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use damage::Inputs;
use pyro_fuzz::{SeedError, Target};
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
    let seeds = match (target.seeds)() {
        Ok(seeds) => seeds,
        Err(SeedError::ToolMissing { what }) => return not_played(&what),
        Err(error) => panic!("{}: no sound input: {error}", target.name),
    };
    let inputs = Inputs::new(target, seeds);
    let watch = Watch::begin(inputs.clone());
    for number in 0..target.inputs {
        let (origin, bytes) = inputs.get(number);
        watch.plays(number);
        let played = catch_unwind(AssertUnwindSafe(|| (target.play)(&bytes)));
        // What is refused at once leads nowhere, however it is damaged.
        let as_it_should = played.is_ok_and(|sound| sound || !inputs.is_whole_seed(number));
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
         again:  PYRO_FUZZ_INPUT={file} cargo test --locked --package pyro-fuzz --test damaged {name}",
        target.inputs
    )
}

/// Says why a test is not played, and fails where all of them must be.
#[track_caller]
fn not_played(why: &str) {
    let must = std::env::var_os("PYRO_TESTS_PLAY_ALL").is_some_and(|value| !value.is_empty());
    assert!(
        !must,
        "not played although PYRO_TESTS_PLAY_ALL is set: {why}"
    );
    eprintln!("NOT PLAYED: {why}");
}
