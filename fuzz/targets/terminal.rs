//! What a shell's terminal was told, made into what a person sees.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| pyro_engine::fuzzing::terminal(bytes));
