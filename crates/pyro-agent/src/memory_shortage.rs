//! A guest whose memory is used up goes on, at the price of the process that uses most of it.
//!
//! The kernel alone does not see to that. As long as it finds a page of a program to drop, it
//! drops it and reads it again from disk a moment later, and kills nothing: the guest makes no
//! progress for minutes (seen with Linux 6.1 and guests of 256 MiB). Here such a shortage is
//! recognised by the time that tasks lose to it, and the kernel is asked to choose whom it kills.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::console;

const PRESSURE: &str = "/proc/pressure/memory";
/// Wakes us when, of one second, nothing ran for half because of memory: microseconds of both.
/// At most once a second (`Documentation/accounting/psi.rst`).
const TRIGGER: &[u8] = b"full 500000 1000000\0";
/// So many times in a row, or memory is only short for a moment.
const TIMES: u32 = 3;
/// What comes later than this is not in a row.
const IN_A_ROW: Duration = Duration::from_millis(2500);
/// A guest that has more than one part in so many to give is slow for another reason.
const AVAILABLE_PART: u64 = 16;

/// Watches for as long as the guest lives, asleep while there is memory.
pub(crate) fn watch() {
    let watching = open_trigger().and_then(|trigger| {
        thread::Builder::new()
            .name("memory-shortage".to_owned())
            .stack_size(128 << 10)
            .spawn(move || watch_with(&trigger))
    });
    if let Err(error) = watching {
        // Kernels without pressure stall information still kill, only later.
        console::report(format_args!("cannot watch for memory shortage: {error}"));
    }
}

fn open_trigger() -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).open(PRESSURE)?;
    file.write_all(TRIGGER)?;
    Ok(file)
}

fn watch_with(trigger: &File) {
    let mut shortage = Shortage::default();
    loop {
        let mut polled = [PollFd::new(trigger.as_fd(), PollFlags::POLLPRI)];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => {
                return console::report(format_args!("cannot wait for memory shortage: {error}"));
            }
        }
        let events = polled[0].revents().unwrap_or(PollFlags::empty());
        if events.contains(PollFlags::POLLERR) {
            return console::report("the kernel no longer reports memory shortage");
        }
        if !events.contains(PollFlags::POLLPRI) {
            continue;
        }
        let scarce = fs::read_to_string("/proc/meminfo").is_ok_and(|text| is_scarce(&text));
        if shortage.stalled(Instant::now(), scarce) {
            // The kernel's own choice, and its own counts: `oom_kill` in `memory.events`.
            if let Err(error) = fs::write("/proc/sysrq-trigger", "f") {
                console::report(format_args!("cannot have the kernel free memory: {error}"));
            }
        }
    }
}

/// Stalls, counted until they are a shortage that does not pass.
#[derive(Default)]
struct Shortage {
    times: u32,
    last: Option<Instant>,
}

impl Shortage {
    /// One more second was lost. True when somebody must go.
    fn stalled(&mut self, now: Instant, scarce: bool) -> bool {
        let in_a_row = self.last.is_some_and(|last| now - last < IN_A_ROW);
        self.times = match (scarce, in_a_row) {
            (false, _) => 0,
            (true, true) => self.times + 1,
            (true, false) => 1,
        };
        self.last = Some(now);
        let full = self.times >= TIMES;
        if full {
            self.times = 0;
        }
        full
    }
}

/// Whether next to nothing is available, by `/proc/meminfo`.
fn is_scarce(meminfo: &str) -> bool {
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    match (kib("MemTotal:"), kib("MemAvailable:")) {
        (Some(total), Some(available)) => available < total / AVAILABLE_PART,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_scarce_when_hardly_any_is_available() {
        let meminfo = |available: u64| {
            format!(
                "MemTotal:         223620 kB\nMemFree:            2620 kB\nMemAvailable:  {available} kB\n"
            )
        };
        assert!(is_scarce(&meminfo(6356)));
        assert!(!is_scarce(&meminfo(28492)));
        assert!(!is_scarce("MemTotal: 223620 kB\n"));
        assert!(!is_scarce(""));
    }

    #[test]
    fn only_stalls_in_a_row_are_a_shortage() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut shortage = Shortage::default();
        assert!(!shortage.stalled(at(0), true));
        assert!(!shortage.stalled(at(1), true));
        assert!(!shortage.stalled(at(9), true), "a pause between");
        assert!(!shortage.stalled(at(10), true));
        assert!(!shortage.stalled(at(11), false), "there is memory again");
        assert!(!shortage.stalled(at(12), true));
        assert!(!shortage.stalled(at(13), true));
        assert!(shortage.stalled(at(14), true));
        assert!(!shortage.stalled(at(15), true), "counted from the start");
    }
}
