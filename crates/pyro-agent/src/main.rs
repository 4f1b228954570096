//! PID 1 of a pyro guest; with `--sandbox` PID 1 of a gVisor sandbox; with `--files` a program of the
//! host whose root is the disk of one; and with `--process <folder>` an ordinary process that serves the
//! same protocol without anything around it.
//!
//! ```text
//! guest:    kernel ──▶ boot (modules, port) ──▶ waits in the initramfs, without using CPU
//!                                                 │ SetUp (maybe after Prepare)
//!                                                 ▼
//!                      root disk mounted, root switched ──▶ runs commands ──▶ ShutDown
//! sandbox:  descriptor 0 ──▶ SetUp ──▶ runs commands ──▶ ShutDown, or descriptor 0 ends
//! files:    descriptor 0 ──▶ SetUp ──▶ requests about files ──▶ ShutDown, or descriptor 0 ends
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
mod cgroup;
mod channel;
mod clock;
mod command;
mod console;
mod descendants;
mod exec;
mod exec_at_terminal;
mod files;
mod forward;
mod greediest;
mod group;
mod host_files;
mod host_socket;
mod identity;
mod inherited;
mod input;
mod launcher;
mod lifecycle;
mod limits;
mod lines;
mod lock;
mod memory;
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
mod sandbox;
mod secrets;
mod serve;
mod services;
mod setup;
mod shell_words;
mod shells;
mod shutdown;
mod socket_start;
mod sockets;
mod spawn;
mod standstill;
mod system_calls;
mod terminate;
mod user;
mod variables;
mod witness;
mod workspace;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    console::install_panic_hook();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if std::process::id() == 1 {
        match arguments.as_slice() {
            // A kernel is started with a command line that is ours and never has these words.
            [flag] if flag == "--sandbox" => return sandbox::run(),
            [flag] if flag == "--files" => return host_files::run(),
            // It hands words of it to its first process, so others mean nothing.
            _ => boot::run(),
        }
    }
    match arguments.as_slice() {
        [flag] if flag == "--version" => {
            println!("pyro-agent {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        [flag] if flag == "--sandbox" => {
            console::report("`--sandbox` is for the first process of a sandbox");
            ExitCode::from(2)
        }
        [flag] if flag == "--files" => host_files::run(),
        [flag, folder] if flag == "--process" => process::run(PathBuf::from(folder)),
        _ => {
            console::report("usage: pyro-agent --process <folder> | --files | --version");
            ExitCode::from(2)
        }
    }
}
