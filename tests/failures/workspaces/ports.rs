//! `kill -9` of pyro, the shim and QEMU while a port is being published, and while it is in use.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;
use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::world::eventually;
use pyro_tests::{Workspace, World};
use serde_json::json;

use super::kill_points::{at_many_moments, forget_the_killed};
use crate::processes::{self, Role};

crate::stories![[vm, gvisor]: a_port_is_published_whole_or_not_at_all];

const LONG: Duration = Duration::from_secs(60);

const ECHO: &str = "import socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(100):
            self.request.sendall(data.upper())
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(('127.0.0.1', 8000), Echo).serve_forever()
";

/// A port that nobody has at present.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A connection over which the service has answered.
fn answered(port: u16) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"hello").ok()?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).ok()?;
    assert_eq!(&answer, b"HELLO");
    Some(stream)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn a_port_is_published_whole_or_not_at_all(world: &World) {
    let surface = CommandLine(world);
    let policy = json!({ "network_policy": "egress+published-ports" });
    let workspace = Workspace::with(world, &surface, policy);
    workspace.write("echo.py", ECHO);
    let id = workspace.id();
    let port = free_port();
    let publish = format!("{port}:8000");
    let start = [
        "workspace",
        "service",
        "start",
        id,
        "echo",
        "--ready-tcp",
        "127.0.0.1:8000",
        "--publish",
        &publish,
        "--",
        "exec python3 echo.py",
    ];

    at_many_moments(
        world,
        |_| world.pyro(start),
        |round| {
            // The start of a killed pyro is taken back a moment later, or was done.
            eventually("it is there whole or not at all", LONG, || {
                let listed = workspace.service("list", json!({})).unwrap();
                let running = listed["running_count"] == 1;
                running == answered(port).is_some()
            });
            if round == 0 {
                assert!(answered(port).is_some());
            }
            let _ = workspace.service("stop", json!({ "service_name": "echo" }));
            eventually("the port is free again", LONG, || is_free(port));
        },
    );

    for role in [Role::Shim, Role::Machine] {
        let started = json!({
            "ready_tcp": "127.0.0.1:8000",
            "published_ports": [{ "guest_port": 8000, "host_port": port }],
        });
        workspace.starts("echo", "exec python3 echo.py", started.clone());
        let mut used = answered(port).expect("an answer");
        processes::signal(world, role, Signal::SIGKILL);
        // Whoever is connected learns it, and nothing holds the port.
        let ended = used.read(&mut [0; 5]);
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
        eventually("the port is free again", LONG, || is_free(port));
        // Its machine may not be gone yet when its port is.
        eventually("it is known to have ended", LONG, || {
            let after = workspace.service("list", json!({})).unwrap();
            after["running_count"] == 0
        });
        workspace.starts("echo", "exec python3 echo.py", started);
        assert!(answered(port).is_some(), "after {role:?} was killed");
        workspace.of_service("stop", "echo");
    }
    drop(workspace);
    forget_the_killed(world);
}
