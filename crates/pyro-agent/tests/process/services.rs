//! Services: how they become ready, how they end, what is kept of their output; and connections to
//! ports.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use pyro_wire::agent::{AgentReply, AgentRequest};
use pyro_wire::exec::Command;
use pyro_wire::fault::FaultCode;
use pyro_wire::frame::{self, Kind};
use pyro_wire::service::{
    Connect, ConnectReply, LOG_BYTES, Readiness, ServiceEnd, ServiceLogs, ServicePhase,
    ServiceReply, ServiceStart, ServiceState, ServiceStop, ServiceWatch,
};
use pyro_wire::session::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::agent::{Agent, LIMIT, await_death, lives, pid_in};

fn shell(line: &str) -> Command {
    Command::Shell(line.as_bytes().to_vec().into())
}

fn service(instance: u64, line: &str, readiness: Option<Readiness>) -> ServiceStart {
    ServiceStart {
        name: format!("service-{instance}"),
        instance,
        command: shell(line),
        cwd: None,
        env: Vec::new(),
        user: None,
        secret_env: Vec::new(),
        readiness,
        ready_timeout_ms: 30_000,
        ready_interval_ms: 500,
    }
}

async fn ask(agent: &Agent, request: AgentRequest) -> ServiceReply {
    let mut stream = open(agent, &request).await;
    hear(&mut stream).await
}

async fn open(agent: &Agent, request: &AgentRequest) -> Stream {
    let mut stream = agent.opener.open().await.unwrap();
    frame::write_message(&mut stream, request).await.unwrap();
    stream
}

async fn hear(stream: &mut Stream) -> ServiceReply {
    let reply = timeout(LIMIT, frame::read_message(stream)).await;
    reply.unwrap().unwrap()
}

fn state(reply: ServiceReply) -> ServiceState {
    match reply {
        ServiceReply::State(state) => state,
        other => panic!("{other:?}"),
    }
}

async fn start(agent: &Agent, request: ServiceStart) -> ServiceState {
    state(ask(agent, AgentRequest::ServiceStart(request)).await)
}

async fn stop(agent: &Agent, instance: u64) -> ServiceState {
    state(ask(agent, AgentRequest::ServiceStop(ServiceStop { instance })).await)
}

async fn list(agent: &Agent) -> Vec<ServiceState> {
    match ask(agent, AgentRequest::ServiceList).await {
        ServiceReply::States(states) => states,
        other => panic!("{other:?}"),
    }
}

async fn logs(agent: &Agent, instance: u64, lines: Option<u64>) -> (String, String, bool) {
    let request = ServiceLogs {
        instance,
        tail_lines: lines,
        follow: false,
    };
    let mut stream = open(agent, &AgentRequest::ServiceLogs(request)).await;
    read_log(&mut stream).await
}

async fn read_log(stream: &mut Stream) -> (String, String, bool) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        let frame = timeout(LIMIT, frame::read(stream)).await;
        let frame = frame.unwrap().unwrap().unwrap();
        match frame.kind {
            Kind::Output => out.extend(frame.body),
            Kind::ErrorOutput => err.extend(frame.body),
            _ => match frame.message().unwrap() {
                ServiceReply::LogLost(_) => {}
                ServiceReply::LogEnd { truncated } => {
                    let text = |bytes| String::from_utf8(bytes).unwrap();
                    return (text(out), text(err), truncated);
                }
                other => panic!("{other:?}"),
            },
        }
    }
}

/// Waits for the end of the process that wrote its id into this file.
async fn gone(agent: &Agent, file: &str) {
    await_death(pid_in(&agent.folder.path().join(file)).await).await;
}

