//! The life of a shim on the `process` backend, with a fake agent.
//!
//! The programs are this crate's examples, which `cargo test -p pyro-shim` builds as well.

mod harness;

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::{Harness, alive, exec, lock_is_free, receive, send, wait_until};
use nix::sys::signal::Signal;
use pyro_wire::agent::{AgentReply, AgentRequest};
use pyro_wire::fault::FaultCode;
use pyro_wire::frame::Kind;
use pyro_wire::launch::{END_FILE, EndReason, Ended, LaunchEvent};
use pyro_wire::shim::{CONTROL_SOCKET, LIVENESS_LOCK, ShimReply, ShimRequest};

#[test]
fn a_vm_answers_and_stops_without_a_trace() {
    let harness = Harness::new();
    let mut shim = harness.start();
    let running = shim.ready();
    assert_eq!(
        (running.backend.as_str(), running.boot_attempts),
        ("process", 1)
    );
    let mode = fs::metadata(harness.path().join(CONTROL_SOCKET)).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o600
    );

    let status = harness.status();
    assert_eq!((status.shim_pid, status.connections), (shim.pid(), 0));
    let agent = status.vmm_pid.unwrap();
    assert!(!lock_is_free(harness.path()));

    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
    assert!(!harness.path().exists());
    assert!(!alive(agent));
    assert_eq!(shim.end().reason, EndReason::Stopped);
    assert!(shim.exit().success());
}

#[test]
fn a_folder_that_stays_is_signed_and_can_be_used_again() {
    let harness = Harness::new();
    let mut shim = harness.start();
    shim.ready();
    assert_eq!(harness.stop(2000, false), ShimReply::Stopped);
    // Whoever is told finds the lock free, without waiting for the shim's exit.
    assert!(lock_is_free(harness.path()));
    assert_eq!(harness.end_file().reason, EndReason::Stopped);
    assert!(!harness.path().join(CONTROL_SOCKET).exists());

    let mut again = harness.start();
    again.ready();
    assert!(!harness.path().join(END_FILE).exists());
    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
}

#[test]
fn grace_has_an_end_and_can_be_cut_short() {
    let harness = Harness::new().behavior("stubborn");
    let mut shim = harness.start();
    shim.ready();
    let begun = Instant::now();
    assert_eq!(harness.stop(300, false), ShimReply::Stopped);
    assert!(begun.elapsed() >= Duration::from_millis(300));

    let mut shim = harness.start();
    shim.ready();
    let path = harness.path().to_owned();
    let patient = std::thread::spawn(move || harness::stop(&path, 60_000, false));
    wait_until(|| matches!(harness.request(&ShimRequest::Status), ShimReply::Failed(_)));
    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
    assert_eq!(patient.join().unwrap(), ShimReply::Stopped);
    assert!(!harness.path().exists());
}

#[test]
fn two_clients_talk_at_once_and_half_close() {
    let harness = Harness::new();
    let mut shim = harness.start();
    shim.ready();
    let mut one = harness.agent();
    let mut two = harness.agent();
    assert_eq!(harness.status().connections, 2);
    exec(&mut one, "echo");
    exec(&mut two, "echo");
    harness::input(&mut two, b"from two");
    harness::input(&mut one, b"from one");
    for (agent, expected) in [(&mut one, "from one"), (&mut two, "from two")] {
        agent.shutdown(std::net::Shutdown::Write).unwrap();
        let mut output = Vec::new();
        while let Some(frame) = receive(agent) {
            if frame.kind == Kind::Output {
                output.extend(frame.body);
            }
        }
        assert_eq!(output, expected.as_bytes());
    }
    drop((one, two));
    wait_until(|| harness.status().connections == 0);
}

#[test]
fn a_client_that_leaves_ends_its_stream_even_under_back_pressure() {
    let harness = Harness::new();
    let mut shim = harness.start();
    shim.ready();
    let left = harness.path().join("left");
    let mut agent = harness.agent();
    exec(&mut agent, &format!("file {}", left.display()));
    let _started = receive(&mut agent);
    assert!(!left.exists());
    drop(agent);
    wait_until(|| left.exists());

    // Nobody reads 64 MiB; other lines go on, and leaving frees the place.
    let mut greedy = harness.agent();
    exec(&mut greedy, "pour 64");
    let mut other = harness.agent();
    send(&mut other, &AgentRequest::Ping);
    let reply: AgentReply = receive(&mut other).unwrap().message().unwrap();
    assert_eq!(reply, AgentReply::Done);
    drop((greedy, other));
    wait_until(|| harness.status().connections == 0);
}

