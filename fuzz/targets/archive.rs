//! A guest's archive on its way into a folder of the host.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| pyro_engine::fuzzing::export_archive(bytes));
