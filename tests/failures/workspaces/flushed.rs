//! What a guest was told to be on its disk is there after everything was killed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal::{SIGKILL, SIGSTOP};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use pyro_tests::leftovers::processes as processes_of;
use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::world::eventually;
use pyro_tests::{Workspace, World};

use super::kill_points::forget_the_killed;
use crate::background_command::{AT_ONCE, BackgroundCommand};
use crate::processes::{self, Role, descendants};

crate::stories![Gvisor: what_was_flushed_survives_every_kill];

/// Says each number when it is on the disk: in a file of its own, in one that takes the place of another,
/// and at the end of a long one.
const WRITER: &str = r#"
import os
def flushed(path, text, mode="w"):
    with open(path, mode) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
def flush_names():
    folder = os.open(".", os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
number = first = int(open("last").read()) if os.path.exists("last") else 0
while True:
    number += 1
    flushed("n-%d" % number, "%d\n" % number * 500)
    flushed("next", "%d\n" % number)
    os.rename("next", "last")
    flush_names()
    flushed("all", "%d\n" % number, "a")
    print(number, flush=True)
    if number == first + 1:
        print("under way", flush=True)
"#;

/// Says how far it came, and what is missing of that.
const CHECKER: &str = r#"
import os
last = int(open("last").read())
# Whatever follows the last one may be there or not.
own = [n for n in range(1, last + 1) if open("n-%d" % n).read() != "%d\n" % n * 500]
lines = open("all").read().split("\n")[:-1]
print(last, lines[-1], own, len(lines) == len(set(lines)), os.path.exists("host") and open("host").read())
"#;

/// Who is killed, each time at another moment.
const VICTIMS: [Option<Role>; 7] = [
    Some(Role::Shim),
    None,
    Some(Role::Machine),
    Some(Role::Sentry),
    None,
    Some(Role::Gofer),
    None,
];

fn what_was_flushed_survives_every_kill(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    workspace.write("writer.py", WRITER);
    workspace.write("checker.py", CHECKER);
    for (round, victim) in VICTIMS.into_iter().enumerate() {
        let exec = [
            "workspace",
            "exec",
            workspace.id(),
            "--",
            "exec python3 writer.py",
        ];
        let exec = BackgroundCommand::running_until(world, world.pyro(exec), "under way");
        // By the host, beside the guest that writes.
        workspace.write("host", &format!("{round}"));
        let moment = moment();
        std::thread::sleep(moment);
        match victim {
            Some(role) => processes::signal(world, role, SIGKILL),
            None => kill_all(world),
        }
        let ran = exec.ends_within(AT_ONCE);
        let told = ran.out().lines().filter_map(|line| line.parse().ok()).max();
        let told: u64 = told.unwrap_or_default();
        let said = workspace.output("python3 checker.py");
        let words: Vec<&str> = said.split_whitespace().collect();
        let [last, line, "[]", "True", host] = words[..] else {
            panic!("{victim:?} after {moment:?}: {said}");
        };
        assert_eq!(host, round.to_string(), "{victim:?} after {moment:?}");
        for reached in [last, line] {
            let reached: u64 = reached.parse().unwrap();
            assert!(
                reached >= told,
                "{told} was told: {victim:?} after {moment:?}: {said}"
            );
        }
    }
    drop(workspace);
    forget_the_killed(world);
}

/// Another one in each run.
fn moment() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Duration::from_millis(u64::from(now.subsec_nanos()) / 1000 % 600)
}

/// All of a sandbox's processes at once: they stand still first, so that none sees another one end.
fn kill_all(world: &World) {
    let shim = processes::find(world, Role::Shim);
    processes::find(world, Role::Sentry);
    let mut all: Vec<i32> = descendants(shim.as_raw())
        .iter()
        .map(|one| one.pid)
        .collect();
    all.push(shim.as_raw());
    for signal in [SIGSTOP, SIGKILL] {
        for pid in &all {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(*pid), signal);
        }
    }
    eventually("all are gone", AT_ONCE, || {
        let mut left = processes_of(&world.state_dir());
        left.retain(|process| all.contains(&process.pid));
        left.is_empty()
    });
}
