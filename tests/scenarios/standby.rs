//! VMs that wait: a run takes one, gets a guest like any other, and another takes its place.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyro_api::{Caller, Disconnected, Event, EventSink};
use pyro_engine::Templates;
use pyro_tests::leftovers::processes;
use pyro_tests::surfaces::engine::{Library, config};
use pyro_tests::surfaces::mcp::{Connection as Client, NEWEST_WITH_INITIALIZE};
use pyro_tests::world::{Running, eventually, finish, pyro};
use pyro_tests::{Surface, World, program};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

crate::stories! { [vm]:
    a_run_takes_a_vm_that_waited_and_another_takes_its_place,
    a_vm_that_waited_is_a_fresh_guest,
    the_clocks_of_many_handed_out_at_once_are_right,
    a_vm_that_waits_uses_no_processor,
    a_vm_that_waits_gives_way_when_memory_is_short,
    a_vm_of_another_pyro_is_not_handed_out,
    a_vm_that_died_while_it_waited_fails_no_run,
    the_end_of_the_owner_is_the_end_of_those_that_wait,
    the_rest_of_a_vm_goes_after_the_answer,
    a_server_keeps_vms_waiting_when_it_is_told_to,
}

crate::stories! { [process]: processes_of_the_host_do_not_wait }

const PATIENCE: Duration = Duration::from_secs(60);

/// What tells two guests apart, each on a line.
const IDENTITY: &str =
    "cat /proc/sys/kernel/random/boot_id /etc/machine-id /etc/hostname; hostname;
    od -An -N16 -tx1 /dev/urandom";

/// What lies and runs in a guest: files that are newer than its name, and programs.
const TRACES: &str = "find /etc /home -type f -newer /etc/machine-id ! -path /etc/hosts;
    find /tmp /var/tmp /run /workspace /root /dev/shm -type f;
    readlink /proc/[0-9]*/exe; true";

fn run_with(surface: &dyn Surface, command: &str, mem_mib: u32) -> Value {
    let arguments = json!({
        "environment": "debian:12",
        "command": command,
        "mem_mib": mem_mib,
        "timeout_seconds": 120,
    });
    surface.call("vm_run", arguments).unwrap()
}

fn run(surface: &dyn Surface, command: &str) -> Value {
    run_with(surface, command, 256)
}

fn waited(result: &Value) -> bool {
    result["standby"].as_bool().unwrap()
}

/// The VMs that wait, by the records of this world.
fn waiting(world: &World) -> Vec<String> {
    // A database may not be there yet, or have no table yet.
    let path = world.state_dir().join("pyro.db");
    let Ok(store) = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY) else {
        return Vec::new();
    };
    let Ok(mut query) = store.prepare("SELECT vm_id FROM vms WHERE running = 2") else {
        return Vec::new();
    };
    let ids = query.query_map([], |row| row.get(0)).unwrap();
    ids.collect::<Result<_, _>>().unwrap()
}

fn a_run_takes_a_vm_that_waited_and_another_takes_its_place(world: &World) {
    let surface = Library::new(world);
    assert!(!waited(&run(&surface, "true")));
    surface.keep_standby(1);
    let first = waiting(world);
    let result = run(&surface, "echo out; exit 3");
    assert!(waited(&result), "{result}");
    assert_eq!(result["vm_id"], first[0]);
    assert_eq!(
        (&result["stdout"], &result["exit_code"]),
        (&json!("out\n"), &json!(3))
    );
    assert_eq!(result["cleanup"]["deleted"], true);
    surface.await_standbys(1);
    assert_ne!(waiting(world), first);
    // Nobody's VM: no operation knows it, and none ends it.
    let vm_id = waiting(world).remove(0);
    let told = surface
        .call("vm_status", json!({ "vm_id": vm_id }))
        .unwrap_err();
    assert_eq!(told["code"], "unknown_vm");
    assert_eq!(
        surface.call("vm_reap_expired", json!({})).unwrap()["count"],
        0
    );
    // One of another size is not what was asked for.
    assert!(!waited(&run_with(&surface, "true", 1024)));
    assert_eq!(waiting(world), [vm_id]);
}

