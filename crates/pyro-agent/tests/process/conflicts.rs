//! Changes that are refused: nothing of the workspace may be another than before.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::sys::stat::Mode;
use pyro_wire::agent::{AgentReply, AgentRequest};
use pyro_wire::exec::ExecControl;
use pyro_wire::fault::FaultCode;
use pyro_wire::files::{Change, ChangeReply, Expected};
use pyro_wire::frame::{self, Kind};
use tokio::time::sleep;

use crate::agent::{Agent, LIMIT};
use crate::files::{Tar, bytes, change, drain, tree};

async fn furnished() -> Agent {
    let agent = Agent::start().await;
    let archive = Tar::new()
        .file("dir/file", "old")
        .symlink("link", "dir")
        .symlink("out", "/etc")
        .end();
    agent.change(change(), &archive).await.unwrap();
    nix::unistd::mkfifo(&agent.folder.path().join("fifo"), Mode::S_IRWXU).unwrap();
    agent.settle().await;
    agent
}

/// Tries a change that must fail, and sees that it has changed nothing.
async fn refused(agent: &Agent, request: Change, archive: &[u8]) -> (FaultCode, String) {
    let home = agent.folder.path();
    let times = || {
        let time = |path: &str| {
            let about = home.join(path).metadata().unwrap();
            (about.mtime(), about.mtime_nsec())
        };
        (time(""), time("dir"), time("dir/file"))
    };
    let (before, times_before) = (tree(&home), times());
    let fault = agent.change(request, archive).await.unwrap_err();
    assert_eq!(tree(&home), before, "{fault}");
    assert_eq!(times(), times_before, "{fault}");
    assert!(!agent.folder.state().join("change").exists(), "{fault}");
    (fault.code, fault.message)
}

#[tokio::test]
async fn what_is_in_the_way_is_named() {
    let agent = furnished().await;
    let harmless = Tar::new().file("0", "first").file("dir/file", "new");
    let archives = [
        (
            harmless.file("dir", "over a folder").end(),
            FaultCode::Conflict,
            "dir",
        ),
        (
            Tar::new().file("link", "over a link").end(),
            FaultCode::Conflict,
            "link",
        ),
        (
            Tar::new().file("fifo", "over a FIFO").end(),
            FaultCode::Conflict,
            "fifo",
        ),
        (
            Tar::new().symlink("dir", "x").end(),
            FaultCode::Conflict,
            "dir",
        ),
        (
            Tar::new().symlink("dir/file", "x").end(),
            FaultCode::Conflict,
            "dir/file",
        ),
        (
            Tar::new().file("dir/file/below", "").end(),
            FaultCode::Conflict,
            "dir/file",
        ),
        (
            Tar::new().folder("fifo", 0o755).end(),
            FaultCode::Conflict,
            "fifo",
        ),
        (
            Tar::new().file("link/below", "").end(),
            FaultCode::BadPath,
            "link",
        ),
        (
            Tar::new().file("out/passwd", "").end(),
            FaultCode::BadPath,
            "out",
        ),
        (
            Tar::new().folder("out", 0o755).end(),
            FaultCode::BadPath,
            "out",
        ),
    ];
    for (archive, code, path) in archives {
        let (found, message) = refused(&agent, change(), &archive).await;
        assert_eq!(found, code, "{message}");
        assert!(
            message.contains(&format!("/workspace/{path} ")),
            "{message}"
        );
    }
}

#[tokio::test]
async fn hostile_archives_are_refused_by_name() {
    use tar::EntryType::{Block, Char, Directory, Fifo, GNUSparse, Link, Regular, Symlink};

    let agent = furnished().await;
    let one = |name: &str, kind, link: &str| Tar::new().raw(name.as_bytes(), kind, link.as_bytes());
    let archives = [
        (one("../up", Regular, ""), FaultCode::BadPath, "../up"),
        (
            one("dir/../../up", Regular, ""),
            FaultCode::BadPath,
            "dir/../../up",
        ),
        (
            one("/etc/passwd", Regular, ""),
            FaultCode::BadPath,
            "/etc/passwd",
        ),
        (one("..", Directory, ""), FaultCode::BadPath, ".."),
        (one(".", Regular, ""), FaultCode::BadPath, "/workspace"),
        (one("", Symlink, "x"), FaultCode::BadPath, "/workspace"),
        (one("null", Char, ""), FaultCode::Refused, "null"),
        (one("sda", Block, ""), FaultCode::Refused, "sda"),
        (one("pipe", Fifo, ""), FaultCode::Refused, "pipe"),
        (one("holes", GNUSparse, ""), FaultCode::Refused, "holes"),
        (
            one("odd", tar::EntryType::new(b'Z'), ""),
            FaultCode::Refused,
            "odd",
        ),
        (
            one("hard", Link, "/etc/passwd"),
            FaultCode::BadPath,
            "/etc/passwd",
        ),
        (one("hard", Link, "../x"), FaultCode::BadPath, "../x"),
        (
            one("hard", Link, "dir/file"),
            FaultCode::BadPath,
            "dir/file",
        ),
        (one("hard", Link, "hard"), FaultCode::BadPath, "hard"),
        // Through a link that the archive itself brings.
        (
            one("trap", Symlink, "/tmp").raw(b"trap/file", Regular, b""),
            FaultCode::BadPath,
            "trap",
        ),
        (
            one("trap", Symlink, "/etc").raw(b"hard", Link, b"trap/passwd"),
            FaultCode::BadPath,
            "trap/passwd",
        ),
        (
            one("twice", Directory, "").raw(b"twice", Regular, b""),
            FaultCode::Conflict,
            "twice",
        ),
        (
            one("twice", Regular, "").raw(b"twice", Directory, b""),
            FaultCode::Conflict,
            "twice",
        ),
        (
            Tar::new().pax("path", b"../pax").raw(b"x", Regular, b""),
            FaultCode::BadPath,
            "../pax",
        ),
        (
            Tar::new().pax("path", &[b'n'; 300]).raw(b"x", Regular, b""),
            FaultCode::BadPath,
            "nnn",
        ),
        (
            Tar::new()
                .pax("path", &b"d/".repeat(300))
                .raw(b"x", Regular, b""),
            FaultCode::BadPath,
            "d/d/d",
        ),
    ];
    for (archive, code, path) in archives {
        let archive = archive.file("after", "").end();
        let (found, message) = refused(&agent, change(), &archive).await;
        assert_eq!(found, code, "{message}");
        assert!(message.contains(path), "{message}");
    }
}

