//! `pyro shim`: hidden, started by the engine only. One process that keeps one VM alive.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

pub(crate) const COMMAND: &str = "shim";

const USAGE: &str = "usage: pyro shim FOLDER | pyro shim --template SPEC | \
     pyro shim --network NETWORK | pyro shim --probe QEMU KERNEL INITRAMFS CACHE";

pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let args: Vec<&Path> = args.iter().map(Path::new).collect();
    match args.as_slice() {
        [word, qemu, kernel, initramfs, cache] if word.as_os_str() == "--probe" => {
            let probe = pyro_shim::probe(qemu, kernel, initramfs, cache, false);
            match serde_json::to_string(&probe) {
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
        [word, spec] if word.as_os_str() == "--template" => pyro_shim::save_template(spec),
        [word, network] if word.as_os_str() == "--network" => {
            pyro_shim::network(&network.to_string_lossy())
        }
        [folder] => pyro_shim::run(folder),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