fn a_vm_that_waited_is_a_fresh_guest(world: &World) {
    let surface = Library::new(world);
    let fresh = run(&surface, TRACES);
    surface.keep_standby(2);
    // Long enough for a clock that stood still to be seen.
    std::thread::sleep(Duration::from_secs(2));
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        let before = now_ns();
        let result = run(&surface, &format!("date +%s%N; {IDENTITY}"));
        let after = now_ns();
        assert!(waited(&result), "{result}");
        let lines: Vec<&str> = result["stdout"].as_str().unwrap().lines().collect();
        let [clock, boot_id, machine_id, file, host, random] = lines[..] else {
            panic!("{lines:?}");
        };
        let clock: u128 = clock.parse().unwrap();
        assert!(
            (before..=after).contains(&clock),
            "{before} {clock} {after}"
        );
        let name = format!("pyro-{}", result["vm_id"].as_str().unwrap());
        assert_eq!((file, host), (name.as_str(), name.as_str()));
        for own in [boot_id, machine_id, random] {
            assert!(seen.insert(own.to_owned()), "{own} twice");
        }
        surface.await_standbys(2);
    }
    let result = run(&surface, TRACES);
    assert!(waited(&result));
    assert_eq!(
        (&result["exit_code"], &fresh["exit_code"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(sorted_lines(&result), sorted_lines(&fresh));
}

/// What a guest says about the time, and when the host heard it.
#[derive(Default)]
struct Clocks(Mutex<Vec<i128>>);

impl EventSink for Clocks {
    fn event(&self, event: Event<'_>) -> Result<(), Disconnected> {
        let heard = i128::try_from(now_ns()).unwrap();
        if let Event::Output { bytes, .. } = event {
            let lines = std::str::from_utf8(bytes).unwrap().lines();
            let behind = lines.map(|line| heard - line.parse::<i128>().unwrap());
            self.0.lock().unwrap().extend(behind);
        }
        Ok(())
    }
}

/// A line takes its time to the host, the fastest of many next to none.
fn the_clocks_of_many_handed_out_at_once_are_right(world: &World) {
    const CLOSE: i128 = 100_000_000;
    let surface = Library::new(world);
    surface.keep_standby(4);
    // Long enough to be seen, should one go on where it stood still.
    std::thread::sleep(Duration::from_secs(1));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let clocks = Arc::new(Clocks::default());
                let caller = Caller::new().with_events(Arc::clone(&clocks) as _);
                let arguments = json!({
                    "environment": "debian:12",
                    "command": "for _ in $(seq 20); do date +%s%N; sleep 0.05; done",
                    "mem_mib": 256,
                    "timeout_seconds": 120,
                });
                let result = surface.call_as(caller, "vm_run", arguments).unwrap();
                assert!(waited(&result), "{result}");
                let behind = clocks.0.lock().unwrap();
                assert_eq!(behind.len(), 20);
                let least = *behind.iter().min().unwrap();
                assert!(least.abs() < CLOSE, "{behind:?}");
            });
        }
    });
}

fn sorted_lines(result: &Value) -> Vec<&str> {
    let mut lines: Vec<&str> = result["stdout"].as_str().unwrap().lines().collect();
    lines.sort_unstable();
    lines
}

fn now_ns() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_nanos()
}

fn a_vm_that_waits_uses_no_processor(world: &World) {
    let surface = Library::new(world);
    surface.keep_standby(2);
    let ids: Vec<i32> = processes(&world.state_dir())
        .iter()
        .map(|process| process.pid)
        .collect();
    assert_eq!(ids.len(), 4, "a supervisor and a machine each");
    let used = || ids.iter().map(|pid| processor_ticks(*pid)).sum::<u64>();
    let before = used();
    std::thread::sleep(Duration::from_secs(5));
    let ticks = used() - before;
    // A hundredth of a second each: one guest that only idles would use more.
    assert!(ticks <= 5, "{ticks} ticks in 5 s");
    assert!(waited(&run(&surface, "true")));
}

/// Time in the processor, of a process and its threads, in hundredths of a second.
fn processor_ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn a_vm_that_waits_gives_way_when_memory_is_short(world: &World) {
    let mut config = config(world);
    config.memory_share = 600.0 / memory_mib();
    let surface = Library::with(config);
    surface.keep_standby(2);
    // 600 MiB hold both, or this one.
    let result = run_with(&surface, "echo there is room", 512);
    assert_eq!(result["stdout"], "there is room\n");
    assert!(!waited(&result));
    surface.await_standbys(2);
}

fn memory_mib() -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let total = text.split_whitespace().nth(1).unwrap();
    total.parse::<f64>().unwrap() / 1024.0
}

