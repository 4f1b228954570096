//! Ports of the host that lead to services of a guest.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyro_tests::leftovers::processes;
use pyro_tests::surfaces::mcp::Tools;
use pyro_tests::world::eventually;
use pyro_tests::{Workspace, World};
use serde_json::{Value, json};

crate::stories! { [vm, gvisor]:
    ports_lead_into_the_guest_and_go_with_their_service,
    a_look_at_a_service_leaves_its_ports,
    a_service_that_is_never_ready_leaves_no_port,
}

const LONG: Duration = Duration::from_secs(60);

/// What a guest's server answers with: what it heard, in the other case, when the asking side has
/// ended its half.
const SERVER: &str = r#"
import socketserver, threading
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        heard = b""
        while piece := self.request.recv(65536):
            heard += piece
        if heard == b"large":
            self.request.sendall(b"0123456789abcdef" * 65536 * 8)
        elif heard == b"exit":
            threading.Thread(target=server.shutdown).start()
        else:
            self.request.sendall(heard.swapcase())
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128
server = Server(("127.0.0.1", 8000), Handler)
server.serve_forever()
"#;

/// A workspace that may publish ports, with the server in it.
fn with_server<'a>(world: &World, tools: &'a Tools) -> Workspace<'a> {
    let policy = json!({ "network_policy": "egress+published-ports" });
    let workspace = Workspace::with(world, tools, policy);
    workspace.write("server.py", SERVER);
    workspace
}

fn port(web: &Value) -> u16 {
    let port = web["published_ports"][0]["host_port"].as_u64();
    u16::try_from(port.unwrap()).unwrap()
}

fn ports_lead_into_the_guest_and_go_with_their_service(world: &World) {
    let tools = Tools::new(world);
    let workspace = with_server(world, &tools);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    let start = |ports: Value| {
        workspace.service(
            "start",
            json!({
                "service_name": "web", "command": "exec python3 server.py",
                "ready_tcp": "127.0.0.1:8000", "published_ports": ports,
            }),
        )
    };
    let told = start(json!([{ "guest_port": 8000, "host_port": taken_port }])).unwrap_err();
    assert_eq!(told["code"], "conflict", "{told:#}");
    assert!(
        told["causes"].to_string().contains(&taken_port.to_string()),
        "{told:#}"
    );
    assert_eq!(workspace.service("list", json!({})).unwrap()["count"], 0);

    let web = start(json!([{ "guest_port": 8000 }, { "guest_port": 9 }])).unwrap();
    assert_eq!(web["state"], "running", "{web:#}");
    let first = &web["published_ports"][0];
    assert_eq!(
        (&first["host"], &first["guest_port"], &first["protocol"]),
        (&json!("127.0.0.1"), &json!(8000), &json!("tcp"))
    );
    let web_port = port(&web);
    assert_eq!(exchange(web_port, b"Hello"), b"hELLO");
    // Somebody who takes 8 MiB and does not read, and many others.
    let mut slow = connect(web_port);
    slow.write_all(b"large").unwrap();
    slow.shutdown(Shutdown::Write).unwrap();
    let crowds: Vec<_> = (0..4)
        .map(|crowd| {
            thread::spawn(move || {
                for number in 0..50 {
                    let words = format!("a{crowd}b{number}");
                    assert_eq!(
                        exchange(web_port, words.as_bytes()),
                        words.to_uppercase().as_bytes()
                    );
                }
            })
        })
        .collect();
    assert_eq!(workspace.output("echo meanwhile"), "meanwhile\n");
    for crowd in crowds {
        crowd.join().unwrap();
    }
    let mut large = Vec::new();
    slow.read_to_end(&mut large).unwrap();
    assert_eq!(large.len(), 8 << 20);
    assert!(large.chunks(16).all(|chunk| chunk == b"0123456789abcdef"));
    // Nothing answers at port 9 of the guest.
    let nobody = web["published_ports"][1]["host_port"].as_u64().unwrap();
    assert_eq!(exchange(u16::try_from(nobody).unwrap(), b""), b"");

    // The service ends by itself, and its port with it, without anybody looking.
    exchange(web_port, b"exit");
    eventually("the port is closed", LONG, || {
        TcpStream::connect(("127.0.0.1", web_port)).is_err()
    });
    let ended = workspace.of_service("status", "web");
    assert_eq!(
        (&ended["state"], &ended["published_ports"]),
        (&json!("exited"), &json!([]))
    );
    // A stop closes it before it answers.
    let web = start(json!([{ "guest_port": 8000, "host_port": web_port }])).unwrap();
    assert_eq!(port(&web), web_port);
    assert_eq!(exchange(web_port, b"again"), b"AGAIN");
    workspace.of_service("stop", "web");
    assert!(TcpStream::connect(("127.0.0.1", web_port)).is_err());
    // And with its machine, however that ends.
    let web_port = port(&start(json!([{ "guest_port": 8000 }])).unwrap());
    assert_eq!(exchange(web_port, b"x"), b"X");
    for process in processes(&world.state_dir()) {
        if process.command.contains("shim") {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
    }
    eventually("the port is closed", LONG, || {
        TcpStream::connect(("127.0.0.1", web_port)).is_err()
    });
    eventually("its machine is gone", LONG, || {
        workspace.of_service("status", "web")["state"] == "stopped"
    });
}

fn a_look_at_a_service_leaves_its_ports(world: &World) {
    let tools = Tools::new(world);
    let workspace = with_server(world, &tools);
    let web = workspace.starts(
        "web",
        "exec python3 server.py",
        json!({ "ready_tcp": "127.0.0.1:8000", "published_ports": [{ "guest_port": 8000 }] }),
    );
    let web_port = port(&web);
    // One connection is there before and after all of it.
    let mut held = connect(web_port);
    held.write_all(b"bef").unwrap();
    for look in ["logs", "status", "logs"] {
        let seen = workspace.of_service(look, "web");
        assert_eq!(
            (&seen["state"], &seen["published_ports"]),
            (&json!("running"), &web["published_ports"]),
            "{look}"
        );
        assert_eq!(
            exchange(web_port, look.as_bytes()),
            look.to_uppercase().as_bytes()
        );
    }
    let listed = workspace.service("list", json!({})).unwrap();
    assert_eq!(
        listed["services"][0]["published_ports"],
        web["published_ports"]
    );
    assert_eq!(exchange(web_port, b"list"), b"LIST");
    held.write_all(b"ore").unwrap();
    held.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    held.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"BEFORE");
}