#[tokio::test]
async fn it_is_ready_when_what_was_asked_for_shows() {
    let agent = Agent::start().await;
    let file = Readiness::File(b"a/ready".to_vec().into());
    let begun = start(
        &agent,
        service(
            1,
            "mkdir a; sleep 0.2; echo up; touch a/ready; exec sleep 1000",
            Some(file),
        ),
    )
    .await;
    assert_eq!((begun.phase, begun.ready), (ServicePhase::Running, true));
    assert!(lives(begun.pid.cast_signed()));
    let (out, _, truncated) = logs(&agent, 1, None).await;
    assert_eq!((out.as_str(), truncated), ("up\n", false));

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = || "localhost".to_owned();
    let tcp = Readiness::Tcp { host: host(), port };
    assert!(
        start(&agent, service(2, "exec sleep 1000", Some(tcp)))
            .await
            .ready
    );

    let command = Readiness::Command(shell("test -e made && echo not in the log"));
    let mut late = service(3, "sleep 0.1; touch made; exec sleep 1000", Some(command));
    late.ready_interval_ms = 20;
    assert!(start(&agent, late).await.ready);
    assert_eq!(logs(&agent, 3, None).await.0, "");
    // Without a sign it is ready from the start.
    assert!(
        start(&agent, service(4, "exec sleep 1000", None))
            .await
            .ready
    );
    assert_eq!(list(&agent).await.len(), 4);

    // A name is taken while its service runs, and free when it has ended.
    let mut namesake = service(5, "exec sleep 1000", None);
    namesake.name = "service-4".into();
    let again = ask(&agent, AgentRequest::ServiceStart(namesake.clone())).await;
    assert!(matches!(again, ServiceReply::Failed(fault) if fault.code == FaultCode::Conflict));
    let stopped = stop(&agent, 4).await;
    assert_eq!(stopped.phase, ServicePhase::Stopped);
    assert_eq!(stopped.reason, Some(ServiceEnd::Sigterm));
    assert_eq!(stopped.exit_code, Some(143));
    assert!(start(&agent, namesake).await.ready);
    let used = agent.ask(&AgentRequest::LastUse).await;
    assert_eq!(used, AgentReply::Used { ms_ago: Some(0) });
    let pids: Vec<u32> = list(&agent).await.iter().map(|state| state.pid).collect();
    // All of them end with the agent.
    agent.hang_up().await;
    for pid in pids {
        await_death(pid.cast_signed()).await;
    }
}

#[tokio::test]
async fn one_that_dies_or_is_never_ready_says_so_and_leaves_nothing() {
    let agent = Agent::start().await;
    let never = || Some(Readiness::File(b"never".to_vec().into()));
    let mut request = service(
        1,
        "sleep 1000 & echo $! > child; echo oh no >&2; exit 3",
        never(),
    );
    // Much longer than the test may take: it must answer at the death.
    request.ready_timeout_ms = 1_000_000;
    let begun = Instant::now();
    let died = start(&agent, request).await;
    let pace = u64::try_from(begun.elapsed().as_millis()).unwrap();
    assert_eq!((died.phase, died.ready), (ServicePhase::Failed, false));
    assert_eq!(died.reason, Some(ServiceEnd::ProcessExitedBeforeReady));
    assert_eq!(died.exit_code, Some(3));
    assert_eq!(logs(&agent, 1, None).await.1, "oh no\n");
    gone(&agent, "child").await;

    // A look that hangs does not go on beyond the time, and neither does what it started.
    let look = Readiness::Command(shell("echo $$ > look; exec sleep 1000"));
    let mut request = service(
        2,
        "trap '' TERM; sleep 1000 & echo $! > child; wait",
        Some(look),
    );
    // Much longer than starting both takes on this host right now.
    request.ready_timeout_ms = u64::max(500, 20 * pace);
    let late = start(&agent, request).await;
    assert_eq!((late.phase, late.ready), (ServicePhase::Failed, false));
    assert_eq!(late.reason, Some(ServiceEnd::ReadinessTimeout));
    gone(&agent, "look").await;
    gone(&agent, "child").await;

    // What cannot be started at all leaves no service.
    let mut request = service(3, "true", None);
    request.cwd = Some(b"no/such/folder".to_vec().into());
    let reply = ask(&agent, AgentRequest::ServiceStart(request)).await;
    assert!(matches!(reply, ServiceReply::Failed(fault) if fault.code == FaultCode::NotFound));
    // A process of the host has no secrets to show it.
    let mut request = service(3, "touch shown", None);
    request.secret_env = vec![("TOKEN".into(), "T".into())];
    let reply = ask(&agent, AgentRequest::ServiceStart(request)).await;
    assert!(
        matches!(&reply, ServiceReply::Failed(fault) if fault.code == FaultCode::Refused
            && fault.message.contains("no secret `TOKEN`")),
        "{reply:?}"
    );
    assert!(!agent.folder.path().join("shown").exists());
    let mut request = service(4, "", never());
    request.command = Command::Program(vec![b"no-such-program".to_vec().into()]);
    let missing = start(&agent, request).await;
    assert_eq!(missing.exit_code, Some(127));
    assert!(logs(&agent, 4, None).await.1.contains("no-such-program"));
    assert_eq!(list(&agent).await.len(), 3);

    // Whoever goes away before it is ready ends it.
    let request = service(5, "echo $$ > mine; exec sleep 1000", never());
    let stream = open(&agent, &AgentRequest::ServiceStart(request)).await;
    let mine = pid_in(&agent.folder.path().join("mine")).await;
    drop(stream);
    await_death(mine).await;
    agent.hang_up().await;
}

