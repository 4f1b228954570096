//! Published ports, and what a stopped VM leaves of its services; on the `process` backend, with a
//! fake agent that connects to servers of this test.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod harness;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Harness, wait_until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use pyro_wire::fault::FaultCode;
use pyro_wire::launch::EndReason;
use pyro_wire::shim::{
    KeptService, Publish, Published, SERVICES_FOLDER, SERVICES_INDEX, ShimReply, ShimRequest,
    WantedPort,
};

const INSTANCE: u64 = 7;

/// A server that begins each answer with what it got, and says how long that was at the end.
fn echo_server() -> u16 {
    serve(|mut client| {
        let mut reader = client.try_clone().unwrap();
        let mut all = 0_u64;
        let mut buffer = [0; 64 * 1024];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            all += count as u64;
            if client.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
        // The client has no more to say, and still listens.
        let _ = client.write_all(format!("|{all}").as_bytes());
    })
}

fn serve(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for client in listener.incoming() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(client.unwrap()));
        }
    });
    port
}

fn request(host_port: Option<u16>, guest_port: u16) -> ShimRequest {
    ShimRequest::Publish(Publish {
        instance: INSTANCE,
        ports: vec![WantedPort {
            host_port,
            guest_port,
        }],
    })
}

fn publish(harness: &Harness, guest_port: u16) -> u16 {
    match harness.request(&request(None, guest_port)) {
        ShimReply::Published(ports) => {
            let [port]: [Published; 1] = ports.try_into().unwrap();
            assert_eq!(port.guest_port, guest_port);
            port.host_port
        }
        other => panic!("{other:?}"),
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
}

/// Says something, ends its half, and hears the rest.
fn exchange(port: u16, words: &[u8]) -> Vec<u8> {
    let mut client = connect(port);
    client.write_all(words).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    answer
}

fn is_closed(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err()
}

fn service_begins(harness: &Harness) {
    fs::write(harness.workspace().join("served"), "").unwrap();
}

fn service_ends(harness: &Harness) {
    fs::remove_file(harness.workspace().join("served")).unwrap();
}

#[test]
fn connections_of_every_kind_arrive_whole_and_hold_up_no_other() {
    let harness = Harness::new();
    let mut shim = harness.start();
    shim.ready();
    let port = publish(&harness, echo_server());
    // Who comes before the service is ready waits.
    let early = thread::spawn(move || exchange(port, b"early"));
    thread::sleep(Duration::from_millis(100));
    assert!(!early.is_finished());
    service_begins(&harness);
    assert_eq!(early.join().unwrap(), b"early|5");

    // Somebody who sends much and never reads.
    let stop = Arc::new(AtomicBool::new(false));
    let slow: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let mut client = connect(port);
                client
                    .set_write_timeout(Some(Duration::from_millis(100)))
                    .unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let _ = client.write(&[b'x'; 64 * 1024]);
                }
            })
        })
        .collect();
    let body: Vec<u8> = (0..20_000_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    let answer = exchange_large(port, &body);
    assert_eq!(answer.len(), body.len() + "|20000000".len());
    assert!(answer.starts_with(&body) && answer.ends_with(b"|20000000"));
    assert_eq!(harness.status().connections, 0);

    // Thousands, many of them at once.
    let crowds: Vec<_> = (0..8)
        .map(|crowd| {
            thread::spawn(move || {
                for number in 0..250 {
                    let words = format!("{crowd}-{number}");
                    let wanted = format!("{words}|{}", words.len());
                    assert_eq!(exchange(port, words.as_bytes()), wanted.as_bytes());
                }
            })
        })
        .collect();
    for crowd in crowds {
        crowd.join().unwrap();
    }
    // More than are served at one time: the rest waits, and the agent can still be connected to.
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(hard.min(8192)), hard).unwrap();
    let waiting: Vec<TcpStream> = (0..900).map(|_| connect(port)).collect();
    drop(harness.agent());
    drop(waiting);
    assert_eq!(exchange(port, b"after"), b"after|5");

    stop.store(true, Ordering::Relaxed);
    for slow in slow {
        slow.join().unwrap();
    }
    // The ports go with the service, also for those who are connected.
    let mut connected = connect(port);
    connected.write_all(b"x").unwrap();
    connected.read_exact(&mut [0]).unwrap();
    service_ends(&harness);
    assert_eq!(connected.read(&mut [0; 8]).unwrap_or(0), 0);
    wait_until(|| is_closed(port));
    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
}

