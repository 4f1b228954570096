//! `kill -9`, of everybody, at every moment.

use std::os::unix::process::CommandExt;
use std::time::Duration;

use nix::sys::signal::Signal::{SIGKILL, SIGSTOP};
use nix::sys::signal::{kill, killpg};
use nix::unistd::Pid;
use pyro_tests::leftovers::processes;
use pyro_tests::world::{eventually, finish};
use pyro_tests::{Backend, World};

use crate::background_command::{AT_ONCE, BackgroundCommand, COMMAND, FLAGS};
use crate::processes::{self, Role, assert_no_vm};
use crate::{error, records};

crate::stories![[process, vm, gvisor]:
        a_killed_pyro_takes_its_vm_along,
    a_killed_group_takes_its_vm_along,
    a_killed_machine_is_told_at_once,
    a_killed_shim_takes_the_machine_along,
    when_all_are_killed_the_next_run_clears_up,
    a_machine_that_stands_still_does_not_hold_the_caller,
];

/// A sandbox is too quick to be met while it boots: `sandboxes.rs` kills at many moments.
mod booting {
    use super::*;
    crate::stories![[process, vm]:
        a_shim_killed_while_it_boots_is_told,
        a_pyro_killed_while_it_boots_leaves_nothing,
    ];
}

/// The next command works, and clears away what the last one could not.
fn the_next_run_works(world: &World) {
    // A machine that was killed has its folder until the kernel has taken back its memory, which may
    // be after its name is gone from the list of processes.
    eventually("no record is left", AT_ONCE, || {
        // Marks of engines are looked at when they are some seconds old.
        records::age_all(world);
        let run = finish(&mut world.run(&["--mem-mib", "256"], ["echo again"]));
        assert_eq!(error::none(&run), "again\n");
        records::count(world) == 0
    });
}

fn a_killed_pyro_takes_its_vm_along(world: &World) {
    let run = BackgroundCommand::at_work(world);
    run.signal(SIGKILL);
    run.ends_at_once();
    assert_no_vm(world);
    the_next_run_works(world);
}

fn a_killed_group_takes_its_vm_along(world: &World) {
    let mut command = world.run(FLAGS, [COMMAND]);
    command.process_group(0);
    let run = BackgroundCommand::running(world, command);
    killpg(run.pid(), SIGKILL).unwrap();
    run.ends_at_once();
    assert_no_vm(world);
    the_next_run_works(world);
}

fn a_killed_machine_is_told_at_once(world: &World) {
    let run = BackgroundCommand::at_work(world);
    processes::signal(world, Role::Machine, SIGKILL);
    let who = match world.backend {
        Backend::Process => "the agent",
        Backend::Vm => "QEMU",
        Backend::Gvisor => "runsc",
    };
    error::tells(
        &run.ends_at_once(),
        &[
            "ended before the command did",
            who,
            "killed by signal 9",
            "hint: ",
        ],
    );
    world.assert_empty();
    the_next_run_works(world);
}

fn a_killed_shim_takes_the_machine_along(world: &World) {
    let run = BackgroundCommand::at_work(world);
    processes::signal(world, Role::Shim, SIGKILL);
    error::tells(
        &run.ends_at_once(),
        &["ended before the command did", "hint: "],
    );
    world.assert_empty();
    the_next_run_works(world);
}

fn a_shim_killed_while_it_boots_is_told(world: &World) {
    let run = BackgroundCommand::start(world, &mut booting(world));
    processes::find(world, Role::Machine);
    processes::signal(world, Role::Shim, SIGKILL);
    error::tells(&run.ends_at_once(), &["did not start", "killed", "hint: "]);
    world.assert_empty();
    the_next_run_works(world);
}

fn a_pyro_killed_while_it_boots_leaves_nothing(world: &World) {
    let run = BackgroundCommand::start(world, &mut booting(world));
    processes::find(world, Role::Machine);
    run.signal(SIGKILL);
    run.ends_at_once();
    assert_no_vm(world);
    the_next_run_works(world);
}

/// A run that is long in booting: a VM is without a template, a process with an agent that never
/// answers.
fn booting(world: &World) -> std::process::Command {
    let mut run = world.run(FLAGS, [COMMAND]);
    match world.backend {
        Backend::Process => {
            // It waits without a child of its own, which only a living shim could end.
            let lines = "mkfifo $0.in; read -r never < $0.in";
            run.env("PYRO_AGENT", crate::missing::script(world, "agent", lines))
        }
        Backend::Vm | Backend::Gvisor => run.env("PYRO_TEMPLATES", "off"),
    };
    run
}

/// As the kernel does when memory is short, or a power cut.
fn when_all_are_killed_the_next_run_clears_up(world: &World) {
    let run = BackgroundCommand::at_work(world);
    let (shim, machine) = (
        processes::find(world, Role::Shim),
        processes::find(world, Role::Machine),
    );
    for pid in [shim, run.pid(), machine] {
        // The machine may be gone with its shim already.
        let _ = kill(pid, SIGKILL);
    }
    run.ends_at_once();
    eventually("all are gone", AT_ONCE, || {
        processes(&world.state_dir()).is_empty()
    });
    the_next_run_works(world);
}

fn a_machine_that_stands_still_does_not_hold_the_caller(world: &World) {
    let flags = &["--mem-mib", "256", "--timeout-seconds", "5"];
    let run = BackgroundCommand::running(world, world.run(flags, [COMMAND]));
    let stopped = match world.backend {
        Backend::Gvisor => Role::Sentry,
        Backend::Process | Backend::Vm => Role::Machine,
    };
    processes::signal(world, stopped, SIGSTOP);
    // A guest's process that waits for gVisor's kernel would have a processor all the time.
    for waiting in processes::descendants(processes::find(world, stopped).as_raw()) {
        let _ = kill(Pid::from_raw(waiting.pid), SIGSTOP);
    }
    // Its own timeout, and the fifteen seconds after which the host gives the guest up for lost.
    let ran = run.ends_within(Duration::from_secs(60));
    assert_eq!(ran.code(), 124, "{}", ran.err());
    assert_eq!(ran.out(), "at work\n");
    assert!(
        ran.took > Duration::from_secs(15),
        "the guest was not stopped"
    );
}
