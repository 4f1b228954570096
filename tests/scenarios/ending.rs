//! Signals to `pyro` in the middle of a run: it ends soon, says so by its status, leaves nothing.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyro_tests::World;
use pyro_tests::world::{Ran, Running, eventually};

crate::stories! { [process, vm, gvisor]:
    an_interrupt_ends_a_run,
    a_termination_ends_a_run,
    a_hangup_ends_a_run,
}

crate::stories! { [vm, gvisor]: an_interrupt_ends_a_boot }

crate::stories! { [process]: a_second_interrupt_changes_nothing }

/// More than a moment, as the machines that run this test may be busy.
const SOON: Duration = Duration::from_secs(3);

/// A command that would outlive its shell, its terminal and a polite request to end.
const STUBBORN: &str = "trap '' INT TERM HUP; setsid sleep 1000 & echo here; sleep 1000";

fn send(running: &Running, signal: Signal) {
    let pid = i32::try_from(running.child.id()).unwrap();
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn ends_soon(running: Running) -> Ran {
    let since = Instant::now();
    let ran = running.wait();
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    assert!(!ran.err().contains("[error]"), "{}", ran.err());
    ran
}

fn signal_ends_a_run(world: &World, signal: Signal) {
    let running = Running::start(&mut world.run(&["--mem-mib", "256"], [STUBBORN]));
    running.await_out("here\n");
    send(&running, signal);
    assert_eq!(ends_soon(running).code(), 128 + signal as i32);
}

fn an_interrupt_ends_a_run(world: &World) {
    signal_ends_a_run(world, Signal::SIGINT);
}

fn a_termination_ends_a_run(world: &World) {
    signal_ends_a_run(world, Signal::SIGTERM);
}

fn a_hangup_ends_a_run(world: &World) {
    signal_ends_a_run(world, Signal::SIGHUP);
}

fn an_interrupt_ends_a_boot(world: &World) {
    let running = Running::start(&mut world.run(&["--mem-mib", "256"], ["true"]));
    eventually("the boot begins", SOON * 10, || {
        running.err().contains("phase=start")
    });
    send(&running, Signal::SIGINT);
    assert_eq!(ends_soon(running).code(), 130);
}

fn a_second_interrupt_changes_nothing(world: &World) {
    let running = Running::start(&mut world.run(&[], [STUBBORN]));
    running.await_out("here\n");
    send(&running, Signal::SIGINT);
    send(&running, Signal::SIGINT);
    assert_eq!(ends_soon(running).code(), 130);
}
