//! A sandbox that uses more memory than it may goes on, at the price of the process that uses most of it.
//!
//! gVisor's kernel limits no memory and kills nobody for want of it. The shim counts, outside, where
//! no guest reaches, and asks here for a victim when the limit is passed. Where nothing comes of that
//! it ends the sandbox, so whatever root in the guest does to this is at the guest's own expense.

use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use pyro_wire::agent::FreeMemory;
use pyro_wire::fault::{Fault, FaultCode};

use crate::agent::Agent;
use crate::backend::Backend;
use crate::console;
use crate::descendants::{self, Seen};
use crate::lock::lock;

/// How long a killed process may take to give its memory back before another one is killed.
const PATIENCE: Duration = Duration::from_secs(1);

/// By such a part the two ways of counting may differ.
const LESS: u64 = 16;

const PAGE: u64 = 4096;

/// Who was killed last.
#[derive(Debug, Default)]
pub(crate) struct Victims(Mutex<Option<(Seen, Instant)>>);

/// Kills the process that uses most, unless that is not needed any more.
pub(crate) fn kill(agent: &Agent, request: &FreeMemory) -> Result<(), Fault> {
    if agent.backend != Backend::Sandbox {
        let words = "only the memory of a sandbox is freed by its agent";
        return Err(Fault::new(FaultCode::Refused, words));
    }
    let used = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| used_bytes(&text));
    // What the shim saw may have been freed since, or will be in a moment.
    let enough = request.limit_bytes - request.limit_bytes / LESS;
    if used.is_some_and(|used| used <= enough) {
        return Ok(());
    }
    let mut last = lock(&agent.victims.0);
    if let Some((victim, at)) = *last
        && at.elapsed() < PATIENCE
        && victim.is_there()
    {
        return Ok(());
    }
    let sizes = descendants::running()
        .into_iter()
        .map(|seen| (seen, resident(seen.pid())));
    let Some((victim, bytes)) = greediest(sizes) else {
        return Ok(());
    };
    let name = fs::read_to_string(format!("/proc/{}/comm", victim.pid())).unwrap_or_default();
    agent.launcher.groups.count_kill(victim.pid());
    victim.signal(libc::SIGKILL);
    *last = Some((victim, Instant::now()));
    console::report(format_args!(
        "out of memory: killed process {} ({}), which had {} MiB",
        victim.pid(),
        name.trim_end().escape_debug(),
        bytes >> 20
    ));
    Ok(())
}

/// Of two that have the same, the one that began later.
fn greediest(sizes: impl Iterator<Item = (Seen, u64)>) -> Option<(Seen, u64)> {
    sizes
        .filter(|(_, bytes)| *bytes > 0)
        .max_by_key(|(seen, bytes)| (*bytes, seen.age_order()))
}

/// What a process has in memory.
fn resident(pid: i32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm.split_ascii_whitespace().nth(1);
    pages.and_then(|pages| pages.parse().ok()).unwrap_or(0) * PAGE
}

/// What programs and file systems in memory use together, by `/proc/meminfo` as gVisor writes it.
fn used_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("AnonPages:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::reaper::CHILDREN;

    #[test]
    fn memory_is_what_no_file_holds() {
        let meminfo = "MemTotal: 524288 kB\nCached:           312548 kB\nAnonPages:        308796 kB\nShmem:            307200 kB\n";
        assert_eq!(used_bytes(meminfo), Some(308_796 << 10));
        assert_eq!(used_bytes("AnonPages: many kB\n"), None);
        assert_eq!(used_bytes(""), None);
    }

    #[test]
    fn whoever_has_most_goes_and_of_equals_the_younger() {
        let _children = CHILDREN.blocking_lock();
        let mut sleeps = [(); 2].map(|()| Command::new("sleep").arg("20").spawn().unwrap());
        let mut seen = descendants::running();
        seen.retain(|seen| {
            sleeps
                .iter()
                .any(|sleep| sleep.id().cast_signed() == seen.pid())
        });
        seen.sort_by_key(|seen| seen.age_order());
        let [older, younger] = seen[..] else {
            panic!("{seen:?}")
        };
        assert!(resident(older.pid()) > 0);
        let choose = |sizes: [(Seen, u64); 2]| greediest(sizes.into_iter());
        assert_eq!(choose([(older, 5), (younger, 4)]), Some((older, 5)));
        assert_eq!(choose([(older, 5), (younger, 5)]), Some((younger, 5)));
        assert_eq!(choose([(older, 0), (younger, 0)]), None);
        for sleep in &mut sleeps {
            sleep.kill().unwrap();
            sleep.wait().unwrap();
        }
    }
}
