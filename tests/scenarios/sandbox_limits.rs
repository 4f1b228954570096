//! What a sandbox of gVisor's may take of its host, and what becomes of one that takes more.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use std::os::unix::fs::MetadataExt;

use pyro_tests::World;
use pyro_tests::leftovers::processes;
use pyro_tests::memory::EAT;
use pyro_tests::world::{Ran, finish};
use serde_json::{Value, json};

use crate::isolation::sandboxes;

crate::stories! { [vm]:
    a_sandbox_shows_what_it_has,
    a_command_that_takes_all_memory_is_killed_and_told,
    a_command_goes_on_whose_child_is_killed,
    files_take_no_memory,
    files_in_memory_have_an_end,
    a_sandbox_in_which_a_kill_does_not_help_is_ended,
    many_processes_end_with_their_command,
    processes_without_a_bound_of_the_guests_have_one,
}

const MEM_MIB: u64 = 256;

/// What a sandbox may have taken beside its guest's memory when it is ended.
const OVER_MIB: u64 = 512;

/// The most that was seen of a sandbox while its command ran.
#[derive(Clone, Copy, Default)]
struct Most {
    memory_mib: u64,
    /// Of the host's.
    processes: usize,
}

fn run(world: &World, command: &str) -> Value {
    let (ran, _) = watched(world, command);
    ran.json()
}

/// Runs a command, and watches the sandbox from outside.
fn watched(world: &World, command: &str) -> (Ran, Most) {
    let state_dir = world.state_dir();
    let over = Arc::new(AtomicBool::new(false));
    let watcher = {
        let over = Arc::clone(&over);
        thread::spawn(move || {
            let mut most = Most::default();
            let mut kernel = None;
            while !over.load(Ordering::Relaxed) {
                // It starts itself anew once, and is another process then.
                kernel = kernel
                    .filter(|kernel| memory(*kernel) > 0)
                    .or_else(|| kernel_of(&state_dir));
                if let Some(kernel) = kernel {
                    most.memory_mib = most.memory_mib.max(memory(kernel) >> 20);
                    most.processes = most.processes.max(2 * children(kernel).len());
                }
                thread::sleep(Duration::from_millis(10));
            }
            most
        })
    };
    let mem_mib = MEM_MIB.to_string();
    let flags = ["--isolation", "gvisor", "--mem-mib", &mem_mib, "--json"];
    let flags = [&flags[..], &["--timeout-seconds", "60"]].concat();
    let ran = finish(&mut world.run(&flags, [command]));
    over.store(true, Ordering::Relaxed);
    (ran, watcher.join().unwrap())
}

/// gVisor's kernel: the process that has the guest's memory.
fn kernel_of(state_dir: &Path) -> Option<u32> {
    let found = processes(state_dir);
    let runsc = found
        .iter()
        .find(|process| process.command.starts_with("/runsc"))?;
    let below = children(runsc.pid.cast_unsigned());
    below
        .into_iter()
        .flat_map(|pid| [vec![pid], children(pid)].concat())
        .find(|pid| memory(*pid) > 0)
}

fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let lists = threads.into_iter().flatten().flatten();
    lists
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
            pids.collect::<Vec<_>>()
        })
        .collect()
}

/// The files that a process has in memory alone.
fn memory(pid: u32) -> u64 {
    let files = fs::read_dir(format!("/proc/{pid}/fd"));
    let files = files.into_iter().flatten().flatten();
    files
        .filter(|file| {
            let target = fs::read_link(file.path()).unwrap_or_default();
            target.to_string_lossy().starts_with("/memfd:")
        })
        .filter_map(|file| fs::metadata(file.path()).ok())
        .map(|file| file.blocks() * 512)
        .sum()
}

fn a_sandbox_shows_what_it_has(world: &World) {
    if !sandboxes(world) {
        return;
    }
    let result = run(world, "free -m | awk '/Mem/ {print $2}'; nproc");
    assert_eq!(result["stdout"], "256\n1\n", "{result}");
    let reason = result["accelerator_reason"].as_str().unwrap();
    let said = ["watched, not limited", "a control group limits"];
    assert!(said.iter().any(|words| reason.contains(words)), "{reason}");
}

fn a_command_that_takes_all_memory_is_killed_and_told(world: &World) {
    if !sandboxes(world) {
        return;
    }
    let (ran, most) = watched(world, &format!("exec {EAT}"));
    let result = ran.json();
    assert_eq!(result["oom_killed"], true, "{result}");
    assert_eq!(result["exit_code"], 137, "{result}");
    let advice = result["advice"].as_str().unwrap();
    assert!(
        advice.contains("256 MiB") && advice.contains("`--mem-mib`"),
        "{advice}"
    );
    assert!(
        (MEM_MIB / 2..MEM_MIB + OVER_MIB).contains(&most.memory_mib),
        "{} MiB",
        most.memory_mib
    );
}

