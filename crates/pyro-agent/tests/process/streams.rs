//! Input and output: byte for byte, and no more in memory than needed.

use std::time::Duration;

use pyro_wire::exec::{ExecControl, ExecEvent};
use pyro_wire::frame::{self, Kind};
use tokio::time::sleep;

use crate::agent::{Agent, program, shell};

#[tokio::test]
async fn both_outputs_arrive_byte_for_byte() {
    let agent = Agent::start().await;
    let all: Vec<u8> = (0..=255).collect();
    let reversed: Vec<u8> = (0..=255).rev().collect();
    std::fs::write(agent.folder.path().join("all"), &all).unwrap();
    std::fs::write(agent.folder.path().join("reversed"), &reversed).unwrap();
    let outcome = agent.sh("cat all; cat reversed >&2").await;
    assert_eq!(outcome.output, all);
    assert_eq!(outcome.errors, reversed);
}

#[tokio::test]
async fn output_needs_no_newline_and_does_not_wait_for_one() {
    let agent = Agent::start().await;
    let mut running = agent.begin(shell("printf hello; sleep 1000")).await;
    running.started().await;
    let frame = frame::read(&mut running.stream).await.unwrap().unwrap();
    assert_eq!((frame.kind, frame.body), (Kind::Output, b"hello".to_vec()));
}

#[tokio::test]
async fn the_last_output_is_never_lost() {
    let agent = Agent::start().await;
    for _ in 0..50 {
        let outcome = agent
            .run(program(&["sh", "-c", "printf out; printf err >&2"]))
            .await;
        assert_eq!(outcome.output, b"out");
        assert_eq!(outcome.errors, b"err");
    }
}

#[tokio::test]
async fn a_slow_reader_slows_the_command_and_costs_no_memory() {
    const SIZE: usize = 50_000_000;
    let agent = Agent::start().await;
    let mut running = agent
        .begin(program(&["head", "-c", &SIZE.to_string(), "/dev/zero"]))
        .await;
    running.started().await;
    let before = agent.memory_kib();
    sleep(Duration::from_millis(500)).await;
    let (mut received, mut most) = (0, 0);
    loop {
        let frame = frame::read(&mut running.stream).await.unwrap().unwrap();
        if frame.kind == Kind::Message {
            let ExecEvent::Ended(end) = frame.message().unwrap() else {
                panic!("no end");
            };
            assert_eq!(end.exit_code, 0);
            break;
        }
        let first = received / 1_000_000;
        received += frame.body.len();
        if received / 1_000_000 > first {
            sleep(Duration::from_millis(5)).await;
            most = most.max(agent.memory_kib());
        }
    }
    assert_eq!(received, SIZE);
    assert!(most < before + 4096, "{before} KiB grew to {most} KiB");
}

#[tokio::test]
async fn input_passes_through() {
    let agent = Agent::start().await;
    let mut request = program(&["cat"]);
    request.input = true;
    let running = agent.begin(request).await;
    let sent: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut from, mut to) = tokio::io::split(running.stream);
    let write = async {
        frame::write_data(&mut to, Kind::Input, &sent)
            .await
            .unwrap();
        frame::write_message(&mut to, &ExecControl::InputEnd)
            .await
            .unwrap();
    };
    let read = async {
        let mut received = Vec::new();
        loop {
            let frame = frame::read(&mut from).await.unwrap().unwrap();
            match frame.kind {
                Kind::Message => {
                    if let ExecEvent::Ended(end) = frame.message().unwrap() {
                        assert_eq!(end.exit_code, 0);
                        return received;
                    }
                }
                _ => received.extend(frame.body),
            }
        }
    };
    let ((), received) = tokio::join!(write, read);
    assert!(received == sent);
}

#[tokio::test]
async fn input_can_end_at_once() {
    let agent = Agent::start().await;
    let mut request = program(&["wc", "-c"]);
    request.input = true;
    let mut running = agent.begin(request).await;
    running.control(&ExecControl::InputEnd).await;
    let outcome = running.finish().await.unwrap();
    assert_eq!(outcome.text(), "0\n");
}

#[tokio::test]
async fn without_input_there_is_an_empty_file() {
    let agent = Agent::start().await;
    let outcome = agent.run(program(&["readlink", "/proc/self/fd/0"])).await;
    assert_eq!(outcome.text(), "/dev/null\n");
    assert_eq!(agent.run(program(&["cat"])).await.end.exit_code, 0);
}

#[tokio::test]
async fn a_command_that_ignores_its_input_still_speaks_and_ends() {
    let agent = Agent::start().await;
    let mut request = shell("head -c 3; exec 0<&-; sleep 0.2; head -c 100000 /dev/zero; exit 5");
    request.input = true;
    let running = agent.begin(request).await;
    let (mut from, mut to) = tokio::io::split(running.stream);
    let write = async {
        // More than any buffer on the way holds. It may fail once the command has ended.
        let _ = frame::write_data(&mut to, Kind::Input, &[b'x'; 8_000_000]).await;
    };
    let read = async {
        let mut received = 0;
        loop {
            let frame = frame::read(&mut from).await.unwrap().unwrap();
            match frame.kind {
                Kind::Message => {
                    if let ExecEvent::Ended(end) = frame.message().unwrap() {
                        return (end.exit_code, received);
                    }
                }
                _ => received += frame.body.len(),
            }
        }
    };
    let ((), ended) = tokio::join!(write, read);
    assert_eq!(ended, (5, 100_003));
}
