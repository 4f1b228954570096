//! Shells: terminals that live in the agent, and whoever comes to them.

use std::fs;
use std::time::Duration;

use pyro_wire::agent::{AgentReply, AgentRequest};
use pyro_wire::fault::FaultCode;
use pyro_wire::frame::{self, Kind};
use pyro_wire::shells::{
    AttachControl, AttachEvent, SCROLLBACK_BYTES, Shell, ShellOpen, ShellOutput, ShellRead,
    ShellReply, ShellRequest, Size,
};
use tokio::time::{sleep, timeout};

use crate::agent::{Agent, LIMIT, await_death, lives, pid_in};

const SIZE: Size = Size { cols: 80, rows: 24 };
const ID: &str = "0123456789ab";

async fn ask(agent: &Agent, request: ShellRequest) -> ShellReply {
    let mut stream = agent.opener.open().await.unwrap();
    frame::write_message(&mut stream, &AgentRequest::Shell(request))
        .await
        .unwrap();
    timeout(LIMIT, frame::read_message(&mut stream))
        .await
        .unwrap()
        .unwrap()
}

fn shell(reply: ShellReply) -> Shell {
    match reply {
        ShellReply::Shell(shell) => shell,
        other => panic!("{other:?}"),
    }
}

fn refused(reply: ShellReply) -> FaultCode {
    match reply {
        ShellReply::Failed(fault) => fault.code,
        other => panic!("{other:?}"),
    }
}

async fn open(agent: &Agent, id: &str) -> Shell {
    let request = ShellOpen {
        id: id.into(),
        cwd: None,
        user: None,
        size: SIZE,
        for_person: false,
        env: vec![(b"EXTRA".to_vec().into(), b"more".to_vec().into())],
        secret_env: Vec::new(),
    };
    shell(ask(agent, ShellRequest::Open(request)).await)
}

async fn read(agent: &Agent, request: ShellRead) -> ShellOutput {
    match ask(agent, ShellRequest::Read(request)).await {
        ShellReply::Output(output) => output,
        other => panic!("{other:?}"),
    }
}

fn from(id: &str, cursor: u64) -> ShellRead {
    ShellRead {
        id: id.into(),
        cursor,
        max_chars: u64::MAX,
        before_chars: 0,
        idle_ms: None,
        at_most_ms: 0,
    }
}

async fn type_line(agent: &Agent, id: &str, line: &str) -> ShellReply {
    let input = format!("{line}\n").into_bytes().into();
    ask(
        agent,
        ShellRequest::Write {
            id: id.into(),
            input,
        },
    )
    .await
}

