//! Sandboxes that wait: what is not as it is with VMs that do.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyro_api::values::Isolation;
use pyro_engine::Config;
use pyro_tests::leftovers::processes;
use pyro_tests::surfaces::engine::{Library, config};
use pyro_tests::{Surface, World};
use serde_json::{Value, json};

use crate::isolation::sandboxes;

crate::stories! { [vm]:
    a_sandbox_that_waits_uses_no_processor,
    a_sandbox_that_waited_is_a_fresh_guest,
    sandboxes_and_vms_wait_side_by_side,
    a_sandbox_of_another_size_is_not_taken,
    a_sandbox_that_died_while_it_waited_fails_no_run,
}

/// Of an engine whose runs get sandboxes when they say nothing.
fn library(world: &World) -> Library {
    Library::with(Config {
        isolation: Isolation::Gvisor,
        ..config(world)
    })
}

fn run_as(surface: &dyn Surface, isolation: Option<&str>, command: &str, mem_mib: u32) -> Value {
    let arguments = json!({
        "environment": "debian:12",
        "command": command,
        "mem_mib": mem_mib,
        "isolation": isolation,
        "timeout_seconds": 120,
    });
    surface.call("vm_run", arguments).unwrap()
}

fn run(surface: &dyn Surface, command: &str) -> Value {
    run_as(surface, None, command, 256)
}

fn waited(result: &Value) -> bool {
    result["standby"].as_bool().unwrap()
}

/// The first processes of what this world has running, by their supervisors.
fn supervisors(world: &World) -> Vec<i32> {
    let own = processes(&world.state_dir()).into_iter();
    own.filter(|process| process.command.contains("shim"))
        .map(|process| process.pid)
        .collect()
}

/// These processes and all that they started.
fn families(mut pids: Vec<i32>) -> Vec<i32> {
    let all: Vec<(i32, i32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((pid, stat(pid)?[1].parse().ok()?))
        })
        .collect();
    let mut looked_at = 0;
    while let Some(parent) = pids.get(looked_at).copied() {
        let children = all
            .iter()
            .filter(|(pid, of)| *of == parent && !pids.contains(pid));
        let children: Vec<i32> = children.map(|(pid, _)| *pid).collect();
        pids.extend(children);
        looked_at += 1;
    }
    pids
}

/// What follows the name of a process: its state, its parent, and so on.
fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// Time in the processor, in hundredths of a second.
fn ticks(pid: i32) -> u64 {
    let stat = stat(pid).unwrap();
    stat[11].parse::<u64>().unwrap() + stat[12].parse::<u64>().unwrap()
}

fn a_sandbox_that_waits_uses_no_processor(world: &World) {
    if !sandboxes(world) {
        return;
    }
    let surface = library(world);
    surface.keep_standby(2);
    let all = families(supervisors(world));
    assert!(all.len() > 8, "a supervisor, runsc and its processes each");
    let used = || all.iter().map(|pid| ticks(*pid)).sum::<u64>();
    let before = used();
    std::thread::sleep(Duration::from_secs(5));
    let during = used() - before;
    // Two kernels of gVisor's that only idle take more than twice as much.
    assert!(during <= 5, "{during} ticks in 5 s");
    assert!(waited(&run(&surface, "true")));
}

fn a_sandbox_that_waited_is_a_fresh_guest(world: &World) {
    if !sandboxes(world) {
        return;
    }
    const TRACES: &str =
        "find /tmp /var/tmp /run /workspace /root /dev/shm -type f; ps -e -o comm=";
    let surface = library(world);
    let fresh = run(&surface, TRACES);
    assert!(!waited(&fresh));
    surface.keep_standby(2);
    // Long enough for a clock that stood still to be seen.
    std::thread::sleep(Duration::from_secs(2));
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        let before = now_ns();
        let result = run(
            &surface,
            "date +%s%N; cat /etc/machine-id /etc/hostname; hostname; od -An -N16 -tx1 /dev/urandom",
        );
        assert!(waited(&result), "{result}");
        let lines: Vec<&str> = result["stdout"].as_str().unwrap().lines().collect();
        let [clock, machine_id, file, host, random] = lines[..] else {
            panic!("{lines:?}");
        };
        let clock: u128 = clock.parse().unwrap();
        assert!((before..=now_ns()).contains(&clock), "{before} {clock}");
        let name = format!("pyro-{}", result["vm_id"].as_str().unwrap());
        assert_eq!((file, host), (name.as_str(), name.as_str()));
        for own in [machine_id, random] {
            assert!(seen.insert(own.to_owned()), "{own} twice");
        }
        surface.await_standbys(2);
    }
    let result = run(&surface, TRACES);
    assert!(waited(&result));
    assert_eq!(result["stdout"], fresh["stdout"]);
}

fn now_ns() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_nanos()
}

fn sandboxes_and_vms_wait_side_by_side(world: &World) {
    if !sandboxes(world) {
        return;
    }
    let surface = Library::new(world);
    surface.want_standby_of(Some(Isolation::Vm), 1);
    surface.want_standby_of(Some(Isolation::Gvisor), 1);
    for (isolation, mode) in [("gvisor", "gvisor"), ("vm", "guest_vsock")] {
        surface.await_standbys(2);
        let result = run_as(&surface, Some(isolation), "true", 256);
        assert!(waited(&result), "{result}");
        assert_eq!(result["execution_mode"], mode);
    }
    // Another one of each takes the place, and no second one of the other.
    surface.await_standbys(2);
    assert!(waited(&run_as(&surface, Some("gvisor"), "true", 256)));
    // Those of one kind may be given up while the others stay.
    surface.await_standbys(2);
    surface.want_standby_of(Some(Isolation::Vm), 0);
    surface.await_standbys(1);
    let result = run_as(&surface, Some("gvisor"), "true", 256);
    assert!(waited(&result), "{result}");
}

fn a_sandbox_of_another_size_is_not_taken(world: &World) {
    if !sandboxes(world) {
        return;
    }
    let surface = library(world);
    surface.keep_standby(1);
    let result = run_as(&surface, None, "echo here", 300);
    assert_eq!(
        (&result["stdout"], waited(&result)),
        (&json!("here\n"), false)
    );
    surface.await_standbys(1);
}

fn a_sandbox_that_died_while_it_waited_fails_no_run(world: &World) {
    if !sandboxes(world) {
        return;
    }
    let surface = library(world);
    surface.keep_standby(1);
    let supervisor = supervisors(world);
    let below = families(supervisor.clone());
    // The first process of the sandbox.
    kill(Pid::from_raw(below[supervisor.len()]), Signal::SIGKILL).unwrap();
    let result = run(&surface, "echo here");
    assert_eq!(
        (&result["stdout"], waited(&result)),
        (&json!("here\n"), false)
    );
    surface.await_standbys(1);
}