fn a_command_goes_on_whose_child_is_killed(world: &World) {
    if !sandboxes(world) {
        return;
    }
    let command = format!("(exec {EAT}); echo $?; (exec sleep 0.1); echo whole");
    let result = run(world, &command);
    assert_eq!(result["stdout"], "137\nwhole\n", "{result}");
    assert_eq!(result["exit_code"], 0, "{result}");
    assert_eq!(result["oom_killed"], true, "{result}");
    // A kill for another reason is told as what it is.
    let result = run(world, "kill -9 $$");
    let told = (&result["exit_code"], &result["oom_killed"]);
    assert_eq!(told, (&json!(137), &json!(false)), "{result}");
}

fn files_take_no_memory(world: &World) {
    if !sandboxes(world) {
        return;
    }
    let command = "head -c 600M /dev/zero > /tmp/large && cp /tmp/large /workspace/copy && \
                   cat /tmp/large /workspace/copy | wc -c";
    let (ran, most) = watched(world, command);
    let result = ran.json();
    assert_eq!(result["stdout"], "1258291200\n", "{result}");
    assert_eq!(result["oom_killed"], false, "{result}");
    assert!(most.memory_mib < MEM_MIB, "{} MiB", most.memory_mib);
}

fn files_in_memory_have_an_end(world: &World) {
    if !sandboxes(world) {
        return;
    }
    let fill = "for folder in /dev/shm /run /dev; do head -c 1G /dev/zero > $folder/x; \
                wc -c < $folder/x; rm $folder/x; done 2>/dev/null";
    let result = run(world, fill);
    let half = format!("{}\n", MEM_MIB << 19);
    assert_eq!(result["stdout"], half.repeat(3), "{result}");
    assert_eq!(result["oom_killed"], false, "{result}");
}

/// Root in the guest takes memory that no process shows.
fn a_sandbox_in_which_a_kill_does_not_help_is_ended(world: &World) {
    if !sandboxes(world) {
        return;
    }
    // Without a size it would have half of the guest's memory, as those that are there have.
    let fill = "mount -t tmpfs -o size=2g none /mnt; for i in $(seq 40); do \
                (while :; do head -c 64M /dev/zero >> /mnt/$i; done) 2>/dev/null & done; sleep 1000";
    let (ran, most) = watched(world, fill);
    let told = ran.json();
    if ran.code() == 137 {
        // On a busy host the turn came to the command's own shell before that.
        assert_eq!(told["oom_killed"], true, "{told}");
    } else {
        assert_eq!(told["code"], "vm_died", "{told}");
        assert!(told["causes"].to_string().contains("memory"), "{told}");
        assert!(
            told["hint"].as_str().unwrap().contains("`--mem-mib`"),
            "{told}"
        );
    }
    assert!(
        most.memory_mib < MEM_MIB + OVER_MIB + 128,
        "{} MiB",
        most.memory_mib
    );
    assert_eq!(run(world, "echo again")["stdout"], "again\n");
}

/// Without end, and with a name that the shell gives itself.
const BOMB: &str = "bomb() { bomb | bomb & }; bomb; sleep 1000";

fn many_processes_end_with_their_command(world: &World) {
    if !sandboxes(world) {
        return;
    }
    let command = format!("timeout -s KILL 5 sh -c '{BOMB}'; echo $?");
    let (ran, most) = watched(world, &command);
    // What is left of it goes with the command.
    assert!(
        ran.code() == 0 || ran.json()["code"] == "vm_died" || ran.json()["oom_killed"] == true,
        "{}",
        ran.out()
    );
    assert!(most.processes < 2100, "{} processes", most.processes);
    assert_eq!(run(world, "echo again")["stdout"], "again\n");
}

/// As root in the guest may do, who then is held by the host.
fn processes_without_a_bound_of_the_guests_have_one(world: &World) {
    if !sandboxes(world) {
        return;
    }
    let free = "echo $$ > /sys/fs/cgroup/pids/cgroup.procs; ";
    let (ran, most) = watched(world, &format!("{free}{BOMB}"));
    // What the user namespace may have, which counts threads as well; the host's default is ten times that.
    assert!(most.processes < 3200, "{} processes", most.processes);
    drop(ran);
    assert_eq!(run(world, "echo again")["stdout"], "again\n");
}