/// Reads until the output holds this.
async fn await_text(agent: &Agent, id: &str, wanted: &str) -> String {
    let look = async {
        loop {
            let text = read(agent, from(id, 0)).await.text;
            if text.contains(wanted) {
                return text;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let found = timeout(LIMIT, look).await;
    match found {
        Ok(text) => text,
        Err(_) => panic!(
            "{wanted:?} is not in {:?}",
            read(agent, from(id, 0)).await.text
        ),
    }
}

#[tokio::test]
async fn a_shell_has_a_terminal_and_outlives_who_asks() {
    let agent = Agent::start().await;
    let opened = open(&agent, ID).await;
    assert_eq!((opened.size, opened.end), (SIZE, None));
    await_text(&agent, ID, "pyro$ ").await;
    type_line(
        &agent,
        ID,
        "cd /; A=b; tty; stty size; echo $TERM $EXTRA [$-]",
    )
    .await;
    let text = await_text(&agent, ID, "more [h").await;
    assert!(text.contains("/dev/pts/"), "{text}");
    assert!(text.contains("24 80"), "{text}");
    assert!(text.contains("xterm-256color more [h"), "{text}");
    type_line(&agent, ID, "pwd; echo $A$A").await;
    assert!(await_text(&agent, ID, "\nbb").await.contains("\r/\r"));

    // Two readers, each with its own place.
    let first = read(
        &agent,
        ShellRead {
            max_chars: 5,
            ..from(ID, 0)
        },
    )
    .await;
    assert_eq!((first.text.chars().count(), first.more), (5, true));
    let again = read(
        &agent,
        ShellRead {
            before_chars: 5,
            ..from("0123", 5)
        },
    )
    .await;
    assert_eq!((again.before, again.cursor), (first.text, 5));

    let size = Size {
        cols: 101,
        rows: 33,
    };
    let id = ID.to_owned();
    let resized = shell(ask(&agent, ShellRequest::Resize { id, size }).await);
    assert_eq!(resized.size, size);
    type_line(&agent, ID, "stty size").await;
    await_text(&agent, ID, "33 101").await;
}

#[tokio::test]
async fn an_interrupt_reaches_what_runs_in_the_foreground() {
    let agent = Agent::start().await;
    open(&agent, ID).await;
    await_text(&agent, ID, "pyro$ ").await;
    type_line(&agent, ID, "sh -c 'echo $$ > pid; exec sleep 1000'").await;
    let pid = pid_in(&agent.folder.path().join("pid")).await;
    let signal = |number| ShellRequest::Signal {
        id: ID.into(),
        number,
    };
    let running = shell(ask(&agent, signal(libc::SIGINT)).await);
    assert_eq!(running.end, None);
    await_death(pid).await;
    type_line(&agent, ID, "echo ended $?").await;
    await_text(&agent, ID, "\rended 130").await;

    // With nothing in the foreground it is the shell itself.
    ask(&agent, signal(libc::SIGKILL)).await;
    let ended = read(
        &agent,
        ShellRead {
            idle_ms: Some(10_000),
            at_most_ms: 60_000,
            ..from(ID, 0)
        },
    );
    let end = ended.await.shell.end.unwrap();
    assert_eq!((end.exit_code, end.signal), (137, Some(libc::SIGKILL)));
}

#[tokio::test]
async fn an_ended_shell_stays_readable_until_it_is_closed() {
    let agent = Agent::start().await;
    open(&agent, ID).await;
    type_line(&agent, ID, "echo last words; exit 7").await;
    let settled = read(
        &agent,
        ShellRead {
            idle_ms: Some(10_000),
            at_most_ms: 60_000,
            ..from(ID, 0)
        },
    );
    let output = settled.await;
    assert_eq!(output.shell.end.unwrap().exit_code, 7);
    assert!(output.text.contains("\rlast words"), "{}", output.text);
    assert_eq!(
        refused(type_line(&agent, ID, "more").await),
        FaultCode::Over
    );
    let number = libc::SIGINT;
    let signal = ShellRequest::Signal {
        id: ID.into(),
        number,
    };
    assert_eq!(refused(ask(&agent, signal).await), FaultCode::Over);
    let close = || ShellRequest::Close { id: ID.into() };
    let closed = shell(ask(&agent, close()).await);
    assert_eq!(closed.end.unwrap().exit_code, 7);
    assert_eq!(refused(ask(&agent, close()).await), FaultCode::NotFound);
    let gone = ShellRequest::Read(from(ID, 0));
    assert_eq!(refused(ask(&agent, gone).await), FaultCode::NotFound);
}

#[tokio::test]
async fn closing_ends_what_runs_and_stubborn_ones_too() {
    let agent = Agent::start().await;
    open(&agent, ID).await;
    type_line(&agent, ID, "sh -c 'echo $$ > pid; exec sleep 1000'").await;
    let pid = pid_in(&agent.folder.path().join("pid")).await;
    let id = ID.to_owned();
    let closed = shell(ask(&agent, ShellRequest::Close { id }).await);
    assert!(closed.end.is_some());
    await_death(pid).await;

    open(&agent, ID).await;
    let deaf = "trap '' HUP; sh -c 'trap \"\" HUP; echo $$ > deaf; sleep 1000; sleep 1000'";
    type_line(&agent, ID, deaf).await;
    let pid = pid_in(&agent.folder.path().join("deaf")).await;
    let id = ID.to_owned();
    let closed = shell(ask(&agent, ShellRequest::Close { id }).await);
    assert_eq!(closed.end.unwrap().signal, Some(libc::SIGKILL));
    await_death(pid).await;
}

#[tokio::test]
async fn a_flood_is_forgotten_and_a_late_reader_is_told() {
    let agent = Agent::start().await;
    open(&agent, ID).await;
    await_text(&agent, ID, "pyro$ ").await;
    type_line(&agent, ID, "yes 'a long line of a flood that nobody reads'").await;
    let fall_behind = async {
        loop {
            let output = read(
                &agent,
                ShellRead {
                    max_chars: 10,
                    ..from(ID, 0)
                },
            )
            .await;
            if output.cursor > 0 {
                return output.cursor;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, fall_behind).await.unwrap();
    let all = read(&agent, from(ID, 0)).await;
    assert!(
        all.text.len() <= SCROLLBACK_BYTES && all.text.len() > SCROLLBACK_BYTES / 2,
        "{}",
        all.text.len()
    );
    // A flood never pauses, and a read that waits for one comes back all the same.
    let output = read(
        &agent,
        ShellRead {
            idle_ms: Some(5000),
            at_most_ms: 300,
            ..from(ID, u64::MAX)
        },
    );
    assert_eq!(output.await.shell.end, None);
    let number = libc::SIGINT;
    ask(
        &agent,
        ShellRequest::Signal {
            id: ID.into(),
            number,
        },
    )
    .await;
    let quiet = read(
        &agent,
        ShellRead {
            idle_ms: Some(200),
            at_most_ms: 30_000,
            ..from(ID, u64::MAX)
        },
    );
    let mut end = quiet.await.cursor;
    // On a busy host there may be a pause before the prompt.
    let prompt = async {
        while !read(&agent, from(ID, end - 20))
            .await
            .text
            .ends_with("pyro$ ")
        {
            sleep(Duration::from_millis(5)).await;
            end = read(&agent, from(ID, u64::MAX)).await.cursor;
        }
    };
    timeout(LIMIT, prompt).await.unwrap();
}

#[tokio::test]
async fn what_nobody_reads_is_refused_and_harms_no_other() {
    let agent = Agent::start().await;
    open(&agent, ID).await;
    // A program that neither reads nor lets the terminal cut lines.
    type_line(&agent, ID, "stty raw -echo; touch ready; sleep 1000").await;
    let ready = agent.folder.path().join("ready");
    while !ready.exists() {
        sleep(Duration::from_millis(5)).await;
    }
    let input = vec![b'x'; 1024 * 1024].into();
    let write = ShellRequest::Write {
        id: ID.into(),
        input,
    };
    let other = async {
        open(&agent, "ffffffffffff").await;
        await_text(&agent, "ffffffffffff", "pyro$ ").await;
    };
    let (reply, ()) = tokio::join!(ask(&agent, write), other);
    assert_eq!(refused(reply), FaultCode::Refused);
}

#[tokio::test]
async fn many_shells_live_side_by_side() {
    let agent = Agent::start().await;
    let ids: Vec<String> = (0..200).map(|number| format!("{number:012x}")).collect();
    for id in &ids {
        open(&agent, id).await;
    }
    for id in &ids {
        type_line(&agent, id, &format!("echo $((0x{id} + 5000))")).await;
    }
    for (number, id) in ids.iter().enumerate() {
        await_text(&agent, id, &format!("\r{}", number + 5000)).await;
    }
    let AgentReply::Used { ms_ago } = agent.ask(&AgentRequest::LastUse).await else {
        panic!("it knows when they wrote");
    };
    assert!(ms_ago.unwrap() < LIMIT.as_millis() as u64);
    let id = "0000000000".to_owned();
    assert_eq!(
        refused(ask(&agent, ShellRequest::Close { id }).await),
        FaultCode::Conflict
    );
    type_line(&agent, &ids[0], "echo $$ > pid").await;
    let pid = pid_in(&agent.folder.path().join("pid")).await;
    assert!(lives(pid));
    agent.hang_up().await;
    await_death(pid).await;
}

#[tokio::test]
async fn an_attached_terminal_shows_types_and_resizes() {
    let agent = Agent::start().await;
    open(&agent, ID).await;
    type_line(&agent, ID, "echo before").await;
    await_text(&agent, ID, "\rbefore").await;
    let mut stream = agent.opener.open().await.unwrap();
    let attach = ShellRequest::Attach {
        id: ID.into(),
        size: SIZE,
    };
    frame::write_message(&mut stream, &AgentRequest::Shell(attach))
        .await
        .unwrap();
    let kept: ShellReply = frame::read_message(&mut stream).await.unwrap();
    let ShellReply::Output(kept) = kept else {
        panic!("{kept:?}");
    };
    assert!(kept.text.contains("\rbefore"));
    let size = Size { cols: 90, rows: 40 };
    frame::write_message(&mut stream, &AttachControl::Resize(size))
        .await
        .unwrap();
    frame::write_data(&mut stream, Kind::Input, b"stty size; exit 3\r")
        .await
        .unwrap();
    let mut shown = kept.text;
    let end = loop {
        let frame = timeout(LIMIT, frame::read(&mut stream)).await.unwrap();
        let frame = frame.unwrap().unwrap();
        if frame.kind == Kind::Output {
            shown.push_str(std::str::from_utf8(&frame.body).unwrap());
            continue;
        }
        match frame.message().unwrap() {
            AttachEvent::Ended(end) => break end.unwrap(),
            AttachEvent::Lost(_) => panic!("there is not that much"),
        }
    };
    assert_eq!(end.exit_code, 3);
    assert!(shown.contains("40 90"), "{shown}");
}

#[tokio::test]
async fn what_cannot_be_opened_is_refused() {
    let agent = Agent::start().await;
    let good = ShellOpen {
        id: ID.into(),
        cwd: None,
        user: None,
        size: SIZE,
        for_person: false,
        env: Vec::new(),
        secret_env: Vec::new(),
    };
    fs::write(agent.folder.path().join("file"), "").unwrap();
    let bytes = |text: &str| Some(text.as_bytes().to_vec().into());
    let size = Size { cols: 0, rows: 1 };
    for (bad, code) in [
        (
            ShellOpen {
                cwd: bytes("none"),
                ..good.clone()
            },
            FaultCode::NotFound,
        ),
        (
            ShellOpen {
                cwd: bytes("file"),
                ..good.clone()
            },
            FaultCode::NotFound,
        ),
        (
            ShellOpen {
                size,
                ..good.clone()
            },
            FaultCode::Refused,
        ),
        (
            ShellOpen {
                secret_env: vec![("TOKEN".into(), "T".into())],
                ..good.clone()
            },
            FaultCode::Refused,
        ),
        (
            ShellOpen {
                id: "../../etc".into(),
                ..good.clone()
            },
            FaultCode::Refused,
        ),
    ] {
        assert_eq!(refused(ask(&agent, ShellRequest::Open(bad)).await), code);
    }
    open(&agent, ID).await;
    let again = ShellRequest::Open(good);
    assert_eq!(refused(ask(&agent, again).await), FaultCode::Refused);
    await_text(&agent, ID, "pyro$ ").await;
}

/// What `wc -c` has counted in a shell.
async fn counted(agent: &Agent, file: &str, wanted: usize) {
    type_line(agent, ID, &format!("echo is $(wc -c < {file}).")).await;
    await_text(agent, ID, &format!("is {wanted}.")).await;
}

#[tokio::test]
async fn a_line_that_the_terminal_would_cut_is_refused() {
    let agent = Agent::start().await;
    open(&agent, ID).await;
    await_text(&agent, ID, "pyro$ ").await;

    // Up to its limit a line comes through whole, and one may follow another.
    type_line(&agent, ID, "cat > kept; echo en''ded").await;
    let longest = "a".repeat(4095);
    for _ in 0..3 {
        shell(type_line(&agent, ID, &longest).await);
    }
    // One that is too long is refused before anything of it is typed, in parts as well.
    assert_eq!(
        refused(type_line(&agent, ID, &"b".repeat(4096)).await),
        FaultCode::LineTooLong
    );
    let typed = |input: String| {
        ask(
            &agent,
            ShellRequest::Write {
                id: ID.into(),
                input: input.into_bytes().into(),
            },
        )
    };
    shell(typed("c".repeat(3000)).await);
    assert_eq!(
        refused(typed("c".repeat(1096)).await),
        FaultCode::LineTooLong
    );
    shell(typed("\n\x04".into()).await);
    await_text(&agent, ID, "\nended").await;
    counted(&agent, "kept", 3 * 4096 + 3001).await;

    // The shell itself edits lines of any length.
    let word = "d".repeat(20_000);
    shell(type_line(&agent, ID, &format!("echo {word} > long")).await);
    counted(&agent, "long", 20_001).await;
    // Also where a program comes first that reads whole lines.
    let refusal = refused(typed(format!("cat > cut\n{word}\n")).await);
    assert_eq!(refusal, FaultCode::LineTooLong);
}

#[tokio::test]
async fn an_exclamation_mark_is_a_letter_unless_a_person_sits_there() {
    let agent = Agent::start().await;
    open(&agent, ID).await;
    type_line(&agent, ID, "echo \"a!b\" $((1 + 1))").await;
    let text = await_text(&agent, ID, "a!b 2").await;
    assert!(!text.contains("event not found"), "{text}");

    let other = "ba9876543210";
    let request = ShellOpen {
        id: other.into(),
        cwd: None,
        user: None,
        size: SIZE,
        for_person: true,
        env: Vec::new(),
        secret_env: Vec::new(),
    };
    shell(ask(&agent, ShellRequest::Open(request)).await);
    type_line(&agent, other, "echo \"a!b\" $((1 + 1))").await;
    await_text(&agent, other, "event not found").await;
}
