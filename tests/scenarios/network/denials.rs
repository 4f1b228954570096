//! One guest, one world: what it reaches, what nobody must hear of, and what it cannot break.

use std::fs;
use std::io::Write;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyro_tests::world::{Running, eventually};
use pyro_tests::{World, played};
use serde_json::{Value, json};

use super::guest::Guest;
use super::lab::{HOLD, HOST, Lab, ONLY_IN_HOSTS, PORT, host_reaches};

crate::stories! { [vm, gvisor]:
    a_guest_reaches_the_outside_and_nothing_near_its_host,
}

/// Of the world outside, with the special-use ranges that nobody forbids.
const OPEN: [&str; 6] = [
    "203.0.113.9",
    "100.64.0.9",
    "198.18.0.9",
    "192.88.99.9",
    "2001:db8:9::9",
    "64:ff9b::203.0.113.9",
];

/// Private, link-local, metadata, and the first of them in a translator's clothes.
const CLOSED: [&str; 8] = [
    "10.9.9.9",
    "172.16.9.9",
    "192.168.9.9",
    "169.254.169.254",
    "fd00:9::9",
    "fd00:ec2::254",
    "64:ff9b::a09:909",
    "2002:a09:909::9",
];

/// What a guest hears of what is forbidden.
pub(crate) const PROHIBITED: [&str; 2] = ["EHOSTUNREACH", "EACCES"];

/// How long what has arrived may take to be written down.
const SOON: Duration = Duration::from_secs(10);

/// As many as a scan or a crawler opens on a bad day.
const MANY: u64 = 10_000;

/// Whose kernel takes longer for each.
const MANY_OF_A_SANDBOX: u64 = 2_000;

fn a_guest_reaches_the_outside_and_nothing_near_its_host(world: &World) {
    let lab = Lab::enter(world.folder());
    let Some(lab) = played(lab, "only root can make a network for this test") else {
        return;
    };
    let surface = pyro_tests::surfaces::cli::CommandLine(world);
    let allow_net = ["10.9.9.53:7777", "allowed.test:7777", "127.0.0.1:7778"];
    let guest = Guest::with_network(world, &surface, &allow_net);

    everything_open_is_reached(&guest);
    nothing_closed_hears_of_it(&lab, &guest);
    names_are_answered_and_promise_nothing(&guest);
    what_is_allowed_by_name_is_reached(&lab, &guest);
    big_and_slow_ones_do_not_stand_in_each_other_s_way(&guest);
    nothing_it_sends_breaks_its_network(&lab, &guest);
    many_connections_are_carried(world, &lab, &guest);
    its_network_dies_alone(world, &guest);
    if let Guest::Workspace(_, workspace, _) = &guest {
        workspace.done("stop", json!({}));
        it_is_all_the_same_after_a_stop(&guest);
    }
}

fn everything_open_is_reached(guest: &Guest<'_>) {
    let told = guest.look(&format!("look {}", OPEN.join(" ")));
    for address in OPEN {
        assert_eq!(told[address]["tcp"], "hello", "{address}: {told:#}");
    }
    // Others answer a datagram from their first address, which is another one.
    for address in ["203.0.113.9", "2001:db8:9::9"] {
        assert_eq!(told[address]["udp"], "hello", "{address}: {told:#}");
    }
    // Its router answers for itself; for others only a host that lets its users ping.
    assert_eq!(guest.look("ping 192.0.0.1"), "answer");
    assert_eq!(guest.look("ping fd70:7972:6f00::1"), "answer");
    assert!(["answer", "timeout"].contains(&told["203.0.113.9"]["icmp"].as_str().unwrap()));
    assert_eq!(
        guest.look(&format!("tcp 203.0.113.9 {}", PORT + 5)),
        "ECONNREFUSED"
    );
    assert_eq!(
        guest.look(&format!("udp 203.0.113.9 {}", PORT + 5)),
        "ECONNREFUSED"
    );
}

