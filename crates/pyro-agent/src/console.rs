//! What the agent says when there is no host to tell: lines on standard error, which in a guest
//! is the console that the host keeps.

use std::fmt::Display;
use std::io::{self, Write};
use std::panic;
use std::process;

use nix::sys::reboot::{RebootMode, reboot};

/// Says something and goes on.
pub(crate) fn report(message: impl Display) {
    // There is nobody to tell that nobody can be told.
    let _ = writeln!(io::stderr(), "pyro-agent: {message}");
}

/// Says exactly this.
pub(crate) fn print_line(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Says why and ends: a guest powers itself off, so that its host sees it at once.
pub(crate) fn fatal(message: impl Display) -> ! {
    report(message);
    if process::id() == 1 {
        power_off();
    }
    process::exit(1);
}

/// Ends the guest. Data that was not synced is lost.
pub(crate) fn power_off() -> ! {
    // The last words would otherwise still be in the serial port's buffer.
    let _ = nix::sys::termios::tcdrain(io::stderr());
    match reboot(RebootMode::RB_POWER_OFF) {
        Ok(never) => match never {},
        // Ending PID 1 panics the kernel, which ends a guest that was started with `panic=-1`.
        Err(_) => process::exit(1),
    }
}

/// Makes a panic name itself before it takes the guest down.
pub(crate) fn install_panic_hook() {
    panic::set_hook(Box::new(|panic| {
        report(panic);
        if process::id() == 1 {
            power_off();
        }
    }));
}
