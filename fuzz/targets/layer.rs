//! A disk layer that a guest may have had damaged, over nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| pyro_engine::fuzzing::disk_layer(bytes));