/// Reads while it writes: no buffer on the way holds everything.
fn exchange_large(port: u16, body: &[u8]) -> Vec<u8> {
    let mut client = connect(port);
    let mut writer = client.try_clone().unwrap();
    let body = body.to_vec();
    let writing = thread::spawn(move || {
        writer.write_all(&body).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    writing.join().unwrap();
    answer
}

/// Closes a connection with a reset.
fn break_off(stream: TcpStream) {
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&stream, sockopt::Linger, &linger).unwrap();
}

/// A server that sends events for as long as it can, to a client that has no more to say; how many it
/// serves right now.
fn event_server() -> (u16, Arc<AtomicUsize>) {
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    let port = serve(move |mut client| {
        counted.fetch_add(1, Ordering::Relaxed);
        while client.write_all(b"data: x\n\n").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
        counted.fetch_sub(1, Ordering::Relaxed);
    });
    (port, served)
}

#[test]
fn clients_that_leave_are_noticed_and_never_pile_up() {
    let harness = Harness::new();
    service_begins(&harness);
    let mut shim = harness.start();
    shim.ready();
    let (server, served) = event_server();
    let port = publish(&harness, server);
    // More than a session has streams for, on either side.
    let crowds: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                for _ in 0..1250 {
                    let mut client = connect(port);
                    client.read_exact(&mut [0; 8]).unwrap();
                }
            })
        })
        .collect();
    for crowd in crowds {
        crowd.join().unwrap();
    }
    wait_until(|| served.load(Ordering::Relaxed) == 0);
    assert_eq!(
        exchange(publish(&harness, echo_server()), b"after"),
        b"after|5"
    );
    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
}

#[test]
fn each_end_of_a_connection_hears_how_the_other_one_ended() {
    let harness = Harness::new();
    service_begins(&harness);
    let mut shim = harness.start();
    shim.ready();

    // A client that breaks off, after an end of what it says and without one.
    let (told, heard) = mpsc::channel();
    let port = publish(
        &harness,
        serve(move |mut client| {
            client.write_all(b"?").unwrap();
            let mut words = Vec::new();
            let read = client.read_to_end(&mut words);
            let end = match read {
                Ok(_) => loop {
                    // Reading shows nothing any more; the client is still there.
                    if let Err(error) = client.write_all(b"x") {
                        break error.kind();
                    }
                    thread::sleep(Duration::from_millis(5));
                },
                Err(error) => error.kind(),
            };
            told.send((words, end)).unwrap();
        }),
    );
    let mut client = connect(port);
    client.read_exact(&mut [0]).unwrap();
    client.write_all(b"half").unwrap();
    break_off(client);
    assert_eq!(
        heard.recv().unwrap(),
        (b"half".to_vec(), ErrorKind::ConnectionReset)
    );
    let mut client = connect(port);
    client.write_all(b"whole").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    client.read_exact(&mut [0; 2]).unwrap();
    drop(client);
    let (words, end) = heard.recv().unwrap();
    assert_eq!(words, b"whole");
    assert!(
        matches!(end, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "{end}"
    );

    // A server that breaks off: what it said comes, and no end.
    let port = publish(
        &harness,
        serve(|mut client| {
            client.write_all(b"part of it").unwrap();
            client.read_exact(&mut [0]).unwrap();
            break_off(client);
        }),
    );
    let mut client = connect(port);
    client.read_exact(&mut [0; 10]).unwrap();
    client.write_all(b"x").unwrap();
    let end = client.read(&mut [0]).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);

    // A server that closes first, and one that does so with something unread.
    for (length, unread) in [(3_000_000, &b""[..]), (50_000, b"never read")] {
        let answer = vec![7; length];
        let begins = usize::from(!unread.is_empty());
        let port = publish(
            &harness,
            serve(move |mut client| {
                client.read_exact(&mut [0][..begins]).unwrap();
                client.write_all(&answer).unwrap();
            }),
        );
        let mut client = connect(port);
        client.write_all(unread).unwrap();
        let mut heard = Vec::new();
        let end = client.read_to_end(&mut heard);
        assert_eq!(heard.len(), length);
        assert_eq!(end.is_ok(), unread.is_empty(), "{end:?}");
        // It is not there any more, and a client that goes on hears of that.
        wait_until(|| client.write_all(b"x").is_err());
    }
    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
}

