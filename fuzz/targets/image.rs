//! A disk image that a guest wrote, read without its VM.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| pyro_engine::fuzzing::disk_image(bytes));