#[test]
fn much_data_arrives_whole() {
    let harness = Harness::new();
    let mut shim = harness.start();
    shim.ready();
    let mut agent = harness.agent();
    exec(&mut agent, "pour 32");
    agent.shutdown(std::net::Shutdown::Write).unwrap();
    let mut count = 0;
    while let Some(frame) = receive(&mut agent) {
        if frame.kind == Kind::Output {
            count += frame.body.len();
        }
    }
    assert_eq!(count, 32 << 20);
    harness.stop(0, true);
}

#[test]
fn nonsense_and_silence_hurt_only_their_own_connection() {
    let harness = Harness::new();
    let mut shim = harness.start();
    shim.ready();
    let mut silent = harness.connect();
    let mut loud = harness.connect();
    std::io::Write::write_all(&mut loud, &[0xff; 64]).unwrap();
    let reply: ShimReply = receive(&mut loud).unwrap().message().unwrap();
    assert!(matches!(reply, ShimReply::Failed(fault) if fault.code == FaultCode::Protocol));
    assert_eq!(harness.status().connections, 0);
    // Dropped after some seconds.
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
}

#[test]
fn the_death_of_the_agent_is_told_at_once() {
    let harness = Harness::new();
    let mut shim = harness.start();
    shim.ready();
    let mut agent = harness.agent();
    exec(&mut agent, "echo");
    let _started = receive(&mut agent);
    harness::kill(harness.status().vmm_pid.unwrap());
    assert!(receive(&mut agent).is_none());
    let ended = shim.end();
    assert_eq!(ended.reason, EndReason::Died);
    assert_eq!(ended.message, "the agent was killed by signal 9 (SIGKILL)");
    assert!(
        ended
            .console_tail
            .contains(&"fake agent starts ()".to_owned()),
        "{ended:?}"
    );
    assert!(shim.exit().success());
    assert_eq!(harness.end_file(), ended);
    assert!(lock_is_free(harness.path()));
}

#[test]
fn the_death_of_the_shim_ends_the_agent() {
    let harness = Harness::new();
    let mut shim = harness.start();
    shim.ready();
    let agent = harness.status().vmm_pid.unwrap();
    harness::kill(shim.pid());
    wait_until(|| !alive(agent));
    wait_until(|| lock_is_free(harness.path()));
    // The stale socket is replaced.
    let mut again = harness.start();
    again.ready();
    harness.stop(0, true);
}

#[test]
fn an_owner_that_leaves_takes_the_vm_along() {
    let harness = Harness::new().edit(|spec| {
        spec.bound_to_owner = true;
        spec.remove_when_over = true;
    });
    let mut shim = harness.start();
    shim.ready();
    shim.owner_says(b"hello");
    std::thread::sleep(Duration::from_millis(100));
    let agent = harness.status().vmm_pid.unwrap();
    shim.owner_leaves();
    assert_eq!(shim.end().reason, EndReason::OwnerGone);
    assert!(!harness.path().exists());
    assert!(!alive(agent));
}

#[test]
fn an_owner_that_leaves_before_its_word_takes_the_vm_along_and_after_it_does_not() {
    let harness = || Harness::new().edit(|spec| spec.bound_until_released = true);
    let unfinished = harness();
    let mut shim = unfinished.start();
    shim.ready();
    let agent = unfinished.status().vmm_pid.unwrap();
    shim.owner_leaves();
    assert_eq!(shim.end().reason, EndReason::OwnerGone);
    assert!(!alive(agent));

    let finished = harness();
    let mut shim = finished.start();
    shim.ready();
    shim.owner_says(b"go on\n");
    shim.owner_leaves();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(finished.status().connections, 0);
    finished.stop(0, true);
}

#[test]
fn without_a_bond_the_owner_may_leave() {
    let harness = Harness::new();
    let mut shim = harness.start();
    shim.ready();
    shim.owner_leaves();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(harness.status().connections, 0);
    harness.stop(0, true);
}