fn nothing_closed_hears_of_it(lab: &Lab, guest: &Guest<'_>) {
    // The pings would get through if the policy let them.
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
    assert_eq!(guest.look("ping 203.0.113.9"), "answer");
    assert_eq!(guest.look("ping 2001:db8:9::9"), "answer");

    let closed: Vec<&str> = CLOSED.into_iter().chain(HOST).collect();
    let before: Vec<_> = closed.iter().map(|address| lab.seen(address)).collect();
    let told = guest.look(&format!("{} {}", guest.glance(), closed.join(" ")));
    // Long enough for whatever was on its way.
    assert_eq!(guest.look("tcp 203.0.113.9"), "hello");
    for (address, before) in closed.iter().zip(before) {
        for way in ["tcp", "udp"] {
            let answer = told[*address][way].as_str().unwrap();
            assert!(
                guest.is_denial(way, address, answer),
                "{way} {address}: {told:#}"
            );
        }
        assert_eq!(told[*address]["icmp"], "prohibited", "{address}");
        // The host's own address is where the answers to what is allowed go.
        if *address != HOST[0] && *address != HOST[2] {
            assert_eq!(lab.seen(address), before, "{address} has heard something");
        }
    }
    // The host's loopback, by its router and by what a guest cannot even address.
    let router = guest.look(&format!("{} 192.0.0.1 fd70:7972:6f00::1", guest.glance()));
    for address in ["192.0.0.1", "fd70:7972:6f00::1"] {
        for way in ["tcp", "udp"] {
            let answer = router[address][way].as_str().unwrap();
            assert!(
                guest.is_denial(way, address, answer),
                "{way} {address}: {router:#}"
            );
        }
    }
    for address in ["127.0.0.1", "::1"] {
        assert!(
            lab.seen(address).is_empty(),
            "{address}: {:?}",
            lab.seen(address)
        );
    }
    // All of them are there, and whoever may reach them does.
    for address in closed.iter().chain(&["127.0.0.1", "::1"]) {
        assert!(host_reaches(address), "nobody listens at {address}");
        eventually(&format!("{address} being watched"), SOON, || {
            lab.seen(address).contains_key(&6)
        });
    }
}

fn names_are_answered_and_promise_nothing(guest: &Guest<'_>) {
    let names = guest.look(&format!(
        "names outside.test inside.test {ONLY_IN_HOSTS} no.test"
    ));
    assert_eq!(names["outside.test"], "203.0.113.9");
    assert_eq!(names["inside.test"], "10.9.9.9");
    assert_eq!(
        names[ONLY_IN_HOSTS],
        json!(null),
        "the host's own names leak"
    );
    assert_eq!(names["no.test"], json!(null));
    assert_eq!(guest.look("tcp outside.test"), "hello");
    let denied = guest.look("tcp inside.test");
    assert!(PROHIBITED.contains(&denied.as_str().unwrap()), "{denied}");
}

fn what_is_allowed_by_name_is_reached(lab: &Lab, guest: &Guest<'_>) {
    assert_eq!(guest.look("tcp 10.9.9.53"), "hello");
    assert_eq!(guest.look("tcp allowed.test"), "hello");
    let other_port = guest.look(&format!("tcp allowed.test {HOLD}"));
    assert!(
        PROHIBITED.contains(&other_port.as_str().unwrap()),
        "{other_port}"
    );
    // A port of the host's loopback is at the router.
    let before = lab.seen("127.0.0.1").get(&6).copied().unwrap_or_default();
    assert_eq!(
        guest.look(&format!("scan 192.0.0.1 {HOLD} {}", HOLD + 1))["open"],
        json!([HOLD])
    );
    eventually("the host's loopback hearing of it", SOON, || {
        lab.seen("127.0.0.1")[&6] > before
    });
}

fn big_and_slow_ones_do_not_stand_in_each_other_s_way(guest: &Guest<'_>) {
    let moved = guest.look("transfers 203.0.113.9");
    assert_eq!(moved["slow"], json!([12 << 20, 0]));
    assert_eq!(moved["beside"], json!([6 << 20, 0]));
    assert_eq!(moved["up"], 6 << 20);
    let v6 = guest.look("upload 2001:db8:9::9 3000000");
    assert_eq!(v6, 3_000_000);
}

fn nothing_it_sends_breaks_its_network(lab: &Lab, guest: &Guest<'_>) {
    let before = lab.seen("172.16.9.9");
    assert_eq!(guest.look("mischief 203.0.113.9 172.16.9.9"), true);
    assert_eq!(lab.seen("172.16.9.9"), before);
    let scanned = guest.look(&format!("scan 203.0.113.9 {} {}", PORT - 700, PORT + 100));
    assert_eq!(
        scanned,
        json!({ "open": [PORT, HOLD], "ECONNREFUSED": 798 })
    );
    assert_eq!(guest.look("tcp 203.0.113.9"), "hello");
}