fn a_vm_of_another_pyro_is_not_handed_out(world: &World) {
    let copy = world.folder().join("pyro");
    program::copy(&pyro(), &copy);
    let mut config = config(world);
    config.pyro = Some(copy.clone());
    // What these would leave in the cache, nobody else would use.
    config.templates = Templates::Off;
    let surface = Library::with(config);
    surface.keep_standby(1);
    let old = waiting(world);
    // Not opened for writing, which is refused for a program that runs.
    let file = fs::File::open(copy).unwrap();
    file.set_modified(SystemTime::now()).unwrap();
    let result = run(&surface, "true");
    assert!(!waited(&result));
    assert_ne!(waiting(world), old);
}

fn a_vm_that_died_while_it_waited_fails_no_run(world: &World) {
    let surface = Library::new(world);
    surface.keep_standby(1);
    let machine = processes(&world.state_dir())
        .into_iter()
        .find(|process| process.command.contains("qemu-system"))
        .unwrap();
    kill(Pid::from_raw(machine.pid), Signal::SIGKILL).unwrap();
    let result = run(&surface, "echo here");
    assert_eq!(
        (result["stdout"].as_str(), waited(&result)),
        (Some("here\n"), false)
    );
    surface.await_standbys(1);
}

fn the_end_of_the_owner_is_the_end_of_those_that_wait(world: &World) {
    let bench = Running::start(&mut world.pyro(["bench", "--rounds", "1000"]));
    eventually("one waits", PATIENCE * 2, || {
        world.state_dir().join("pyro.db").exists() && !waiting(world).is_empty()
    });
    let pid = i32::try_from(bench.child.id()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    bench.wait();
    eventually("nothing runs", PATIENCE, || {
        processes(&world.state_dir()).is_empty()
    });
    // What is left is records, perhaps the folder of one that was being made, and a mark that
    // counts when it is some seconds old.
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    for mark in fs::read_dir(world.state_dir().join("owners")).unwrap() {
        let mark = fs::File::open(mark.unwrap().path()).unwrap();
        mark.set_modified(long_ago).unwrap();
    }
    // A run clears them away beside its own work, and does not wait for that when it is done first.
    let vms = world.state_dir().join("vms");
    eventually("no record and no folder is left", PATIENCE, || {
        let again = finish(&mut world.run(&["--mem-mib", "256"], ["echo again"]));
        assert_eq!(again.out(), "again\n", "{}", again.err());
        waiting(world).is_empty() && fs::read_dir(&vms).unwrap().next().is_none()
    });
}

fn the_rest_of_a_vm_goes_after_the_answer(world: &World) {
    let surface = Library::new(world);
    let result = run(&surface, "true");
    let vm_id = &result["vm_id"];
    let told = surface
        .call("vm_status", json!({ "vm_id": vm_id }))
        .unwrap_err();
    assert_eq!(told["code"], "unknown_vm");
    // The engine lives on and does nothing more about it.
    let folder = world.state_dir().join("vms").join(vm_id.as_str().unwrap());
    eventually("folder and processes are gone", PATIENCE, || {
        !folder.exists() && processes(&world.state_dir()).is_empty()
    });
}

fn processes_of_the_host_do_not_wait(world: &World) {
    let surface = Library::new(world);
    // They are wanted all the same, and none comes.
    surface.want_standby(1);
    let arguments = json!({
        "environment": "debian:12",
        "command": "echo here",
        "mem_mib": 256,
        "allow_host_compat": true,
    });
    let result = surface.call("vm_run", arguments).unwrap();
    assert_eq!(
        (result["stdout"].as_str(), waited(&result)),
        (Some("here\n"), false)
    );
}

fn a_server_keeps_vms_waiting_when_it_is_told_to(world: &World) {
    let world = World::new(world.backend).with("PYRO_STANDBY", "1");
    let mut client = Client::initialized(&world, &["--profile", "vm-run"], NEWEST_WITH_INITIALIZE);
    // As elsewhere: it may be the first of its size, which has a template to build.
    eventually("a VM waits", PATIENCE * 2, || waiting(&world).len() == 1);
    let asked = json!({ "environment": "debian:12", "command": "echo out" });
    let answer = client.call(1, "vm_run", asked);
    let told = &answer["structuredContent"];
    assert!(waited(told), "{answer}");
    assert_eq!(told["stdout"], "out\n");
    drop(client);
    eventually("the end of all", PATIENCE, || {
        processes(&world.state_dir()).is_empty()
    });
    finish(&mut world.pyro(["workspace", "list"]));
    world.assert_empty();
}