/// As after `pyro … | cat` in a terminal that is closed.
#[test]
fn without_a_bond_nothing_of_its_caller_is_missed_or_held() {
    let harness = Harness::new();
    let mut command = harness.command();
    // A group of its own, as a shell gives each pipeline.
    let child = command
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let group = child.id();
    let mut errors = child.stderr.take().unwrap();
    let mut shim = harness::Shim::from(child);
    shim.ready();
    let mut words = String::new();
    // Ends now, not with the VM.
    errors.read_to_string(&mut words).unwrap();
    assert_eq!(words, "");
    shim.owner_leaves();
    shim.nobody_reads();
    for of_the_terminal in [Signal::SIGINT, Signal::SIGHUP] {
        let group = nix::unistd::Pid::from_raw(group.try_into().unwrap());
        nix::sys::signal::killpg(group, of_the_terminal).unwrap();
    }
    let mut agent = harness.agent();
    send(&mut agent, &AgentRequest::Ping);
    let reply: AgentReply = receive(&mut agent).unwrap().message().unwrap();
    assert_eq!(reply, AgentReply::Done);
    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
    assert!(shim.exit().success());
}

#[test]
fn time_to_live_is_kept() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let harness = Harness::new().edit(|spec| {
        spec.expires_at_ms = Some(now.as_millis() as u64 + 700);
        spec.remove_when_over = true;
    });
    let mut shim = harness.start();
    // On a busy host the time may be over before the VM is ready, which is the same end.
    let ended = loop {
        match shim.event() {
            LaunchEvent::Ended(ended) => break ended,
            LaunchEvent::Ready(_) => {}
            other => panic!("not ended but {other:?}"),
        }
    };
    assert_eq!(ended.reason, EndReason::Expired);
    assert!(!harness.path().exists());
}

#[test]
fn sigterm_is_an_orderly_end() {
    let harness = Harness::new();
    let mut shim = harness.start();
    shim.ready();
    harness::signal(shim.pid(), nix::sys::signal::Signal::SIGHUP);
    harness::signal(shim.pid(), nix::sys::signal::Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(100));
    harness.status();
    harness::signal(shim.pid(), nix::sys::signal::Signal::SIGTERM);
    assert_eq!(shim.end().reason, EndReason::Stopped);
    assert_eq!(harness.end_file().reason, EndReason::Stopped);
}

#[test]
fn a_second_shim_is_refused_and_disturbs_nothing() {
    let harness = Harness::new();
    let mut shim = harness.start();
    shim.ready();
    let mut second = harness.start();
    let fault = second.failed();
    assert_eq!(fault.code, FaultCode::Refused);
    assert_eq!(second.exit().code(), Some(1));
    assert_eq!(harness.status().shim_pid, shim.pid());
    harness.stop(0, true);
}

