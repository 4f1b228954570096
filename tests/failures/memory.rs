//! How much memory processes took.

use nix::unistd::Pid;

/// The most memory that a process ever had, in MiB; absent when it has ended.
pub(crate) fn peak_mib(pid: Pid) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}
