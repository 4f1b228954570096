//! The `pyro` command line: the contract's operations as commands, and the joint of the rooms.
//!
//! `tree` walks the list of operations and makes the commands of it; this door names none of
//! them. `persons_terminal` is what a shell takes over; `terminal` shows events as they come, `render` shows results and errors. The same binary
//! becomes a VM's supervisor when it is started as `pyro shim`, and a server of tools as
//! `pyro mcp serve`, tells other programs how to start that one as `pyro host`, and lets a local
//! model use it as `pyro demo ollama`.

mod demo_ollama;
mod documents;
mod host;
mod interruption;
mod mcp;
mod persons_terminal;
mod render;
mod run;
mod shim;
mod terminal;
mod timings;
mod tree;
mod waiting_input;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program on its arguments.
pub fn main(args: Vec<OsString>) -> ExitCode {
    // A supervisor must start fast and needs none of the rest.
    if args.get(1).is_some_and(|word| word == shim::COMMAND) {
        return shim::main(&args[2..]);
    }
    run::main(args)
}

/// The whole command line as data, for completions, manual pages and contract tests.
pub fn command() -> clap::Command {
    tree::Tree::<pyro_engine::Engine>::build().command
}