#[tokio::test]
async fn damaged_archives_change_nothing() {
    let agent = furnished().await;
    let sound = Tar::new()
        .file("dir/file", vec![b'x'; 5000])
        .file("other", "text")
        .end();
    for length in [1, 511, 512, 513, 3000, 5632, 6143, 6656] {
        let (code, message) = refused(&agent, change(), &sound[..length]).await;
        assert_eq!(code, FaultCode::Protocol, "{length}: {message}");
    }
    let mut wrong_sum = sound.clone();
    wrong_sum[5632 + 1] ^= 1;
    let mut huge = sound.clone();
    huge[124..136].copy_from_slice(b"77777777777\0");
    let mut negative = sound;
    negative[124..136].copy_from_slice(b"-0000000001\0");
    for archive in [wrong_sum, huge, negative] {
        let (code, message) = refused(&agent, change(), &archive).await;
        assert_eq!(code, FaultCode::Protocol, "{message}");
    }
}

#[tokio::test]
async fn unexpected_things_are_conflicts() {
    let agent = furnished().await;
    let stamp = agent.stamp("dir/file").await;
    sleep(Duration::from_millis(20)).await;
    fs::write(agent.folder.path().join("dir/file"), "new").unwrap();
    let expectations = [
        ("dir/file", Some(stamp)),
        ("dir/file", None),
        ("missing", Some(stamp)),
        ("dir/file/below", None),
    ];
    for (path, stamp) in expectations {
        let request = Change {
            expect: vec![Expected {
                path: bytes(path),
                stamp,
            }],
            ..Change::default()
        };
        let archive = Tar::new().file("dir/file", "mine").file("0", "").end();
        let (code, message) = refused(&agent, request, &archive).await;
        let expected = match path {
            "dir/file/below" => FaultCode::BadPath,
            _ => FaultCode::Conflict,
        };
        assert_eq!(code, expected, "{message}");
    }
}

#[tokio::test]
async fn a_removal_that_cannot_be_done_undoes_all_others() {
    let agent = furnished().await;
    for (path, code) in [
        ("missing", FaultCode::NotFound),
        ("missing/too", FaultCode::NotFound),
        ("dir", FaultCode::Conflict),
        ("", FaultCode::BadPath),
        ("link/file", FaultCode::BadPath),
        ("../x", FaultCode::BadPath),
    ] {
        let request = Change {
            remove: vec![bytes("link"), bytes("fifo"), bytes(path), bytes("out")],
            ..Change::default()
        };
        let archive = Tar::new().file("0", "").file("dir/other", "").end();
        let (found, message) = refused(&agent, request, &archive).await;
        assert_eq!(found, code, "{message}");
    }
}

#[tokio::test]
async fn a_stream_that_ends_early_changes_nothing() {
    let agent = furnished().await;
    let before = tree(&agent.folder.path());
    let archive = Tar::new().file("dir/file", vec![b'x'; 300_000]).end();
    // Once in the middle, once after all of it but without saying that this was all.
    for length in [200_000, archive.len()] {
        let mut stream = agent.open(&AgentRequest::Change(change())).await;
        frame::write_data(&mut stream, Kind::Input, &archive[..length])
            .await
            .unwrap();
        drop(stream);
    }
    // The next one waits until these have cleaned up.
    agent.change(change(), &[]).await.unwrap();
    assert_eq!(tree(&agent.folder.path()), before);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_an_archive() {
    let agent = furnished().await;
    let before = tree(&agent.folder.path());
    let mut stream = agent.open(&AgentRequest::Change(change())).await;
    let archive = Tar::new().file("dir/file", vec![b'x'; 300_000]).end();
    frame::write_data(&mut stream, Kind::Input, &archive[..200_000])
        .await
        .unwrap();
    assert_eq!(agent.ask(&AgentRequest::ShutDown).await, AgentReply::Done);
    let reply = tokio::time::timeout(LIMIT, frame::read_message(&mut stream)).await;
    assert!(matches!(reply.unwrap().unwrap(), ChangeReply::Failed(_)));
    assert_eq!(tree(&agent.folder.path()), before);
    // And none begins afterwards.
    let mut stream = agent.open(&AgentRequest::Change(change())).await;
    frame::write_message(&mut stream, &ExecControl::InputEnd)
        .await
        .unwrap();
    let reply: ChangeReply = frame::read_message(&mut stream).await.unwrap();
    assert!(matches!(reply, ChangeReply::Failed(fault) if fault.code == FaultCode::Over));
    drain(&mut stream).await;
}