#[test]
fn a_crowd_that_finds_no_descriptor_is_refused_and_later_ones_are_served() {
    let harness = Harness::new();
    service_begins(&harness);
    let mut shim = harness.start_with_files(200);
    shim.ready();
    let (server, served) = event_server();
    let port = publish(&harness, server);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(8192), hard).unwrap();
    let mut crowd: Vec<_> = (0..3000).map(|_| connect(port)).collect();
    // Some have a place for as long as they like, and the rest is told that there is none.
    let refused = crowd.split_off(200);
    for mut client in refused {
        let end = client.read(&mut [0]).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    }
    assert!(served.load(Ordering::Relaxed) > 0);
    // The VM has what it needs.
    drop(harness.agent());
    assert_eq!(harness.status().connections, 0);
    drop(crowd);
    wait_until(|| served.load(Ordering::Relaxed) == 0);
    assert_eq!(
        exchange(publish(&harness, echo_server()), b"later"),
        b"later|5"
    );
    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
}

#[test]
fn a_port_that_is_taken_is_told_and_nothing_is_bound() {
    let harness = Harness::new();
    let mut shim = harness.start();
    shim.ready();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = (taken.local_addr().unwrap().port(), taken);
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let free_port = free.local_addr().unwrap().port();
    drop(free);
    let ports = [free_port, taken.0].map(|port| WantedPort {
        host_port: Some(port),
        guest_port: 80,
    });
    let reply = harness.request(&ShimRequest::Publish(Publish {
        instance: INSTANCE,
        ports: ports.into(),
    }));
    let ShimReply::Failed(fault) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(fault.code, FaultCode::Conflict);
    assert!(fault.message.contains(&taken.0.to_string()), "{fault}");
    assert!(is_closed(free_port));
    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
}

#[test]
fn ports_go_when_they_are_given_up_and_with_the_shim_however_it_ends() {
    let harness = Harness::new();
    service_begins(&harness);
    let mut shim = harness.start();
    shim.ready();
    let server = echo_server();
    let port = publish(&harness, server);
    assert_eq!(exchange(port, b"a"), b"a|1");
    let unpublish = ShimRequest::Unpublish { instance: INSTANCE };
    assert_eq!(harness.request(&unpublish), ShimReply::Done);
    assert!(is_closed(port));
    assert_eq!(harness.request(&unpublish), ShimReply::Done);
    // The same port can be had again at once.
    let reply = harness.request(&request(Some(port), server));
    assert!(matches!(reply, ShimReply::Published(_)), "{reply:?}");
    assert_eq!(exchange(port, b"b"), b"b|1");
    // A port that nothing answers at is refused, as far as that can be after the system has accepted.
    let nobody = publish(&harness, 1);
    let refused = connect(nobody).read(&mut [0]);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionReset);
    harness::signal(shim.pid(), Signal::SIGKILL);
    shim.exit();
    wait_until(|| is_closed(port) && is_closed(nobody));
}

#[test]
fn a_connection_and_a_service_are_use_and_their_end_begins_the_time() {
    let harness = Harness::new().edit(|spec| spec.idle_ms = Some(400));
    service_begins(&harness);
    harness.guest_is_busy(true);
    let mut shim = harness.start();
    shim.ready();
    let port = publish(&harness, echo_server());
    thread::sleep(Duration::from_millis(1500));
    let mut client = connect(port);
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    harness.guest_is_busy(false);
    thread::sleep(Duration::from_millis(1500));
    // It is still there.
    client.write_all(b"y").unwrap();
    client.read_exact(&mut [0]).unwrap();
    let begun = Instant::now();
    drop(client);
    assert_eq!(shim.end().reason, EndReason::Idle);
    // It is counted in whole milliseconds.
    assert!(begun.elapsed() >= Duration::from_millis(399));
    assert!(is_closed(port));
}

#[test]
fn a_vm_that_is_stopped_leaves_the_logs_of_its_services() {
    let harness = Harness::new();
    service_begins(&harness);
    let mut shim = harness.start();
    shim.ready();
    assert_eq!(harness.stop(10_000, false), ShimReply::Stopped);
    let folder = harness.path().join(SERVICES_FOLDER);
    let index = fs::read(folder.join(SERVICES_INDEX)).unwrap();
    let index: Vec<KeptService> = serde_json::from_slice(&index).unwrap();
    assert_eq!(index.len(), 1);
    assert!(index[0].truncated && index[0].state.instance == INSTANCE);
    let log = folder.join("7.stdout");
    assert_eq!(fs::read(&log).unwrap(), b"last words\n");
    let mode = fs::metadata(&log).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The next VM of the folder has no part in it.
    let mut shim = harness.start();
    shim.ready();
    assert!(!folder.exists());
    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
}
