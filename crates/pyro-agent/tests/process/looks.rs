//! Listing and reading.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use nix::sys::stat::Mode;
use pyro_wire::fault::FaultCode;
use pyro_wire::files::{Entry, EntryKind};

use crate::agent::Agent;

async fn furnished() -> Agent {
    let agent = Agent::start().await;
    let at = |path: &str| agent.folder.path().join(path);
    fs::create_dir_all(at("dir/sub/empty")).unwrap();
    fs::write(at("dir/sub/file"), "0123456789").unwrap();
    fs::write(at("dir-file"), "").unwrap();
    symlink("sub/file", at("dir/inside")).unwrap();
    symlink("../../../../etc/passwd", at("dir/outside")).unwrap();
    symlink("/etc", at("absolute")).unwrap();
    symlink("loop", at("loop")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    UnixListener::bind(at("socket")).unwrap();
    agent
}

fn lines(entries: &[Entry]) -> Vec<String> {
    let line = |entry: &Entry| {
        let path = String::from_utf8_lossy(&entry.path);
        let meta = &entry.meta;
        let target = meta
            .target
            .as_ref()
            .map(|target| String::from_utf8_lossy(target));
        let target = target
            .map(|target| format!(" -> {target}"))
            .unwrap_or_default();
        let empty = if meta.empty { " empty" } else { "" };
        format!("{path} {:?} {}{target}{empty}", meta.kind, meta.size)
    };
    entries.iter().map(line).collect()
}

#[tokio::test]
async fn folders_are_listed_one_level_or_all() {
    let agent = furnished().await;
    assert_eq!(
        lines(&agent.list("", false).await.unwrap()),
        [
            "absolute Symlink 4 -> /etc",
            "dir Directory 0",
            "dir-file File 0",
            "fifo Special 0",
            "loop Symlink 4 -> loop",
            "socket Special 0",
        ]
    );
    assert_eq!(
        lines(&agent.list("./dir/", true).await.unwrap()),
        [
            "dir/inside Symlink 8 -> sub/file",
            "dir/outside Symlink 22 -> ../../../../etc/passwd",
            "dir/sub Directory 0",
            "dir/sub/empty Directory 0 empty",
            "dir/sub/file File 10",
        ]
    );
    let all = lines(&agent.list("", true).await.unwrap());
    assert_eq!(all.len(), 11);
    assert!(all.iter().any(|line| line == "dir/sub Directory 0"));
}

#[tokio::test]
async fn a_file_or_a_link_is_listed_as_itself() {
    let agent = furnished().await;
    for (path, line) in [
        ("dir/sub/file", "dir/sub/file File 10"),
        ("absolute", "absolute Symlink 4 -> /etc"),
        ("fifo", "fifo Special 0"),
    ] {
        assert_eq!(lines(&agent.list(path, true).await.unwrap()), [line]);
    }
}

#[tokio::test]
async fn no_path_leads_out() {
    let agent = furnished().await;
    for path in [
        "../",
        "/etc",
        "a/../..",
        "absolute/passwd",
        "dir/outside/x",
        "loop/x",
    ] {
        let listed = agent.list(path, false).await.unwrap_err();
        assert_eq!(listed.code, FaultCode::BadPath, "{listed}");
        let read = agent.read(path, 0, 1).await.unwrap_err();
        assert_eq!(read.code, FaultCode::BadPath, "{read}");
        let exported = agent.export(path).await.unwrap_err();
        assert_eq!(exported.code, FaultCode::BadPath, "{exported}");
    }
    for path in ["dir/outside", "absolute/passwd", "loop"] {
        let read = agent.read(path, 0, 1).await.unwrap_err();
        assert_eq!(read.code, FaultCode::BadPath, "{read}");
    }
    for path in ["missing", "dir/missing/x"] {
        let listed = agent.list(path, false).await.unwrap_err();
        assert_eq!(listed.code, FaultCode::NotFound, "{listed}");
    }
    let below_a_file = agent.list("dir-file/x", false).await.unwrap_err();
    assert_eq!(below_a_file.code, FaultCode::BadPath);
}

#[tokio::test]
async fn a_part_of_a_file_is_read() {
    let agent = furnished().await;
    for (path, offset, length, expected) in [
        ("dir/sub/file", 0, u64::MAX, "0123456789"),
        ("dir/sub/file", 3, 4, "3456"),
        ("dir/sub/file", 8, 100, "89"),
        ("dir/sub/file", 0, 0, ""),
        ("dir/sub/file", 10, 1, ""),
        ("dir/sub/file", u64::MAX, 1, ""),
        ("dir/inside", 1, 1, "1"),
    ] {
        let (meta, content) = agent.read(path, offset, length).await.unwrap();
        assert_eq!((meta.kind, meta.size), (EntryKind::File, 10));
        assert_eq!(content, expected.as_bytes());
    }
    let large: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(agent.folder.path().join("large"), &large).unwrap();
    let (_, content) = agent.read("large", 12_345, 3_000_000).await.unwrap();
    assert_eq!(content, &large[12_345..3_012_345]);
}

#[tokio::test]
async fn what_is_no_file_is_not_read_and_nothing_waits_for_it() {
    let agent = furnished().await;
    for (path, word) in [
        ("fifo", "FIFO"),
        ("socket", "socket"),
        ("dir", "folder"),
        ("", "folder"),
    ] {
        let fault = agent.read(path, 0, 1).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::Refused);
        assert!(fault.message.contains(word), "{fault}");
    }
}

#[tokio::test]
async fn a_long_list_comes_in_order() {
    let agent = Agent::start().await;
    for number in 0..3000 {
        let name = format!("{number:05}-{}", "x".repeat(200));
        fs::write(agent.folder.path().join(name), "").unwrap();
    }
    let entries = agent.list("", false).await.unwrap();
    assert_eq!(entries.len(), 3000);
    assert!(entries.is_sorted_by_key(|entry| entry.path.clone()));
}

#[tokio::test]
async fn a_workspace_that_is_gone_is_said_so() {
    let agent = Agent::start().await;
    fs::remove_dir(agent.folder.path()).unwrap();
    let fault = agent.list("", false).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::NotFound);
    symlink("/etc", agent.folder.path()).unwrap();
    let fault = agent.list("", false).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::BadPath);
    fs::remove_file(agent.folder.path()).unwrap();
}