#[tokio::test]
async fn a_stop_takes_the_whole_group_politely_and_then_hard() {
    let agent = Agent::start().await;
    // Its first process ends at once, another needs a little, and says goodbye.
    let polite = "sh -c 'trap \"sleep 0.2; echo bye; exit\" TERM; echo $$ > worker; while :; do sleep 0.05; done' & \
                  while [ ! -s worker ]; do sleep 0.01; done; exec sleep 1000";
    let seen = Some(Readiness::Command(shell("test -s worker")));
    let mut request = service(1, polite, seen);
    request.ready_interval_ms = 10;
    assert!(start(&agent, request).await.ready);
    let stopped = stop(&agent, 1).await;
    assert_eq!(stopped.reason, Some(ServiceEnd::Sigterm));
    assert_eq!(logs(&agent, 1, None).await.0, "bye\n");
    gone(&agent, "worker").await;
    // Asked again, nothing changes.
    assert_eq!(stop(&agent, 1).await.exit_code, stopped.exit_code);

    let deaf = "trap '' TERM; sleep 1000 & echo $! > deaf; while :; do sleep 0.05; done";
    start(&agent, service(2, deaf, None)).await;
    let deaf = pid_in(&agent.folder.path().join("deaf")).await;
    let watch = ServiceWatch {
        instance: 2,
        timeout_ms: 1000,
    };
    let mut watch = open(&agent, &AgentRequest::ServiceWatch(watch)).await;
    assert!(state(hear(&mut watch).await).ready);
    let killed = stop(&agent, 2).await;
    assert_eq!(killed.reason, Some(ServiceEnd::Sigkill));
    assert_eq!(killed.exit_code, Some(137));
    await_death(deaf).await;
    assert_eq!(state(hear(&mut watch).await).phase, ServicePhase::Stopped);
    let used = agent.ask(&AgentRequest::LastUse).await;
    assert!(matches!(used, AgentReply::Used { ms_ago: Some(_) }));

    // At the end of everything the rest goes, too, and says what there is to say.
    start(
        &agent,
        service(
            3,
            "trap 'echo so long; exit 0' TERM; echo ready; while :; do sleep 0.05; done",
            None,
        ),
    )
    .await;
    eventually_log(&agent, 3, "ready\n").await;
    let mut all = open(&agent, &AgentRequest::ServicesEnd).await;
    for (instance, wanted) in [(1, "bye\n"), (2, ""), (3, "ready\nso long\n")] {
        let state = state(hear(&mut all).await);
        assert_eq!(
            (state.instance, state.phase),
            (instance, ServicePhase::Stopped)
        );
        assert_eq!(read_log(&mut all).await.0, wanted);
        if instance == 3 {
            assert_eq!(state.reason, Some(ServiceEnd::WorkspaceStopped));
            assert_eq!(state.exit_code, Some(0));
        }
    }
    assert_eq!(hear(&mut all).await, ServiceReply::Done);
    let more = ask(&agent, AgentRequest::ServiceStart(service(4, "true", None))).await;
    assert!(matches!(more, ServiceReply::Failed(_)));
    agent.hang_up().await;
}

