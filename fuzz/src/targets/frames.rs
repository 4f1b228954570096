//! What a guest's agent answers: frames, and every message that the host reads from them.

use pyro_wire::Bytes;
use pyro_wire::agent::{AgentReply, Ready};
use pyro_wire::exec::{ExecEnd, ExecEvent};
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::files::{
    ChangeReply, DiffEntry, DiffEvent, Entry, EntryKind, ExportEvent, ListEvent, Meta, ReadEvent,
    Stamp,
};
use pyro_wire::frame::{self, Frame, Kind};
use pyro_wire::service::{ConnectReply, ServiceEnd, ServicePhase, ServiceReply, ServiceState};
use pyro_wire::shells::{AttachEvent, Shell, ShellEnd, ShellOutput, ShellReply, Size};
use pyro_wire::step::Lap;
use serde::Serialize;

use crate::seeds::{Seed, SeedError};
use crate::{Target, settle};

pub(crate) const TARGET: Target = Target {
    name: "frames",
    play,
    seeds,
    mend: |_| {},
    inputs: 30_000,
};

fn play(bytes: &[u8]) -> bool {
    let all_understood = settle::settle(async {
        let mut from = bytes;
        let mut understood = true;
        loop {
            match frame::read(&mut from).await {
                Ok(Some(frame)) => understood &= is_understood(&frame),
                Ok(None) => return understood,
                Err(_) => return false,
            }
        }
    });
    all_understood == Some(true)
}

fn is_understood(frame: &Frame) -> bool {
    let as_some_message = [
        frame.message::<AgentReply>().is_ok(),
        frame.message::<ExecEvent>().is_ok(),
        frame.message::<ListEvent>().is_ok(),
        frame.message::<ReadEvent>().is_ok(),
        frame.message::<ChangeReply>().is_ok(),
        frame.message::<ExportEvent>().is_ok(),
        frame.message::<DiffEvent>().is_ok(),
        frame.message::<ServiceReply>().is_ok(),
        frame.message::<ConnectReply>().is_ok(),
        frame.message::<ShellReply>().is_ok(),
        frame.message::<AttachEvent>().is_ok(),
    ];
    frame.kind != Kind::Message || as_some_message.contains(&true)
}

/// Some of each request's answers.
fn seeds() -> Result<Vec<Seed>, SeedError> {
    let fault = Fault::new(FaultCode::NotFound, "nothing is there").with_detail(["why".into()]);
    Ok(vec![
        Seed::new("agent", agent(&fault)),
        Seed::new("exec", exec(&fault)),
        Seed::new("files", files(&fault)),
        Seed::new("diff", diff()),
        Seed::new("services", services(&fault)),
        Seed::new("shells", shells(&fault)),
    ])
}

fn agent(fault: &Fault) -> Vec<u8> {
    let ready = Ready {
        agent_version: "4.0.0".into(),
        kernel_release: "6.1.0-13-amd64".into(),
        uptime_ms: 2_100,
        unix_time_ns: Some(1_700_000_000_000_000_000),
        laps: laps(),
    };
    [
        message(&AgentReply::Ready(ready)),
        message(&AgentReply::Done),
        message(&AgentReply::Used { ms_ago: Some(12) }),
        message(&AgentReply::Failed(fault.clone())),
    ]
    .concat()
}

fn exec(fault: &Fault) -> Vec<u8> {
    let end = ExecEnd {
        exit_code: 137,
        signal: Some(9),
        timed_out: false,
        oom_killed: true,
        duration_ms: 40,
        laps: laps(),
    };
    [
        message(&ExecEvent::Started { pid: 77 }),
        data(Kind::Output, b"hello\n"),
        data(Kind::ErrorOutput, b"oh\n"),
        message(&ExecEvent::Ended(end)),
        message(&ExecEvent::Failed(fault.clone())),
    ]
    .concat()
}

