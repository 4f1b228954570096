//! PID 1 of a pyro guest; with `--process <folder>` an ordinary process that serves the same
//! protocol without a virtual machine around it.
//!
//! ```text
//! guest:    kernel ──▶ boot (modules, port) ──▶ waits in the initramfs, without using CPU
//!                                                 │ SetUp (maybe after Prepare)
//!                                                 ▼
//!                      root disk mounted, root switched ──▶ runs commands ──▶ ShutDown
//! process:  descriptor 3 ──▶ runs commands ──▶ descriptor 3 ends: kills all it started, exits
//! ```
//!
//! Hosts come and go: a *session* (greeting, then streams) ends when its host does, and with it
//! what its streams were running. What the guest is (set up or not) outlives every session.
//!
//! One thread does everything but work on files, which blocks. Nothing here trusts a byte that came
//! over the channel, and nothing on the host trusts the agent: root in the guest can replace it.

mod agent;
mod backend;
mod boot;
mod channel;
mod clock;
mod command;
mod console;
mod descendants;
mod exec;
mod exec_at_terminal;
mod files;
mod forward;
mod group;
mod identity;
mod input;
mod launcher;
mod lifecycle;
mod limits;
mod lock;
mod memory_shortage;
mod modules;
mod mounts;
mod network;
mod output;
mod peer;
mod port;
mod prepare;
mod process;
mod pty;
mod reaper;
mod secrets;
mod serve;
mod services;
mod setup;
mod shell_words;
mod shells;
mod shutdown;
mod spawn;
mod terminate;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    console::install_panic_hook();
    // The kernel hands words of its command line to its first process, so those mean nothing.
    if std::process::id() == 1 {
        boot::run();
    }
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [flag] if flag == "--version" => {
            println!("pyro-agent {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        [flag, folder] if flag == "--process" => process::run(PathBuf::from(folder)),
        _ => {
            console::report("usage: pyro-agent --process <folder> | --version");
            ExitCode::from(2)
        }
    }
}
