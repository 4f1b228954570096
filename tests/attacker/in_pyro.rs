//! A pyro whose shim, or process of the network, has been taken over; see `pyro_tests::attack`. A file for
//! the report beside the program says which.

use std::fs::File;
use std::process::ExitCode;

use pyro_tests::attack::{Place, attack};

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    match &words[..] {
        [_, shim, mode, plan, _network] if shim == "shim" && mode == "--network" => {
            match report_to("report") {
                Ok(()) => pyro_shim::network_by(plan, || {
                    attack(Place::Network);
                    ExitCode::SUCCESS
                }),
                Err(_) => pyro_cli::main(words),
            }
        }
        [_, shim, folder] if shim == "shim" => match report_to("report of a shim") {
            Ok(()) => pyro_shim::run_by(folder.as_ref(), || attack(Place::Shim)),
            Err(_) => pyro_cli::main(words),
        },
        _ => pyro_cli::main(words),
    }
}

/// Opened while it can be: what is told in the jail goes there. Without such a file nobody wants to hear it.
fn report_to(name: &str) -> std::io::Result<()> {
    let path = std::env::current_exe()?.with_file_name(name);
    let report = File::options().append(true).open(path)?;
    Ok(nix::unistd::dup2_stderr(report)?)
}
