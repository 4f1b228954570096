//! `pyro shim`: hidden, started by the engine only. One process that keeps one VM alive.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;

pub(crate) const COMMAND: &str = "shim";

const USAGE: &str = "usage: pyro shim FOLDER | pyro shim --template SPEC | \
     pyro shim --network PLAN NETWORK | pyro shim --probe QEMU KERNEL INITRAMFS CACHE | \
     pyro shim --sandbox PLAN | pyro shim --jail PLAN PROGRAM ARGUMENT… | pyro shim --files SANDBOX MEM_MIB | \
     pyro shim --probe-sandbox RUNSC AGENT CACHE";

pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let args: Vec<&Path> = args.iter().map(Path::new).collect();
    match args.as_slice() {
        [word, qemu, kernel, initramfs, cache] if word.as_os_str() == "--probe" => {
            print(&pyro_shim::probe(qemu, kernel, initramfs, cache, false))
        }
        [word, runsc, agent, cache] if word.as_os_str() == "--probe-sandbox" => {
            print(&pyro_shim::probe_sandbox(runsc, agent, cache, false))
        }
        [word, plan] if word.as_os_str() == "--sandbox" => pyro_shim::sandbox(plan.as_os_str()),
        [word, plan, program, rest @ ..] if word.as_os_str() == "--jail" => {
            let rest: Vec<&OsStr> = rest.iter().map(|word| word.as_os_str()).collect();
            pyro_shim::jail(plan.as_os_str(), program.as_os_str(), &rest)
        }
        [word, sandbox, mem_mib] if word.as_os_str() == "--files" => {
            match (number(sandbox), number(mem_mib)) {
                (Some(sandbox), Some(mem_mib)) => pyro_shim::join_files(sandbox, mem_mib),
                _ => misused(),
            }
        }
        [word, spec] if word.as_os_str() == "--template" => pyro_shim::save_template(spec),
        [word, plan, network] if word.as_os_str() == "--network" => {
            pyro_shim::network(plan.as_os_str(), &network.to_string_lossy())
        }
        [folder] => pyro_shim::run(folder),
        _ => misused(),
    }
}

fn misused() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn number<N: FromStr>(word: &Path) -> Option<N> {
    word.to_str()?.parse().ok()
}

/// An answer as one line of JSON.
fn print(answer: &impl serde::Serialize) -> ExitCode {
    match serde_json::to_string(answer) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
