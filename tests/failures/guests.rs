//! Guests that mean harm. Their commands run as root of a VM, so what they break is their own.

use std::io::Read;
use std::process::{ChildStdout, Stdio};
use std::time::Duration;

use nix::unistd::Pid;
use pyro_tests::World;
use pyro_tests::memory::EAT;
use pyro_tests::world::finish;

use crate::background_command::{AT_ONCE, BackgroundCommand};
use crate::memory::peak_mib;
use crate::processes::{self, Role};
use crate::{error, records};

crate::stories![[process, vm, gvisor]:
        escapes_pass_byte_for_byte_and_stay_out_of_json,
    daemons_that_hold_the_output_do_not_hold_the_call,
];

mod in_a_vm {
    use super::*;
    crate::stories![Vm:
        a_flood_to_a_slow_reader_stays_in_the_guest,
        a_flood_into_a_document_is_cut,
        a_guest_that_kills_everything_keeps_its_agent,
        a_flood_of_the_console_does_not_matter,
        a_guest_that_switches_itself_off_is_told,
        a_guest_whose_kernel_dies_is_told,
        a_fork_bomb_ends_with_its_time,
        a_guest_that_eats_its_memory_hurts_itself,
        a_guest_that_unplugs_its_channel_is_told,
        noise_on_the_channel_is_told,
        a_forged_header_on_the_channel_is_told,
        a_flood_on_the_channel_is_told,
    ];
}

/// A run that must never happen on the host: the command checks where it is, too.
fn in_guest(world: &World, flags: &[&str], command: &str) -> std::process::Command {
    assert_eq!(world.backend, pyro_tests::Backend::Vm);
    let flags: Vec<&str> = flags.iter().copied().chain(["--mem-mib", "256"]).collect();
    let guarded =
        format!("grep -q '^pyro.agent$' /sys/class/virtio-ports/*/name || exit 99\n{command}");
    world.run(&flags, [guarded])
}

fn escapes_pass_byte_for_byte_and_stay_out_of_json(world: &World) {
    let hostile = r"printf '\033]0;title\007\033[2J\033[31m{\42\134\000\377\r\nend'";
    let raw = finish(&mut world.run(&["--mem-mib", "256"], [hostile]));
    assert_eq!(
        raw.stdout,
        b"\x1b]0;title\x07\x1b[2J\x1b[31m{\"\\\0\xff\r\nend"
    );

    let ran = finish(&mut world.run(&["--mem-mib", "256", "--json"], [hostile]));
    let printable = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n');
    assert!(ran.stdout.iter().all(printable), "{}", ran.out());
    let text = "\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}[31m{\"\\\0\u{fffd}\r\nend";
    assert_eq!(ran.json()["stdout"], text);
}

fn daemons_that_hold_the_output_do_not_hold_the_call(world: &World) {
    let command =
        "sleep 1000 & setsid sleep 1000 & (setsid sh -c 'while sleep 1; do echo still; done' &)
        echo done; exit 3";
    let run = BackgroundCommand::start(
        world,
        &mut world.run(&["--mem-mib", "256", "--timeout-seconds", "900"], [command]),
    );
    let ran = run.ends_within(Duration::from_secs(60));
    assert_eq!(ran.code(), 3, "{}", ran.err());
    assert_eq!(ran.out().lines().next(), Some("done"));
}

fn a_flood_to_a_slow_reader_stays_in_the_guest(world: &World) {
    let flags = ["--timeout-seconds", "600"];
    let mut command = in_guest(world, &flags, "exec cat /dev/zero");
    let mut pyro = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(pyro.id()).unwrap());
    let mut stdout = pyro.stdout.take().unwrap();
    let shim = processes::find(world, Role::Shim);
    for _ in 0..20 {
        read_some(&mut stdout);
        std::thread::sleep(Duration::from_millis(200));
    }
    let peak = |pid| peak_mib(pid).expect("a living process");
    let peaks = (peak(pid), peak(shim));
    // A reader that has seen enough ends it all.
    drop(stdout);
    let mut status = None;
    pyro_tests::world::eventually("pyro ends with its reader", AT_ONCE, || {
        status = pyro.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(141));
    assert!(
        peaks.0 < 64 && peaks.1 < 64,
        "MiB of pyro and shim: {peaks:?}"
    );
}

fn read_some(stdout: &mut ChildStdout) {
    let mut some = [0; 4096];
    stdout.read_exact(&mut some).expect("output of the guest");
}

