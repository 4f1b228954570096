//! The target of the name in `PYRO_FUZZ_TARGET`, on libFuzzer. Its sound input is written to the folder
//! in `PYRO_FUZZ_SEEDS`, before libFuzzer reads it from there.

#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use pyro_fuzz::{TARGETS, Target};

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(
    init: begin(),
    |bytes: &[u8]| {
        if let Some(target) = TARGET.get() {
            (target.play)(bytes);
        }
    }
);

fn begin() {
    let name = std::env::var("PYRO_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = pyro_fuzz::target(&name) else {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("PYRO_FUZZ_TARGET is none of {}", names.join(" "));
        std::process::exit(2);
    };
    TARGET.get_or_init(|| target);
    if let Some(folder) = std::env::var_os("PYRO_FUZZ_SEEDS").map(PathBuf::from) {
        let seeds = (target.seeds)().expect("sound input");
        for seed in seeds {
            std::fs::write(folder.join(seed.name), seed.bytes).expect("written");
        }
    }
}
