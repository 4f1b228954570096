use std::process::ExitCode;

fn main() -> ExitCode {
    pyro_cli::main(std::env::args_os().collect())
}
