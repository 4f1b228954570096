//! A disk layer that a guest may have had damaged, over nothing.

#![no_main]

mod walk;

use libfuzzer_sys::fuzz_target;
use pyro_disk::layers::Format;

fuzz_target!(|bytes: &[u8]| walk::walk(bytes, Format::Qcow2));
