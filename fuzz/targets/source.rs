//! An archive on its way into a guest, and the small files that a source may have.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| pyro_engine::fuzzing::source(bytes));
