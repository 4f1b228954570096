//! The attacker in QEMU's place; see `pyro_tests::attack`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pyro_tests::attack::in_place_of_qemu()
}
