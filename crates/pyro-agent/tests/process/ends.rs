//! How commands end, and what is said about it.

use std::time::{Duration, Instant};

use pyro_wire::agent::{AgentReply, AgentRequest, SetUp};
use pyro_wire::exec::ExecControl;
use pyro_wire::jobs::READ_AHEAD;

use crate::agent::{Agent, LIMIT, program, shell};

#[tokio::test]
async fn exit_codes_arrive() {
    let agent = Agent::start().await;
    for code in [0, 1, 42, 255] {
        let outcome = agent.sh(&format!("exit {code}")).await;
        assert_eq!((outcome.end.exit_code, outcome.end.signal), (code, None));
        assert!(!outcome.end.timed_out);
    }
}

#[tokio::test]
async fn a_signal_is_named() {
    let agent = Agent::start().await;
    for number in [9, 15, 34] {
        let outcome = agent.sh(&format!("kill -{number} $$")).await;
        assert_eq!(outcome.end.exit_code, 128 + number);
        assert_eq!(outcome.end.signal, Some(number));
    }
}

#[tokio::test]
async fn a_signal_can_be_sent() {
    let agent = Agent::start().await;
    let mut running = agent
        .begin(shell(
            "trap 'echo caught; exit 3' INT; echo ready; sleep 1000 & wait",
        ))
        .await;
    running.started().await;
    let ready = pyro_wire::frame::read(&mut running.stream)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ready.body, b"ready\n");
    running.control(&ExecControl::Signal(0)).await;
    running.control(&ExecControl::Signal(-7)).await;
    running.control(&ExecControl::Signal(2)).await;
    let outcome = running.finish().await.unwrap();
    assert_eq!(outcome.text(), "caught\n");
    assert_eq!(outcome.end.exit_code, 3);
}

#[tokio::test]
async fn a_command_that_is_asked_to_end_ends_with_all_that_it_started() {
    let agent = Agent::start().await;
    let line = "sleep 1000 & echo $!; trap 'echo asked; exit 7' TERM; echo ready; wait";
    let mut running = agent.begin(shell(line)).await;
    running.started().await;
    let mut seen = Vec::new();
    while !seen.ends_with(b"ready\n") {
        let frame = pyro_wire::frame::read(&mut running.stream).await.unwrap();
        seen.extend(frame.unwrap().body);
    }
    let left: i32 = String::from_utf8_lossy(&seen)
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    running.control(&ExecControl::End).await;
    let outcome = running.finish().await.unwrap();
    assert_eq!(
        (outcome.text().as_str(), outcome.end.exit_code),
        ("asked\n", 7)
    );
    // One that was killed is there until its last thread has gone.
    let left = nix::unistd::Pid::from_raw(left);
    let begun = Instant::now();
    while nix::sys::signal::kill(left, None) != Err(nix::errno::Errno::ESRCH) {
        assert!(begun.elapsed() < LIMIT, "it runs on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A command that reads nothing, and says that it was asked.
const DEAF: &str = "trap 'echo asked; exit 7' TERM; echo ready; sleep 1000 & wait";

#[tokio::test]
async fn a_signal_and_a_wish_overtake_input_that_nobody_reads() {
    let agent = Agent::start().await;
    for control in [ExecControl::Signal(15), ExecControl::End] {
        let mut request = shell(DEAF);
        request.input = true;
        let mut running = agent.begin(request).await;
        running.started().await;
        // However it is cut.
        for _ in 0..1024 {
            running.input(&[b'x'; READ_AHEAD / 1024]).await;
        }
        let ready = pyro_wire::frame::read(&mut running.stream).await.unwrap();
        assert_eq!(ready.unwrap().body, b"ready\n");
        running.control(&control).await;
        let outcome = running.finish().await.unwrap();
        let told = (outcome.text(), outcome.end.exit_code);
        assert_eq!(told, ("asked\n".to_owned(), 7), "{control:?}");
    }
}

#[tokio::test]
async fn a_command_that_is_out_of_time_is_asked_first() {
    let agent = Agent::start().await;
    let mut request = shell(DEAF);
    request.input = true;
    request.timeout_ms = Some(agent.ample_ms("trap : TERM; sleep 0 & wait", 1000).await);
    let mut running = agent.begin(request).await;
    running.started().await;
    running.input(&[b'x'; 300 * 1024]).await;
    let outcome = running.finish().await.unwrap();
    assert_eq!(outcome.text(), "ready\nasked\n");
    assert_eq!((outcome.end.exit_code, outcome.end.timed_out), (124, true));
}

#[tokio::test]
async fn a_broken_pipe_kills_as_usual() {
    let agent = Agent::start().await;
    let outcome = agent
        .run(program(&[
            "bash",
            "-c",
            "yes | head -1; echo ${PIPESTATUS[0]}",
        ]))
        .await;
    assert_eq!(outcome.text(), "y\n141\n");
}

#[tokio::test]
async fn a_background_process_is_not_waited_for() {
    let agent = Agent::start().await;
    // Much longer than any command may take here.
    let outcome = agent.sh("sleep 1000 & echo hi; echo $! >&2").await;
    assert_eq!(outcome.text(), "hi\n");
    let pid = String::from_utf8(outcome.errors).unwrap();
    assert!(crate::agent::lives(pid.trim().parse().unwrap()));
}

#[tokio::test]
async fn a_daemon_that_holds_the_output_may_go_on_writing() {
    let agent = Agent::start().await;
    let done = agent.folder.path().join("done");
    let outcome = agent
        .sh("(sleep 0.3; for i in 1 2 3; do echo late; echo late >&2; done; echo 7 > done) & echo hi")
        .await;
    assert_eq!(outcome.text(), "hi\n");
    assert_eq!(crate::agent::pid_in(&done).await, 7);
}

#[tokio::test]
async fn a_chatty_daemon_cannot_hold_the_end_back() {
    let agent = Agent::start().await;
    // It has begun before the command ends, however busy the host is.
    let line = "yes | { head -c 4; touch begun; cat; } & until test -e begun; do sleep 0.01; done";
    let outcome = agent.sh(line).await;
    assert_eq!(outcome.end.exit_code, 0);
    assert!(outcome.output.starts_with(b"y\ny\n"));
}

#[tokio::test]
async fn set_up_and_ping_are_answered() {
    let agent = Agent::start().await;
    let request = AgentRequest::SetUp(SetUp {
        env: Vec::new(),
        user: None,
        new_disk: false,
        hostname: "any".into(),
        machine_id: String::new(),
        unix_time_ns: 0,
        entropy: Vec::new(),
        timings: false,
    });
    let AgentReply::Ready(ready) = agent.ask(&request).await else {
        panic!("not ready");
    };
    assert_eq!(ready.agent_version, "4.0.0");
    assert!(!ready.kernel_release.is_empty());
    // That of a host process is the host's own, and nobody's to correct.
    assert_eq!(ready.unix_time_ns, None);
    assert_eq!(agent.ask(&AgentRequest::Ping).await, AgentReply::Done);
}

#[tokio::test]
async fn the_version_is_printed() {
    let printed = std::process::Command::new(env!("CARGO_BIN_EXE_pyro-agent"))
        .arg("--version")
        .output()
        .unwrap();
    assert_eq!(printed.stdout, b"pyro-agent 4.0.0\n");
}
