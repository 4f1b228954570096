//! The end of a VM that nobody uses, and what those hear who come too late; on the `process`
//! backend, with a fake agent.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod harness;

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::{Harness, lock_is_free, receive, send, wait_until};
use pyro_wire::exec::{Command, Exec};
use pyro_wire::fault::FaultCode;
use pyro_wire::frame::Frame;
use pyro_wire::jobs::{JobCause, JobEnd, JobStart, JobState, JobWait, end_file};
use pyro_wire::launch::{DiskFormat, DiskLayer, EndReason};
use pyro_wire::shim::{ShimReply, ShimRequest, Stop};

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis() as u64
}

#[test]
fn an_unused_vm_is_stopped_and_its_folder_says_why() {
    let harness = Harness::new().edit(|spec| spec.idle_ms = Some(400));
    // Until the connection is there, however long that takes.
    harness.guest_is_busy(true);
    let mut shim = harness.start();
    shim.ready();
    let agent = harness.agent();
    harness.guest_is_busy(false);
    // Asking is no use of a VM, an open connection is.
    thread::sleep(Duration::from_millis(600));
    let before = now_ms();
    assert!(harness.status().last_activity_ms >= before);
    drop(agent);
    let ended = shim.end();
    assert_eq!(ended.reason, EndReason::Idle);
    assert_eq!(ended.message, "it was not used for 0.4 s");
    assert_eq!(harness.end_file(), ended);
    assert!(lock_is_free(harness.path()));
    assert!(shim.exit().success());
    // It can be started again, and its time begins anew.
    let begun = Instant::now();
    let mut shim = harness.start();
    shim.ready();
    assert_eq!(shim.end().reason, EndReason::Idle);
    assert!(begun.elapsed() >= Duration::from_millis(400));
}