fn a_service_that_is_never_ready_leaves_no_port(world: &World) {
    let tools = Tools::new(world);
    let workspace = with_server(world, &tools);
    // Free until somebody takes it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let web_port = listener.local_addr().unwrap().port();
    drop(listener);
    let ports = json!([{ "guest_port": 8000, "host_port": web_port }]);
    for (command, seconds, reason) in [
        ("exec python3 server.py", 2, "readiness_timeout"),
        ("exit 3", 1000, "process_exited_before_ready"),
    ] {
        let failed = workspace.starts(
            "web",
            command,
            json!({
                "ready_file": "never", "ready_timeout_seconds": seconds,
                "published_ports": ports,
            }),
        );
        let seen = workspace.of_service("status", "web");
        for told in [&failed, &seen] {
            assert_eq!(
                (
                    &told["state"],
                    &told["stop_reason"],
                    &told["published_ports"]
                ),
                (&json!("failed"), &json!(reason), &json!([]))
            );
        }
        assert!(
            TcpStream::connect(("127.0.0.1", web_port)).is_err(),
            "{reason}"
        );
    }
    // The next one may have it.
    let ready = json!({ "ready_tcp": "127.0.0.1:8000", "published_ports": ports });
    workspace.starts("web", "exec python3 server.py", ready);
    assert_eq!(exchange(web_port, b"ready"), b"READY");
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

/// Says something, ends its half, and hears the rest: nothing where nobody answers, who may have
/// broken off before all was said.
fn exchange(port: u16, words: &[u8]) -> Vec<u8> {
    let mut client = connect(port);
    let mut answer = Vec::new();
    let _ = client
        .write_all(words)
        .and_then(|()| client.shutdown(Shutdown::Write))
        .and_then(|()| client.read_to_end(&mut answer));
    answer
}