fn files(fault: &Fault) -> Vec<u8> {
    let entries = [("a", EntryKind::File), ("b", EntryKind::Symlink)].map(|(name, kind)| Entry {
        path: path(name),
        meta: meta(kind),
        stamp: STAMP,
        unreadable: false,
    });
    let found = ReadEvent::Found {
        meta: meta(EntryKind::File),
        stamp: STAMP,
    };
    let changed = ChangeReply::Done {
        entries: 3,
        bytes: 5_000,
        removed: 1,
    };
    let exported = ExportEvent::End {
        skipped: vec![path("socket")],
        too_deep: vec![path("d/e/e/p")],
    };
    [
        message(&ListEvent::Entries(entries.into())),
        message(&ListEvent::End),
        message(&found),
        data(Kind::Output, b"content"),
        message(&ReadEvent::End),
        message(&changed),
        message(&exported),
        message(&ExportEvent::Failed(fault.clone())),
    ]
    .concat()
}

fn diff() -> Vec<u8> {
    let entry = DiffEntry {
        path: path("src/main.rs"),
        before: Some(meta(EntryKind::File)),
        after: Some(meta(EntryKind::Symlink)),
        content: true,
        repository: Some(path("src")),
    };
    let end = DiffEvent::End {
        skipped: Vec::new(),
    };
    [
        message(&DiffEvent::Entry(entry)),
        data(Kind::Output, b"content"),
        message(&DiffEvent::ContentEnd),
        message(&end),
    ]
    .concat()
}

fn services(fault: &Fault) -> Vec<u8> {
    let state = ServiceState {
        instance: 4,
        name: "web".into(),
        phase: ServicePhase::Failed,
        pid: 200,
        ready: false,
        not_ready: Some("nobody listens".into()),
        exit_code: Some(1),
        reason: Some(ServiceEnd::ReadinessTimeout),
        oom_killed: false,
        ended_ms_ago: Some(5),
    };
    [
        message(&ConnectReply::Trying),
        message(&ConnectReply::Connected),
        message(&ServiceReply::State(state.clone())),
        message(&ServiceReply::States(vec![state.clone(), state])),
        data(Kind::Output, b"a line\n"),
        message(&ServiceReply::LogLost(100)),
        message(&ServiceReply::LogEnd { truncated: true }),
        message(&ServiceReply::Failed(fault.clone())),
    ]
    .concat()
}

fn shells(fault: &Fault) -> Vec<u8> {
    let end = ShellEnd {
        exit_code: 0,
        signal: None,
        at_ms: 1_700_000_000_000,
    };
    let shell = Shell {
        id: "sh_1".into(),
        cwd: path("/workspace"),
        size: Size { cols: 80, rows: 24 },
        started_ms: 1_700_000_000_000,
        oom_killed: false,
        end: Some(end),
    };
    let output = ShellOutput {
        shell: shell.clone(),
        cursor: 300,
        before: "$ ".into(),
        text: "ls\r\n".into(),
        more: true,
    };
    [
        message(&ShellReply::Shell(shell)),
        message(&ShellReply::Output(output)),
        message(&AttachEvent::Lost(9)),
        message(&AttachEvent::Ended(Some(end))),
        message(&ShellReply::Failed(fault.clone())),
    ]
    .concat()
}

const STAMP: Stamp = Stamp {
    inode: 12,
    size: 7,
    mtime_ns: 1_700_000_000_000_000_000,
    ctime_ns: -1,
};

fn meta(kind: EntryKind) -> Meta {
    Meta {
        kind,
        size: 7,
        mode: 0o644,
        target: (kind == EntryKind::Symlink).then(|| path("content")),
        empty: false,
    }
}

fn path(path: &str) -> Bytes {
    Bytes::from(path)
}

fn laps() -> Vec<Lap> {
    let name = "mounted".to_owned();
    vec![Lap {
        name,
        after_us: 300,
    }]
}

/// A frame with a message.
pub(crate) fn message(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = settle::settle(frame::write_message(&mut bytes, message));
    written
        .expect("memory takes all at once")
        .expect("a message");
    bytes
}

/// A frame with data.
pub(crate) fn data(kind: Kind, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = settle::settle(frame::write_data(&mut bytes, kind, data));
    written.expect("memory takes all at once").expect("data");
    bytes
}
