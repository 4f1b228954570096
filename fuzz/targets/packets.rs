//! What a guest with a network puts on its link.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    pyro_network::fuzzing::frame(bytes);
    pyro_network::fuzzing::stream(bytes);
});
