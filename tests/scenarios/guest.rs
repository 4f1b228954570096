//! What a command finds in its guest, and what it cannot do to anybody else from there.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use pyro_tests::World;
use pyro_tests::world::{Ran, Running, finish};
use serde_json::{Value, json};

crate::stories! { [vm]:
    a_guest_is_a_small_debian_of_its_own,
    nothing_of_one_run_is_found_by_the_next,
    a_guest_that_powers_off_is_told,
    a_guest_that_restarts_is_told,
    a_kernel_panic_shows_the_end_of_the_console,
    a_guest_that_halts_is_ended_with_its_timeout,
    a_fork_bomb_is_ended_with_its_timeout,
    memory_and_disk_run_out_for_the_guest_alone,
}

/// A command in a small guest, with little time.
fn run(world: &World, command: &str) -> Ran {
    let flags = ["--mem-mib", "256", "--timeout-seconds", "60"];
    finish(&mut world.run(&flags, [command]))
}

/// Prints as JSON what the guest is like.
const LOOK_AROUND: &str = r#"exec python3 -c '
import json, os, resource, shutil, socket, subprocess, time
json.dump({
    "clock": time.time(),
    "kernel": os.uname().release,
    "boot_id": open("/proc/sys/kernel/random/boot_id").read(),
    "uid": os.getuid(),
    "cwd": os.getcwd(),
    "environment": dict(os.environ),
    "hostname": socket.gethostname(),
    "own_address": socket.gethostbyname(socket.gethostname()),
    "mounts": [line.split()[:3] for line in open("/proc/mounts")],
    "devices": os.listdir("/sys/class/net"),
    "missing": [tool for tool in (
        "git", "python3", "pip", "curl", "less", "xz", "bzip2", "unzip", "patch", "file", "ssh",
        "rsync", "gpg", "sudo", "ps", "ip",
    ) if not shutil.which(tool)],
    "pip_of_a_venv": __import__("ensurepip").version(),
    "limits": {name: int(open("/proc/sys/" + name).read()) for name in (
        "fs/inotify/max_user_watches", "fs/inotify/max_user_instances", "fs/file-max",
        "vm/max_map_count", "kernel/pid_max",
    )},
    "rooms": {path: [room.f_frsize * room.f_blocks, os.stat(path).st_mode & 0o7777]
        for path in ("/dev/shm", "/tmp", "/run") for room in [os.statvfs(path)]},
    "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    "zones": [time.tzname[0], os.environ.__setitem__("TZ", "Asia/Tokyo") or time.tzset() or time.tzname[0]],
    "charset": __import__("locale").getpreferredencoding(),
    "open_files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "written": subprocess.run("echo x > file && cat file", shell=True).returncode,
}, open("/dev/stderr", "w"))
'"#;

fn a_guest_is_a_small_debian_of_its_own(world: &World) {
    let ran = finish(&mut world.run(&["--json"], [LOOK_AROUND]));
    let result = ran.json();
    let told = result["stderr"].as_str().unwrap();
    let guest: Value = serde_json::from_str(told).unwrap_or_else(|error| panic!("{error}: {told}"));

    let of_host = |path: &str| fs::read_to_string(path).unwrap();
    assert_ne!(guest["boot_id"], of_host("/proc/sys/kernel/random/boot_id"));
    assert_ne!(
        guest["kernel"],
        of_host("/proc/sys/kernel/osrelease").trim()
    );
    assert_eq!(guest["uid"], 0);
    assert_eq!(guest["cwd"], "/workspace");
    assert_eq!(guest["written"], 0);
    assert_eq!(guest["devices"], json!(["lo"]));
    assert_eq!(guest["missing"], json!([]));
    assert_ne!(guest["pip_of_a_venv"], json!(""));
    for (name, least) in [
        ("fs/inotify/max_user_watches", 524_288),
        ("fs/inotify/max_user_instances", 1024),
        ("fs/file-max", 1_000_000),
        ("vm/max_map_count", 262_144),
        ("kernel/pid_max", 4_194_304),
    ] {
        let limit = guest["limits"][name].as_u64().unwrap();
        assert!(limit >= least, "{name}: {limit}");
    }
    assert_eq!(guest["open_files"], json!([65_536, 524_288]));
    has_room_for_temporary_files(&guest);
    assert_eq!(guest["zones"], json!(["UTC", "JST"]));
    assert_eq!(guest["charset"], "UTF-8");
    let name = format!("pyro-{}", result["vm_id"].as_str().unwrap());
    assert_eq!(guest["hostname"], name);
    let address = guest["own_address"].as_str().unwrap();
    assert!(address.starts_with("127."), "{address}");
    has_an_ordinary_environment(&guest["environment"]);
    has_the_usual_mounts(&guest["mounts"]);
    agrees_with_the_hosts_clock(&guest, &result);
}