async fn eventually_log(agent: &Agent, instance: u64, wanted: &str) {
    let look = async {
        while logs(agent, instance, None).await.0 != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, look).await.unwrap();
}

#[tokio::test]
async fn a_flood_is_bounded_and_stalls_nobody() {
    let agent = Agent::start().await;
    start(&agent, service(1, "echo first; yes 0123456789", None)).await;
    let flooded = async {
        while !logs(&agent, 1, None).await.2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, flooded).await.unwrap();
    // The agent does other things meanwhile.
    assert_eq!(agent.sh("echo fine").await.output, b"fine\n");
    let (out, _, truncated) = logs(&agent, 1, None).await;
    assert!(truncated && out.len() <= LOG_BYTES && out.len() > LOG_BYTES / 2);
    assert!(out.starts_with("0123456789\n"));
    let (out, _, truncated) = logs(&agent, 1, Some(3)).await;
    // The last line may not be finished.
    assert!(truncated && out.lines().count() == 3, "{out}");
    assert!(out.starts_with("0123456789\n0123456789\n"), "{out}");
    assert!(agent.memory_kib() < 64 * 1024);
    // Nothing of it is beside the workspace or in it.
    let listed = fs::read_dir(agent.folder.path()).unwrap();
    assert_eq!(listed.count(), 0);
    let stopped = stop(&agent, 1).await;
    assert_eq!(stopped.phase, ServicePhase::Stopped);

    // Who follows hears everything that comes, and the end.
    let slow = "for n in 1 2 3; do echo $n; sleep 0.05; done; exit 7";
    start(&agent, service(2, slow, None)).await;
    let request = ServiceLogs {
        instance: 2,
        tail_lines: Some(200),
        follow: true,
    };
    let mut followed = open(&agent, &AgentRequest::ServiceLogs(request)).await;
    assert_eq!(read_log(&mut followed).await.0, "1\n2\n3\n");
    let ended = list(&agent).await;
    let ended = ended.iter().find(|state| state.instance == 2).unwrap();
    assert_eq!(
        (ended.phase, ended.exit_code),
        (ServicePhase::Exited, Some(7))
    );
    agent.hang_up().await;
}

#[tokio::test]
async fn a_slow_follower_is_told_how_much_it_missed() {
    let agent = Agent::start().await;
    let line = "echo begun; until test -e go; do sleep 0.01; done; seq 1000000 2999999; touch done";
    start(&agent, service(1, line, None)).await;
    let request = ServiceLogs {
        instance: 1,
        tail_lines: None,
        follow: true,
    };
    let mut followed = open(&agent, &AgentRequest::ServiceLogs(request)).await;
    let first = timeout(LIMIT, frame::read(&mut followed)).await;
    assert_eq!(first.unwrap().unwrap().unwrap().body, b"begun\n");
    // Nothing is read until everything is written.
    let wait = "touch go; until test -e done; do sleep 0.01; done; echo written";
    assert_eq!(agent.sh(wait).await.output, b"written\n");
    let (mut heard, mut lost, mut after_gap) = (0, 0, None);
    let truncated = loop {
        let frame = timeout(LIMIT, frame::read(&mut followed)).await;
        let frame = frame.unwrap().unwrap().unwrap();
        match frame.kind {
            Kind::Output => {
                heard += frame.body.len() as u64;
                if lost > 0 {
                    after_gap.get_or_insert(frame.body);
                }
            }
            _ => match frame.message().unwrap() {
                ServiceReply::LogLost(bytes) => lost += bytes,
                ServiceReply::LogEnd { truncated } => break truncated,
                other => panic!("{other:?}"),
            },
        }
    };
    assert!(truncated && lost > 0, "{lost}");
    assert_eq!(heard + lost, 2_000_000 * 8);
    // It goes on with a whole line.
    let after_gap = after_gap.unwrap();
    assert_eq!((after_gap[7], after_gap[15]), (b'\n', b'\n'));
    agent.hang_up().await;
}

