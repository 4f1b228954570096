//! Somebody who has taken over a VM's QEMU, the process of its network or its shim, and tries to make
//! something of it; or who runs beside a shim as the same user.
//!
//! The program takes their place: the shim starts it as it starts them, with the same descriptors. It
//! makes one attempt after the other and writes to its standard error what came of each. None of the
//! attempts does harm where it works, as all of them do without a jail.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

mod attempts;
mod call;
mod files;
mod given;
mod kernel;
mod lacking;
mod noise;
mod plan;
mod processes;
mod report;
mod sockets;
mod stranger;

pub use attempts::{ATTEMPTS, Attempt, Place};
pub use call::{Attempted, Stopped};
pub use lacking::Lack;
pub use plan::Plan;
pub use processes::BY_DESCRIPTOR;
pub use report::{Outcome, read as read_report};
pub use stranger::Stranger;

/// The version that pyro gets to hear.
const VERSION: &str = "QEMU emulator version 10.0.2";

/// What QEMU says first on its monitor.
const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}"#;

/// The program in QEMU's place, in whichever way it was started.
pub fn in_place_of_qemu() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    match words.first().map(String::as_str) {
        Some("stranger") => return stranger::be(),
        Some("beside") => {
            attack(Place::Beside);
            return ExitCode::SUCCESS;
        }
        Some("lacking") => return lacking::become_program(&words[1..]),
        _ => {}
    }
    if has("--version") {
        println!("{VERSION}");
    } else if has("-chardev") {
        let monitor = greet();
        if has("-S") {
            // Without a guest: somebody looks at what this program is made of, and ends it then.
            std::thread::sleep(std::time::Duration::from_secs(20));
            return ExitCode::SUCCESS;
        }
        if Plan::own().is_some_and(|plan| plan.noise) {
            noise::make();
        } else {
            attack(Place::Vmm);
        }
        // An end of its own accord, which the shim tells with all that was written. Until then the monitor
        // is open: its end would be QEMU's.
        drop(monitor);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Is taken for QEMU by the shim. From here on a guest could be at work, so this is when one that has
/// broken out would begin.
fn greet() -> Option<BufReader<UnixStream>> {
    let monitor = given::Given::here().monitor?;
    // SAFETY: the descriptor came with the command line, and nobody else here uses it.
    let mut monitor = BufReader::new(unsafe { UnixStream::from_raw_fd(monitor) });
    writeln!(monitor.get_mut(), "{GREETING}").ok()?;
    monitor.read_line(&mut String::new()).ok()?;
    writeln!(monitor.get_mut(), "{{\"return\": {{}}}}").ok()?;
    Some(monitor)
}

/// Makes all attempts that the plan leaves.
pub fn attack(place: Place) {
    let Some(plan) = Plan::own() else {
        report::say("no plan");
        return;
    };
    for (number, attempt) in ATTEMPTS.iter().enumerate().skip(plan.from) {
        if !attempt.is_for(place) {
            continue;
        }
        // Should it end this process, this was the last word.
        report::began(number);
        let outcome = (attempt.run)(&plan);
        report::ended(number, &outcome);
    }
    report::over();
}