fn has_an_ordinary_environment(environment: &Value) {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(environment["PATH"], path);
    assert_eq!(environment["HOME"], "/root");
    assert_eq!(environment["USER"], "root");
    assert_eq!(environment["TERM"], "xterm-256color");
    assert_eq!(environment["LANG"], "C.UTF-8");
    assert_eq!(environment["PWD"], "/workspace");
    let mut names: Vec<&String> = environment.as_object().unwrap().keys().collect();
    names.sort_unstable();
    let expected = [
        "HOME", "LANG", "LOGNAME", "PATH", "PWD", "SHELL", "TERM", "USER",
    ];
    assert_eq!(names, expected);
}

/// Half of the memory for what programs share, and the disk for `/tmp`.
fn has_room_for_temporary_files(guest: &Value) {
    let room = |path: &str| {
        let [size, mode] = [0, 1].map(|at| guest["rooms"][path][at].as_u64().unwrap());
        (size, mode)
    };
    let half = guest["memory"].as_u64().unwrap() / 2;
    let (shared, mode) = room("/dev/shm");
    assert!(shared.abs_diff(half) < half / 10, "{shared} of {half}");
    assert_eq!(mode, 0o1777);
    let (temporary, mode) = room("/tmp");
    assert!(temporary > 8 << 30, "{temporary}");
    assert_eq!(mode, 0o1777);
}

fn has_the_usual_mounts(mounts: &Value) {
    for wanted in [
        ["/dev/vda", "/", "ext4"],
        ["proc", "/proc", "proc"],
        ["sysfs", "/sys", "sysfs"],
        ["devtmpfs", "/dev", "devtmpfs"],
        ["devpts", "/dev/pts", "devpts"],
        ["tmpfs", "/dev/shm", "tmpfs"],
        ["tmpfs", "/run", "tmpfs"],
        ["cgroup2", "/sys/fs/cgroup", "cgroup2"],
    ] {
        let mounted = mounts.as_array().unwrap();
        assert!(
            mounted.contains(&json!(wanted)),
            "{wanted:?} not in {mounts}"
        );
    }
}

/// The guest looked before now, and not longer ago than it ran.
fn agrees_with_the_hosts_clock(guest: &Value, result: &Value) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let ran_for = result["duration_ms"].as_f64().unwrap() / 1000.0;
    let behind = now - guest["clock"].as_f64().unwrap();
    assert!((-2.0..ran_for + 2.0).contains(&behind), "{behind} s behind");
}

fn nothing_of_one_run_is_found_by_the_next(world: &World) {
    let command = "cat /etc/machine-id; od -An -tx1 -N32 /dev/urandom | tr -d '\\n '; echo; \
                   ls -A /workspace /tmp /root/mark; touch mark /tmp/mark /root/mark /etc/mark";
    let (first, second) = (run(world, command), run(world, command));
    let lines = |ran: &Ran| ran.out().lines().map(str::to_owned).collect::<Vec<_>>();
    let (one, other) = (lines(&first), lines(&second));
    assert_eq!((one[0].len(), other[0].len()), (32, 32), "machine ids");
    assert_eq!((one[1].len(), other[1].len()), (64, 64), "random numbers");
    assert_ne!(one[0], other[0]);
    assert_ne!(one[1], other[1]);
    assert_eq!(one[2..], other[2..]);
    assert!(!second.out().contains("mark"), "{}", second.out());
    assert_eq!(first.code(), 0);
}