fn a_flood_into_a_document_is_cut(world: &World) {
    let flood = "yes | head -c 34M";
    let ran = finish(&mut in_guest(
        world,
        &["--json", "--timeout-seconds", "170"],
        flood,
    ));
    assert_eq!(ran.code(), 0, "{}", ran.err());
    let result = ran.json();
    assert_eq!(result["stdout_bytes"], 34 << 20);
    assert_eq!(result["stdout_truncated"], true);
    let kept = result["stdout"].as_str().unwrap().len();
    assert!((32 << 20..33 << 20).contains(&kept), "{kept}");
}

fn a_guest_that_kills_everything_keeps_its_agent(world: &World) {
    let command = "kill -9 -1; kill -9 1; kill -TERM 1; kill -INT 1; echo survived";
    assert_eq!(
        error::none(&finish(&mut in_guest(world, &[], command))),
        "survived\n"
    );
}

fn a_flood_of_the_console_does_not_matter(world: &World) {
    let command = "timeout 4 cat /dev/zero > /dev/ttyS0; yes $(printf '\\033[2J') | timeout 2 cat > /dev/ttyS0; echo done";
    assert_eq!(
        error::none(&finish(&mut in_guest(
            world,
            &["--timeout-seconds", "60"],
            command
        ))),
        "done\n"
    );
}

fn a_guest_that_switches_itself_off_is_told(world: &World) {
    let off = "echo o > /proc/sysrq-trigger; sleep 100";
    let ran = finish(&mut in_guest(
        world,
        &["--json", "--timeout-seconds", "60"],
        off,
    ));
    error::has_code(&ran, "vm_died");
    assert!(ran.out().contains("powered off"), "{}", ran.out());
}

fn a_guest_whose_kernel_dies_is_told(world: &World) {
    let crash = "echo c > /proc/sysrq-trigger; sleep 100";
    let ran = finish(&mut in_guest(
        world,
        &["--json", "--timeout-seconds", "60"],
        crash,
    ));
    error::has_code(&ran, "vm_died");
    assert!(ran.out().contains("Kernel panic"), "{}", ran.out());
}

fn a_fork_bomb_ends_with_its_time(world: &World) {
    let bomb = "echo begun; b() { b | b & }; b; sleep 1000";
    let ran = finish(&mut in_guest(world, &["--timeout-seconds", "5"], bomb));
    assert_eq!(ran.code(), 124, "{}", ran.err());
    assert!(ran.out().starts_with("begun\n"));
}

fn a_guest_that_eats_its_memory_hurts_itself(world: &World) {
    let ran = finish(&mut in_guest(
        world,
        &["--timeout-seconds", "60"],
        &format!("exec {EAT}"),
    ));
    assert_eq!(ran.code(), 137, "{}", ran.err());
}

fn a_guest_that_unplugs_its_channel_is_told(world: &World) {
    let unplug = "cd /sys/bus/virtio/drivers/virtio_console && for port in virtio*; do echo $port > unbind; done; sleep 100";
    let ran = finish(&mut in_guest(
        world,
        &["--json", "--timeout-seconds", "20"],
        unplug,
    ));
    error::has_code(&ran, "vm_died");
    assert_eq!(records::count(world), 0);
}

/// Root of a guest may take its agent's end of the channel and write what it likes.
fn attack(world: &World, what: &str) {
    let steal = format!(
        r#"exec python3 -c '
import ctypes, os
call = ctypes.CDLL(None, use_errno=True).syscall
ports = [int(fd) for fd in os.listdir("/proc/1/fd")
         if "vport" in os.readlink("/proc/1/fd/" + fd)]
channel = call(438, call(434, 1, 0), ports[0], 0)
assert channel >= 0, os.strerror(ctypes.get_errno())
os.set_blocking(channel, True)
print("stolen", flush=True)
import time; time.sleep(1)
{what}
time.sleep(1000)
'"#
    );
    let flags = ["--timeout-seconds", "300"];
    let run = BackgroundCommand::running_until(world, in_guest(world, &flags, &steal), "stolen");
    let ran = run.ends_within(Duration::from_secs(30));
    error::tells(&ran, &["can no longer be reached", "hint: "]);
    assert_eq!(records::count(world), 0);
}

fn noise_on_the_channel_is_told(world: &World) {
    attack(world, "os.write(channel, os.urandom(65536))");
}

fn a_forged_header_on_the_channel_is_told(world: &World) {
    // A frame of yamux for stream 1 that claims four gigabytes.
    attack(
        world,
        r#"os.write(channel, bytes([0, 0, 0, 0, 0, 0, 0, 1, 255, 255, 255, 255]))"#,
    );
}

fn a_flood_on_the_channel_is_told(world: &World) {
    attack(world, "\nwhile True: os.write(channel, b\"A\" * 65536)");
}
