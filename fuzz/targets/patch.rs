//! A patch in any form: unified, of a mail, with binary content, from `*** Begin Patch` on.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| pyro_engine::fuzzing::patch(bytes));
