//! A disk image that a guest wrote, read without its VM.

#![no_main]

mod walk;

use libfuzzer_sys::fuzz_target;
use pyro_disk::layers::Format;

fuzz_target!(|bytes: &[u8]| walk::walk(bytes, Format::Raw));
