//! A pyro whose process of the network has been taken over; see `pyro_tests::attack`.

use std::fs::File;
use std::process::ExitCode;

use pyro_tests::attack::{Place, attack};

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    match &words[..] {
        [_, shim, mode, plan, _network] if shim == "shim" && mode == "--network" => {
            // Opened while it can be: what is told in the jail goes there.
            let report = std::env::current_exe().map(|program| program.with_file_name("report"));
            let report = report.and_then(|path| File::options().write(true).open(path));
            match report.and_then(|report| Ok(nix::unistd::dup2_stderr(report)?)) {
                Ok(()) => pyro_shim::network_by(plan, || {
                    attack(Place::Network);
                    ExitCode::SUCCESS
                }),
                Err(_) => ExitCode::FAILURE,
            }
        }
        _ => pyro_cli::main(words),
    }
}
