//! Finds what a test left behind: processes and files that belong to its state folder.

use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long the last VM may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process that belongs to a state folder: its arguments or its current folder name it, or, as the
/// first one of a sandbox and a VMM live in worlds of their own, it holds the lock of a VM.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    pub command: String,
}

pub fn processes(state_dir: &Path) -> Vec<Process> {
    let needle = state_dir.as_os_str().as_bytes();
    let own = std::process::id();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| {
            let folder = PathBuf::from(format!("/proc/{pid}"));
            let command = fs::read(folder.join("cmdline")).unwrap_or_default();
            let named = command.windows(needle.len()).any(|part| part == needle);
            let inside =
                fs::read_link(folder.join("cwd")).is_ok_and(|cwd| cwd.starts_with(state_dir));
            let holds = || is_in_its_own_world(&command) && has_open(&folder, state_dir);
            (named || inside || holds()).then(|| Process {
                pid: i32::try_from(pid).unwrap_or(0),
                command: String::from_utf8_lossy(&command).replace('\0', " "),
            })
        })
        .collect()
}

/// What a sandbox's first process and a VMM are called.
fn is_in_its_own_world(command: &[u8]) -> bool {
    let name = command.split(|byte| *byte == 0).next().unwrap_or_default();
    name == b"/runsc" || name.ends_with(b"qemu-system-x86_64")
}

/// Whether a process has a file below a folder open.
fn has_open(process: &Path, below: &Path) -> bool {
    fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .any(|fd| fs::read_link(fd.path()).is_ok_and(|file| file.starts_with(below)))
}

/// What is left, in words.
fn left(state_dir: &Path) -> Vec<String> {
    let mut left: Vec<String> = processes(state_dir)
        .iter()
        .map(|process| format!("process {} {}", process.pid, process.command))
        .collect();
    for folder in ["vms", "owners", "workspaces"] {
        let entries = fs::read_dir(state_dir.join(folder)).into_iter().flatten();
        for entry in entries.filter_map(Result::ok) {
            left.push(format!("{}", entry.path().display()));
        }
    }
    left
}

/// Waits a little, then insists.
pub fn assert_none(state_dir: &Path) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = left(state_dir);
        if left.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "left behind:\n  {}",
            left.join("\n  ")
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Ends what is left, by id, and waits until it is gone.
///
/// What is born while we look is found by the next look: it may have been stopped with its group by
/// an agent that was about to end it, and would then stay for ever. And a killed process loses its
/// command line first and its locks last, so that none is found is too early to look at what it
/// leaves.
pub fn kill_all(state_dir: &Path) {
    let deadline = Instant::now() + PATIENCE;
    let mut killed = HashSet::new();
    loop {
        let found = processes(state_dir);
        for process in &found {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
            killed.insert(process.pid);
        }
        let is_over = found.is_empty() && !killed.iter().any(|pid| is_there(*pid));
        if is_over || Instant::now() > deadline {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A zombie holds nothing any more, once all of its threads are one: they share what is open, and the
/// first may have ended before the others.
fn is_there(pid: i32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .any(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            let state = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.chars().next());
            state.is_some_and(|state| !"ZX".contains(state))
        })
}
