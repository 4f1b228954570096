//! The `pyro` command line: the contract's operations as commands. Joins the crates.
//!
//! `tree` walks the list of operations and makes the commands of it; nothing here names one of
//! them. `event_printer` shows events as they come, `render` shows results and errors, and `tty`
//! lends the terminal to a guest's shell.
//!
//! The same binary becomes a VM's supervisor when it is started as `pyro shim`, and a server of
//! tools as `pyro mcp serve`. It tells other programs how to start that one as `pyro host`, and
//! lets a local model use it as `pyro demo ollama`.

mod demo_ollama;
mod documents;
mod event_printer;
mod failure;
mod host;
mod interruption;
mod mcp;
mod render;
mod run;
mod shim;
mod shutdown;
mod stdin;
mod timings;
mod tree;
mod tty;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program on its arguments.
pub fn main(args: Vec<OsString>) -> ExitCode {
    // A supervisor must start fast and needs none of the rest.
    if args.get(1).is_some_and(|word| word == shim::COMMAND) {
        return shim::main(&args[2..]);
    }
    // Hidden too: works on files for the engine, as root of a user namespace.
    if args
        .get(1)
        .is_some_and(|word| word == pyro_engine::FILES_COMMAND)
    {
        return pyro_engine::files_command(&args[2..]);
    }
    run::main(args)
}

/// The whole command line as data, for completions, manual pages and contract tests.
pub fn command() -> clap::Command {
    tree::Tree::<pyro_engine::Engine>::build().command
}