#[test]
fn everything_that_commands_left_behind_ends_too() {
    let harness = Harness::new().behavior("child");
    let mut shim = harness.start();
    shim.ready();
    let file = harness.workspace().join("child.pid");
    wait_until(|| fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')));
    let child: u32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    assert!(alive(child));
    harness.stop(0, true);
    assert!(!alive(child));
}

/// The socket's file is there a moment before that.
fn is_listening(harness: &Harness) -> bool {
    harness::try_connect(harness.path()).is_ok()
}

#[test]
fn nobody_needs_to_read_the_events() {
    let harness = Harness::new();
    let mut shim = harness.start();
    shim.nobody_reads();
    wait_until(|| is_listening(&harness));
    wait_until(|| matches!(harness.request(&ShimRequest::Status), ShimReply::Status(_)));
    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
    assert!(shim.exit().success());
}

#[test]
fn a_full_event_pipe_holds_up_nothing() {
    let harness = Harness::new();
    let mut shim = harness.start_with_full_pipe();
    wait_until(|| is_listening(&harness));
    wait_until(|| matches!(harness.request(&ShimRequest::Status), ShimReply::Status(_)));
    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
    assert!(shim.exit().success());
}

#[test]
fn a_boot_that_hangs_is_tried_again() {
    let harness = Harness::new();
    let file = harness.workspace().join("first-try");
    let deadline = harness.ample_boot_ms(500);
    let harness = harness
        .behavior(&format!("late:{}", file.display()))
        .edit(|spec| spec.boot_deadline_ms = deadline);
    let mut shim = harness.start();
    let LaunchEvent::Note(note) = shim.event() else {
        panic!("no note");
    };
    let took = note
        .strip_prefix("boot attempt 1 timed out after ")
        .and_then(|rest| rest.strip_suffix(" s, trying again"));
    // In tenths, and with the time in which it was killed.
    let took: f64 = took.unwrap_or_else(|| panic!("{note}")).parse().unwrap();
    assert!(took >= deadline as f64 / 1000.0 - 0.05, "{note}");
    assert_eq!(shim.ready().boot_attempts, 2);
    harness.stop(0, true);
}

#[test]
fn a_boot_that_never_answers_fails_with_the_console() {
    let harness = Harness::new();
    let deadline = harness.ample_boot_ms(300);
    let harness = harness
        .behavior("mute")
        .edit(|spec| spec.boot_deadline_ms = deadline);
    let mut shim = harness.start();
    let fault = shim.failed();
    assert_eq!(fault.code, FaultCode::BootTimeout);
    assert_eq!(fault.detail, ["fake agent starts (mute)"]);
    assert_eq!(shim.exit().code(), Some(1));
    assert_eq!(harness.end_file().message, fault.message);
    assert!(lock_is_free(harness.path()));
}

#[test]
fn a_boot_can_be_asked_about_and_stopped() {
    let harness = Harness::new().behavior("mute");
    let mut shim = harness.start();
    wait_until(|| is_listening(&harness));
    let ShimReply::Failed(fault) = harness.request(&ShimRequest::Status) else {
        panic!("no fault");
    };
    assert_eq!(
        (fault.code, fault.message.as_str()),
        (FaultCode::Refused, "the VM is still starting")
    );
    assert_eq!(harness.stop(1000, true), ShimReply::Stopped);
    assert_eq!(shim.end().reason, EndReason::Stopped);
    assert!(!harness.path().exists());
}

#[test]
fn an_agent_that_is_not_there_is_named() {
    let harness = Harness::new().edit(|spec| {
        let pyro_wire::launch::Machine::Process(process) = &mut spec.machine else {
            panic!("not a process");
        };
        process.agent = "/nowhere/agent".into();
    });
    let fault = harness.start().failed();
    assert_eq!(fault.code, FaultCode::HostIo);
    assert!(
        fault.message.contains("/nowhere/agent"),
        "{}",
        fault.message
    );
}

#[test]
fn launch_files_that_cannot_be_used_are_told_apart() {
    let harness = Harness::new();
    for (text, code, words) in [
        ("{\"protocol\": 2, ", FaultCode::Protocol, "is damaged"),
        ("{\"protocol\": 2}", FaultCode::Protocol, "is damaged"),
        ("{\"protocol\": 99}", FaultCode::Protocol, "has protocol 99"),
    ] {
        fs::write(harness.path().join("launch.json"), text).unwrap();
        let fault = harness.start().failed();
        assert_eq!(fault.code, code);
        assert!(fault.message.contains(words), "{}", fault.message);
        assert!(lock_is_free(harness.path()));
    }
    fs::remove_file(harness.path().join("launch.json")).unwrap();
    assert_eq!(harness.start().failed().code, FaultCode::HostIo);
    fs::remove_file(harness.path().join(LIVENESS_LOCK)).unwrap();
    fs::remove_dir_all(harness.path()).unwrap();
    assert_eq!(harness.start().failed().code, FaultCode::NotFound);
}

#[test]
fn a_flood_on_the_console_is_survived() {
    let harness = Harness::new();
    let mut shim = harness.start();
    shim.ready();
    let mut agent = harness.agent();
    exec(&mut agent, "flood");
    agent.shutdown(std::net::Shutdown::Write).unwrap();
    while receive(&mut agent).is_some() {}
    let mut agent = harness.agent();
    exec(&mut agent, "exit 3");
    let ended: Ended = shim.end();
    assert_eq!(ended.message, "the agent exited with status 3");
    assert!(
        ended
            .console_tail
            .last()
            .unwrap()
            .starts_with("flood 19999")
    );
    assert_eq!(ended.console_tail.len(), 30);
}

#[test]
fn a_leaked_descriptor_is_not_kept() {
    let harness = Harness::new();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut shim = harness.start_with_leak(theirs);
    shim.ready();
    ours.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(ours.read(&mut [0]).unwrap(), 0);
    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
}
