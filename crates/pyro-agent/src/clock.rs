//! The guest's clocks, and a record of where the time of a boot went.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};

use pyro_wire::step::Lap;

use crate::console;

/// A word of the kernel command line that makes [`Trace`] print itself.
const TRACE_PARAMETER: &str = "pyro.trace";

/// Time since the kernel started.
pub(crate) fn uptime() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// The wall clock: nanoseconds since 1970.
pub(crate) fn wall_clock() -> Option<u64> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since_1970.as_nanos()).ok()
}

/// Moves the wall clock by so many nanoseconds, at once: between reading it and setting it an
/// emulated processor may stand still for longer than it is wrong.
pub(crate) fn step_wall_clock(by_ns: i64) -> io::Result<()> {
    // SAFETY: all fields are numbers, for which zero is a value.
    let mut change: libc::timex = unsafe { std::mem::zeroed() };
    change.modes = libc::ADJ_SETOFFSET | libc::ADJ_NANO;
    change.time.tv_sec = by_ns.div_euclid(1_000_000_000);
    // Nanoseconds here, as the modes say.
    change.time.tv_usec = by_ns.rem_euclid(1_000_000_000);
    // SAFETY: the kernel reads and writes this one struct.
    Errno::result(unsafe { libc::adjtimex(&mut change) })?;
    Ok(())
}

/// Sets the wall clock: nanoseconds since 1970.
pub(crate) fn set_wall_clock(unix_time_ns: u64) -> io::Result<()> {
    let now = TimeSpec::from_duration(Duration::from_nanos(unix_time_ns));
    Ok(clock_settime(ClockId::CLOCK_REALTIME, now)?)
}

/// When each step of a request was reached, for whoever asked for it.
pub(crate) struct Laps {
    begun: Instant,
    reached: Option<Vec<Lap>>,
}

impl Laps {
    pub(crate) fn begin(wanted: bool) -> Self {
        Self {
            begun: Instant::now(),
            reached: wanted.then(Vec::new),
        }
    }

    pub(crate) fn reached(&mut self, name: &str) {
        if let Some(reached) = &mut self.reached {
            reached.push(Lap {
                name: name.to_owned(),
                after_us: u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            });
        }
    }

    pub(crate) fn finish(self) -> Vec<Lap> {
        self.reached.unwrap_or_default()
    }
}

/// When each step of the boot was over, in time since the kernel started.
#[derive(Default)]
pub(crate) struct Trace {
    steps: Vec<(&'static str, Duration)>,
    enabled: bool,
}

impl Trace {
    pub(crate) fn step(&mut self, name: &'static str) {
        self.steps.push((name, uptime()));
    }

    /// Looks whether the kernel command line asks for it. A guest that is resumed has looked before.
    pub(crate) fn read_command_line(&mut self) {
        self.enabled = std::fs::read_to_string("/proc/cmdline")
            .is_ok_and(|line| line.split_whitespace().any(|word| word == TRACE_PARAMETER));
    }

    /// Prints the steps where the command line asks for it. Not before the end: each line
    /// on an emulated serial port costs more than the steps.
    pub(crate) fn print_if_enabled(&mut self) {
        let steps = std::mem::take(&mut self.steps);
        if !self.enabled {
            return;
        }
        let mut before = Duration::ZERO;
        for (name, at) in steps {
            let took = at.saturating_sub(before).as_secs_f64() * 1000.0;
            let at_ms = at.as_secs_f64() * 1000.0;
            console::report(format_args!("trace {at_ms:9.2} ms  +{took:8.2}  {name}"));
            before = at;
        }
    }
}