/// The VM is over before its command: an error of pyro with the reason and the console's end.
fn told_as_over(ran: &Ran, reason: &str, console: &str) {
    assert_eq!(ran.code(), 1, "{}", ran.err());
    let told = ran.err();
    assert!(told.contains("[error] VM `"), "{told}");
    assert!(told.contains("ended before the command did\n"), "{told}");
    assert!(told.contains(&format!("cause: {reason}")), "{told}");
    assert!(
        told.contains("cause: the last lines of its console:\n"),
        "{told}"
    );
    assert!(told.contains(console), "{told}");
    assert!(told.contains("hint: "), "{told}");
    assert!(told.len() < 16 * 1024, "{}", told.len());
}

fn a_guest_that_powers_off_is_told(world: &World) {
    // Not before somebody has seen what it wrote.
    let command = "echo before; read seen; echo o > /proc/sysrq-trigger; sleep 1000";
    let flags = ["--mem-mib", "256", "--timeout-seconds", "60"];
    let mut running = Running::start(world.run(&flags, [command]).stdin(Stdio::piped()));
    running.await_out("before\n");
    let mut input = running.child.stdin.take().unwrap();
    input.write_all(b"seen\n").unwrap();
    let ran = running.wait();
    told_as_over(&ran, "the guest powered off", "Power down");
    assert_eq!(ran.out(), "before\n");
}

fn a_guest_that_restarts_is_told(world: &World) {
    let reboot = "python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x1234567)'; sleep 1000";
    let ran = run(world, reboot);
    told_as_over(&ran, "the guest rebooted", "Restarting system");
}

fn a_kernel_panic_shows_the_end_of_the_console(world: &World) {
    let ran = run(world, "echo c > /proc/sysrq-trigger; sleep 1000");
    told_as_over(
        &ran,
        "the guest's kernel crashed: Kernel panic - not syncing: sysrq triggered crash",
        // The trace above it is longer than the tail.
        "Kernel Offset: ",
    );
}

fn a_guest_that_halts_is_ended_with_its_timeout(world: &World) {
    let halt = "import ctypes; ctypes.CDLL(None).reboot(ctypes.c_uint(0xcdef0123))";
    let ran = finish(&mut world.run(&["--timeout-seconds", "4"], ["python3", "-c", halt]));
    assert_eq!(ran.code(), 124, "{}", ran.err());
    assert!(ran.err().contains("[run] timed out"), "{}", ran.err());
}

fn a_fork_bomb_is_ended_with_its_timeout(world: &World) {
    let bomb = "echo before; bomb() { bomb | bomb & }; bomb; sleep 1000";
    let flags = ["--mem-mib", "256", "--timeout-seconds", "5"];
    let ran = finish(&mut world.run(&flags, [bomb]));
    assert_eq!(ran.code(), 124, "{}", ran.err());
    assert_eq!(ran.out(), "before\n");
}

fn memory_and_disk_run_out_for_the_guest_alone(world: &World) {
    let ran = run(
        world,
        "kill -9 1; kill -TERM 1; kill -INT 1; echo first process $?
         python3 -c 'a = [bytearray(1 << 18) for _ in range(4000)]' 2>/dev/null; echo memory $?
         python3 -c 'b = bytes(1 << 40)' 2>/dev/null; echo more memory $?
         fallocate -l 20G /large 2>/dev/null; echo disk $?
         rm -f /large; echo still here",
    );
    assert_eq!(
        ran.out(),
        "first process 0\nmemory 137\nmore memory 1\ndisk 1\nstill here\n",
        "{}",
        ran.err()
    );
    assert_eq!(ran.code(), 0);
    // The command went on without it; it is told all the same.
    let told = "[run] out of memory: the guest's kernel killed a process of the command\n\
                hint: The guest ran out of its 256 MiB of memory: ";
    assert!(ran.err().contains(told), "{}", ran.err());
}