#[test]
fn a_touch_keeps_a_vm_and_questions_do_not() {
    let harness = Harness::new().edit(|spec| spec.idle_ms = Some(3000));
    let mut shim = harness.start();
    shim.ready();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        assert_eq!(harness.request(&ShimRequest::Touch), ShimReply::Done);
        thread::sleep(Duration::from_millis(50));
    }
    let touched = harness.status().last_activity_ms;
    assert!(touched.abs_diff(now_ms()) < 3000);
    let mut last = touched;
    while let Ok(mut socket) = harness::try_connect(harness.path()) {
        send(&mut socket, &ShimRequest::Status);
        match receive(&mut socket).map(reply) {
            Some(ShimReply::Status(status)) => last = status.last_activity_ms,
            Some(ShimReply::Failed(fault)) => assert_eq!(fault.code, FaultCode::Over),
            other => panic!("{other:?}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
    // Questions that counted would have moved it by all of the idle time; a clock that is adjusted
    // and a busy machine move it by less.
    assert!(last.abs_diff(touched) < 1000, "{last} {touched}");
    // The socket goes before the record of the end is written.
    assert_eq!(shim.end().reason, EndReason::Idle);
    assert_eq!(harness.end_file().reason, EndReason::Idle);
}

#[test]
fn a_shell_that_writes_keeps_a_vm_and_one_that_is_silent_does_not() {
    let harness = Harness::new()
        .edit(|spec| spec.idle_ms = Some(400))
        .behavior("writing");
    let begun = Instant::now();
    let mut shim = harness.start();
    shim.ready();
    let ended = shim.end();
    assert_eq!(ended.reason, EndReason::Idle);
    // It wrote for two seconds, and nobody ever was connected.
    assert!(begun.elapsed() > Duration::from_secs(2));
    assert!(shim.exit().success());
}

#[test]
fn a_job_keeps_a_vm_and_ends_with_its_holder() {
    let harness = Harness::new().edit(|spec| spec.idle_ms = Some(400));
    // Until the job is there, however long that takes.
    harness.guest_is_busy(true);
    let mut shim = harness.start();
    shim.ready();
    let outputs = tempfile::tempdir().unwrap();
    let gone = outputs.path().join("gone");
    let start = |job| JobStart {
        job,
        exec: Exec::new(Command::Shell(
            format!("file {}", gone.display()).into_bytes().into(),
        )),
        input: Default::default(),
        folder: outputs.path().to_owned(),
        max_bytes: 1024,
    };
    let mut holder = harness.connect();
    send(&mut holder, &ShimRequest::JobStart(start(7)));
    assert_eq!(receive(&mut holder).map(reply), Some(ShimReply::Done));
    harness.guest_is_busy(false);
    // Its number is taken.
    let ShimReply::Failed(again) = harness.request(&ShimRequest::JobStart(start(7))) else {
        panic!("two jobs of one number");
    };
    assert_eq!(again.code, FaultCode::Refused);
    let wait = ShimRequest::JobWait(JobWait {
        job: 7,
        seen: [0; 2],
        timeout_ms: 1000,
    });
    // Longer than the VM may be unused.
    let ShimReply::Job(state) = harness.request(&wait) else {
        panic!("no such job");
    };
    assert_eq!(*state, JobState::default());
    drop(holder);
    assert_eq!(shim.end().reason, EndReason::Idle);
    let end = std::fs::read(outputs.path().join(end_file(7))).unwrap();
    let end: JobEnd = serde_json::from_slice(&end).unwrap();
    assert_eq!((end.cause, end.exec.exit_code), (JobCause::CallerGone, 137));
    assert!(gone.exists());
}

#[test]
fn who_comes_when_the_stop_has_begun_hears_that_it_is_over() {
    let harness = Harness::new().behavior("stubborn");
    let mut shim = harness.start();
    shim.ready();
    let path = harness.path().to_owned();
    let stop = thread::spawn(move || harness::stop(&path, 60_000, false));
    wait_until(|| matches!(harness.request(&ShimRequest::Status), ShimReply::Failed(_)));
    let layer = DiskLayer {
        path: "/layer".into(),
        format: DiskFormat::Qcow2,
    };
    for request in [
        ShimRequest::Agent,
        ShimRequest::Status,
        ShimRequest::Touch,
        ShimRequest::AddLayer(layer),
    ] {
        let ShimReply::Failed(fault) = harness.request(&request) else {
            panic!("{request:?} was served");
        };
        assert_eq!(
            (fault.code, fault.message.as_str()),
            (FaultCode::Over, "the VM is stopping")
        );
    }
    assert_eq!(harness.stop(0, false), ShimReply::Stopped);
    assert_eq!(stop.join().unwrap(), ShimReply::Stopped);
}

/// Whoever reaches the socket is answered, however near the end is.
#[test]
fn nobody_is_left_without_an_answer() {
    for _ in 0..10 {
        let harness = Harness::new().edit(|spec| spec.idle_ms = Some(100));
        let mut shim = harness.start();
        shim.ready();
        let mut served = 0;
        while let Ok(mut socket) = harness::try_connect(harness.path()) {
            send(&mut socket, &ShimRequest::Agent);
            match receive(&mut socket).map(reply) {
                Some(ShimReply::Bridged) => served += 1,
                Some(ShimReply::Failed(fault)) => assert_eq!(fault.code, FaultCode::Over),
                other => panic!("{other:?} after {served} lines"),
            }
            drop(socket);
            // Around the time after which the VM counts as unused.
            thread::sleep(Duration::from_millis(90 + served % 20));
        }
        assert_eq!(shim.end().reason, EndReason::Idle);
    }
}

#[test]
fn all_who_want_the_end_hear_of_it() {
    for remove in [false, true] {
        let harness = Harness::new();
        let mut shim = harness.start();
        shim.ready();
        let sockets: Vec<UnixStream> = (0..40).map(|_| harness.connect()).collect();
        // Who says nothing for a second after the end is not waited for.
        let all = Arc::new(Barrier::new(sockets.len()));
        let stops: Vec<_> = sockets
            .into_iter()
            .map(|mut socket| {
                let stop = Stop {
                    grace_ms: 1000,
                    remove,
                    at_once: false,
                };
                let all = Arc::clone(&all);
                thread::spawn(move || {
                    all.wait();
                    send(&mut socket, &ShimRequest::Stop(stop));
                    receive(&mut socket).map(reply)
                })
            })
            .collect();
        let mut heard = 0;
        for stop in stops {
            match stop.join().unwrap() {
                Some(ShimReply::Stopped) => heard += 1,
                // Not even listened to before there was nothing left to stop.
                Some(ShimReply::Failed(fault)) => assert_eq!(fault.code, FaultCode::Over),
                other => panic!("{other:?}"),
            }
        }
        assert!(heard > 0);
        assert_eq!(harness.path().exists(), !remove);
        assert_eq!(shim.end().reason, EndReason::Stopped);
    }
}

#[test]
fn a_host_process_has_no_layers() {
    let harness = Harness::new();
    let mut shim = harness.start();
    shim.ready();
    let layer = DiskLayer {
        path: harness.workspace().join("layer.qcow2"),
        format: DiskFormat::Qcow2,
    };
    let ShimReply::Failed(fault) = harness.add_layer(&layer) else {
        panic!("a layer on nothing");
    };
    assert_eq!(fault.code, FaultCode::Refused);
    assert!(fault.message.contains("no disk"), "{fault}");
    assert!(harness.status().disk.is_empty());
    harness.stop(0, true);
}

fn reply(frame: Frame) -> ShimReply {
    frame.message().unwrap()
}