#[tokio::test]
async fn why_a_service_was_not_ready_is_told() {
    let agent = Agent::start().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let _ = client.read(&mut [0; 1024]);
            let _ = client.write_all(b"HTTP/1.1 503 Busy\r\n\r\n");
        }
    });
    let tcp = |host: &str| Readiness::Tcp {
        host: host.into(),
        port: 1,
    };
    let command = "echo nothing; echo no lamp is lit >&2; exit 3";
    for (instance, (readiness, why)) in (1..).zip([
        (
            Readiness::Http(format!("http://127.0.0.1:{port}/")),
            "it answered with status 503",
        ),
        (tcp("127.0.0.1"), "127.0.0.1 port 1: connection refused"),
        (
            tcp("nowhere"),
            "`nowhere` is not an address, and not in /etc/hosts of the guest",
        ),
        (
            Readiness::File(b"none".to_vec().into()),
            "there is no such file",
        ),
        (
            Readiness::Command(shell(command)),
            "the command exited with status 3: no lamp is lit",
        ),
    ]) {
        let mut request = service(instance, "exec sleep 1000", Some(readiness));
        request.ready_timeout_ms = 1500;
        let failed = start(&agent, request).await;
        assert_eq!(failed.reason, Some(ServiceEnd::ReadinessTimeout));
        assert_eq!(failed.not_ready.as_deref(), Some(why));
    }
    agent.hang_up().await;
}

#[tokio::test]
async fn a_server_whose_queue_is_full_is_tried_until_it_takes_more() {
    let agent = Agent::start().await;
    let server = tokio::net::TcpSocket::new_v4().unwrap();
    server.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = server.listen(0).unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = AgentRequest::Connect(Connect { port });
    let reply = async |stream: &mut Stream| -> ConnectReply {
        let reply = timeout(LIMIT, frame::read_message(stream)).await;
        reply.unwrap().unwrap()
    };
    let mut streams = Vec::new();
    let mut waits = loop {
        let mut stream = open(&agent, &connect).await;
        match reply(&mut stream).await {
            ConnectReply::Connected => streams.push(stream),
            ConnectReply::Trying => break stream,
            ConnectReply::Failed(fault) => panic!("{fault}"),
        }
    };
    // One that gives up is forgotten.
    let mut leaves = open(&agent, &connect).await;
    assert_eq!(reply(&mut leaves).await, ConnectReply::Trying);
    drop(leaves);
    for _ in &streams {
        drop(listener.accept().await.unwrap());
    }
    assert_eq!(reply(&mut waits).await, ConnectReply::Connected);
    agent.hang_up().await;
}

#[tokio::test]
async fn a_port_is_connected_to_both_ways_and_a_dead_one_is_refused() {
    let agent = Agent::start().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut client, _) = listener.accept().unwrap();
        let mut heard = String::new();
        client.read_to_string(&mut heard).unwrap();
        // The other half is still open.
        client.write_all(heard.to_uppercase().as_bytes()).unwrap();
    });
    let mut stream = open(&agent, &AgentRequest::Connect(Connect { port })).await;
    let reply: ConnectReply = frame::read_message(&mut stream).await.unwrap();
    assert_eq!(reply, ConnectReply::Connected);
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(LIMIT, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer, "HELLO");
    server.join().unwrap();

    let reply = agent.ask(&AgentRequest::Connect(Connect { port })).await;
    // Failures read the same, whatever was asked for.
    assert!(matches!(reply, AgentReply::Failed(fault) if fault.code == FaultCode::NotFound));
    agent.hang_up().await;
}
