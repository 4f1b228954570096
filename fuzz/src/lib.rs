//! Every parser of a guest's bytes: as a function that must neither panic, hang nor fill the memory,
//! whatever it is given, and with sound input to damage.
//!
//! ```text
//! targets ─┬─▶ tests/damaged    the same damaged inputs every time; part of the ordinary tests
//!          └─▶ src/libfuzzer.rs what reaches new code, found as it runs; `scripts/fuzz`
//! ```
//!
//! A target is a file of `targets` and a line in [`each_target`].

mod checksums;
mod seeds;
mod settle;
mod targets {
    pub(crate) mod archive;
    pub(crate) mod frames;
    pub(crate) mod image;
    pub(crate) mod layer;
    pub(crate) mod packets;
    pub(crate) mod patch;
    pub(crate) mod redaction;
    pub(crate) mod session;
    pub(crate) mod source;
    pub(crate) mod terminal;
    mod walk;
}

pub use seeds::{Seed, SeedError};

/// A parser, or some that belong together.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// Whether it was sound. That is only told of seeds; of anything else it may be wrong.
    pub play: fn(&[u8]) -> bool,
    /// Sound input.
    pub seeds: fn() -> Result<Vec<Seed>, SeedError>,
    /// Makes the checksums right again, so that what was damaged is read.
    pub mend: fn(&mut [u8]),
    /// How many inputs `tests/damaged` plays: about two seconds of them, in a debug build.
    pub inputs: u64,
}

/// Hands all targets to another macro.
#[macro_export]
macro_rules! each_target {
    ($to:ident) => {
        $to! { archive frames image layer packets patch redaction session source terminal }
    };
}

macro_rules! list {
    ($($name:ident)*) => { &[$(targets::$name::TARGET),*] };
}

pub const TARGETS: &[Target] = each_target!(list);

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|target| target.name == name).copied()
}
