//! Two guests on one host: each has its network for itself.

use std::cell::RefCell;
use std::fs;
use std::io::Read;
use std::net::TcpStream;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::world::{Running, finish};
use pyro_tests::{Workspace, World, played};
use serde_json::json;

use super::denials::PROHIBITED;
use super::guest::{Guest, PROBE};
use super::lab::{HOST, Lab};

crate::stories! { [vm]: a_guest_reaches_no_other_guest }

crate::stories! { [gvisor]: a_sandbox_reaches_no_other_sandbox }

/// Greets at every port that it is given, and says at which.
const GREETER: &str = r#"
import selectors, socket, sys
chooser = selectors.DefaultSelector()
for port in sys.argv[1:]:
    server = socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
    chooser.register(server, selectors.EVENT_READ, port)
open("ready", "w").close()
while True:
    for key, _ in chooser.select():
        client, _ = key.fileobj.accept()
        client.sendall(b"hello")
        client.close()
        print(key.data, flush=True)
"#;

/// What is its own in every guest: nobody listens there in this one.
const OWN: [&str; 4] = ["127.0.0.1", "192.0.0.2", "::1", "fd70:7972:6f00::2"];

/// Its gateway, which may be asked for the host's loopback.
const GATEWAY: [&str; 2] = ["192.0.0.1", "fd70:7972:6f00::1"];

fn a_guest_reaches_no_other_guest(world: &World) {
    let lab = Lab::enter(world.folder());
    let Some(_lab) = played(lab, "only root can make a network for this test") else {
        return;
    };
    let seed = world.folder().join("seed");
    fs::create_dir(&seed).unwrap();
    fs::write(seed.join("probe.py"), include_str!("probe.py")).unwrap();
    fs::write(seed.join("greet.py"), GREETER).unwrap();
    let surface = CommandLine(world);
    let with = |policy: &str| {
        Workspace::with(
            world,
            &surface,
            json!({ "network_policy": policy, "seed_path": seed }),
        )
    };
    let (guest, other) = (with("egress"), with("egress+published-ports"));
    let greeter = other.starts(
        "greeter",
        "exec python3 greet.py 8000 9000",
        json!({ "ready_file": "ready", "published_ports": [{ "guest_port": 8000 }] }),
    );
    let published = greeter["published_ports"][0]["host_port"].as_u64().unwrap();
    let ask_as_the_host = || {
        let port = u16::try_from(published).unwrap();
        let mut greeting = String::new();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.read_to_string(&mut greeting).unwrap();
        greeting
    };
    assert_eq!(ask_as_the_host(), "hello");

    let questions = Questions::new(&[&published.to_string(), "8000", "9000"], 8);
    let answers = guest.long_output(&format!("{} | python3 probe.py", questions.line));
    questions.assert_denied(&answers, |_, answer| PROHIBITED.contains(&answer));
    // Only the host was heard, before and after.
    assert_eq!(ask_as_the_host(), "hello");
    other.of_service("stop", "greeter");
    assert_eq!(
        other.of_service("logs", "greeter")["stdout"],
        "8000\n8000\n"
    );
}

/// Asks at each address and port, one after the other.
struct Questions {
    addresses: Vec<&'static str>,
    /// A command that prints them for the probe.
    line: String,
}

impl Questions {
    fn new(ports: &[&str], patience: u32) -> Self {
        let all = OWN.into_iter().chain(GATEWAY).chain(HOST);
        let asked = all.flat_map(|address| ports.iter().map(move |port| (address, port)));
        let (addresses, questions): (Vec<_>, Vec<_>) = asked
            .map(|(address, port)| (address, format!("'tcp {address} {port} {patience}'")))
            .unzip();
        let line = format!("printf '%s\\n' {}", questions.join(" "));
        Self { addresses, line }
    }

    fn assert_denied(&self, answers: &str, is_denial: impl Fn(&str, &str) -> bool) {
        assert_eq!(answers.lines().count(), self.addresses.len(), "{answers}");
        for (address, answer) in self.addresses.iter().zip(answers.lines()) {
            let answer = answer.trim_matches('"');
            match OWN.contains(address) {
                true => assert_eq!(answer, "ECONNREFUSED", "{answers}"),
                false => assert!(is_denial(address, answer), "{address}: {answers}"),
            }
        }
    }
}

fn a_sandbox_reaches_no_other_sandbox(world: &World) {
    let lab = Lab::enter(world.folder());
    let Some(_lab) = played(lab, "only root can make a network for this test") else {
        return;
    };
    let guest = Guest::OneShot(world, &[], RefCell::default());
    let greet = "python3 -c \"$0\" 8000 9000 & until test -e ready; do sleep 0.05; done; \
                 echo ready; wait";
    let greeter = Running::start(&mut guest.run(["sh", "-c", greet, GREETER]));
    greeter.await_out("ready\n");

    let questions = Questions::new(&["8000", "9000"], 2);
    let ask = format!("{} | python3 -c \"$0\"", questions.line);
    let ran = finish(&mut guest.run(["sh", "-c", &ask, PROBE]));
    questions.assert_denied(&ran.out(), |address, answer| {
        guest.is_denial("tcp", address, answer)
    });
    // Nobody was heard there.
    assert_eq!(greeter.out(), "ready\n");
    let pyro = Pid::from_raw(i32::try_from(greeter.child.id()).unwrap());
    kill(pyro, Signal::SIGINT).unwrap();
    assert_eq!(greeter.wait().code(), 130);
}