fn many_connections_are_carried(world: &World, lab: &Lab, guest: &Guest<'_>) {
    let (soft, hard) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let many = match guest {
        Guest::Workspace(..) => MANY,
        Guest::OneShot(..) => MANY_OF_A_SANDBOX,
    };
    let possible = many.min(hard.saturating_sub(1_200));
    assert!(possible >= 1_000, "{soft} {hard}");
    let before = lab.held();
    // Where each has a network of its own there is to be one.
    guest.rest();
    let mut open = guest.probe(&format!("many 203.0.113.9 {possible}"));
    let mut running = Running::start(&mut open);
    eventually(
        "as many connections as wanted",
        Duration::from_secs(170),
        || running.out().contains('\n'),
    );
    let told: Value = serde_json::from_str(running.out().trim()).unwrap();
    assert_eq!(told, json!({ "opened": possible, "refused": 0 }));
    let wanted = usize::try_from(possible).unwrap();
    eventually("all of them at the other end", SOON, || {
        lab.held() - before == wanted
    });
    // Its other duties go on, and it takes no more of the host than is right.
    let kib = memory_of_network(world);
    assert!(kib < 512 * 1024, "{kib} KiB");
    println!("{possible} connections: the network's process has {kib} KiB");
    if let Guest::Workspace(_, workspace, _) = guest {
        assert_eq!(workspace.output("echo here"), "here\n");
        assert_eq!(guest.look("tcp 203.0.113.9"), "hello");
        drop(running);
        workspace.exec("pkill python3; true");
    } else {
        drop(running.child.stdin.take());
        assert_eq!(running.wait().code(), 0);
    }
    assert_eq!(guest.look("tcp 203.0.113.9"), "hello");
}

/// As after a fault in what reads the guest's packets.
fn its_network_dies_alone(world: &World, guest: &Guest<'_>) {
    match guest {
        Guest::Workspace(_, workspace, _) => {
            kill_network(world);
            assert_ne!(guest.look("udp 203.0.113.9"), "hello");
            let result = workspace.exec("echo here");
            assert_eq!(result["stdout"], "here\n");
            assert_eq!(result["workspace_started"], false);
        }
        Guest::OneShot(..) => {
            guest.rest();
            let mut run = guest.run(["sh", "-c", SENDING]);
            let mut running = Running::start(run.stdin(std::process::Stdio::piped()));
            running.await_out("hello\n");
            kill_network(world);
            let mut input = running.child.stdin.take().unwrap();
            input.write_all(b"go on\n").unwrap();
            let ran = running.wait();
            assert_eq!(ran.out(), "hello\nnothing\nhere\n", "{}", ran.err());
            assert_eq!(ran.code(), 0);
        }
    }
}

/// A guest that sends all the time, and asks before and after its network has gone.
const SENDING: &str = r#"exec python3 -c '
import socket, sys, threading
to = ("203.0.113.9", 7777)
def ask():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        try:
            sock.sendto(b"hello", to)
            return sock.recv(9).decode()
        except OSError:
            return "nothing"
def send():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while True:
        try:
            sock.sendto(bytes(1000), to)
        except OSError:
            pass
print(ask(), flush=True)
threading.Thread(target=send, daemon=True).start()
sys.stdin.readline()
print(ask())
print("here", flush=True)
'"#;

fn kill_network(world: &World) {
    let pid: i32 = network_process(world).parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    eventually("the end of the network's process", SOON, || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    });
}

fn it_is_all_the_same_after_a_stop(guest: &Guest<'_>) {
    assert_eq!(guest.look("tcp outside.test"), "hello");
    assert_eq!(guest.look("tcp 10.9.9.53"), "hello");
    let denied = guest.look("tcp 10.9.9.9");
    assert!(PROHIBITED.contains(&denied.as_str().unwrap()), "{denied}");
}

/// The process that serves the network of this world's one VM.
fn network_process(world: &World) -> String {
    let state = world.state_dir();
    let of_world = |pid: &str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&line).into_owned();
        // Its own root folder is elsewhere; the shim, which started it, is in the VM's folder.
        let place = fs::read_link(format!("/proc/{}/cwd", parent(pid))).unwrap_or_default();
        words.contains("--network") && words.contains("shim") && place.starts_with(&state)
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = processes.map(|entry| entry.file_name().to_string_lossy().into_owned());
    pids.find(|pid| of_world(pid))
        .expect("the network's process")
}

/// Who started a process.
fn parent(pid: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.unwrap_or_default().trim().to_owned()
}

/// Its resident memory in KiB.
fn memory_of_network(world: &World) -> u64 {
    let pid = network_process(world);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse().unwrap()
}
