//! What is different from the baseline.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use nix::sys::stat::Mode;
use pyro_wire::fault::FaultCode;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::files::{Tar, baseline, bytes};

const LIMIT: u64 = 1000;

async fn furnished() -> Agent {
    let agent = Agent::start().await;
    // Some of the baseline was there before the archive came.
    fs::write(agent.folder.path().join("before"), "earlier").unwrap();
    let archive = Tar::new()
        .file("a/file", "one")
        .file("a-b", "two")
        .file_with("script", 0o755, "run")
        .symlink("link", "a/file")
        .folder("empty", 0o755)
        .folder("full", 0o755)
        .file("full/inside", "three")
        .file("large", vec![b'x'; 5000])
        .end();
    agent.change(baseline(), &archive).await.unwrap();
    agent
}

async fn lines(agent: &Agent) -> Vec<String> {
    agent.diff(LIMIT).await.unwrap().lines()
}

#[tokio::test]
async fn nothing_is_different_at_first() {
    let agent = furnished().await;
    assert!(lines(&agent).await.is_empty());
    assert!(lines(&agent).await.is_empty());
}

#[tokio::test]
async fn every_kind_of_difference_is_told() {
    let agent = furnished().await;
    let at = |path: &str| agent.folder.path().join(path);
    fs::write(at("a/file"), "ONE").unwrap();
    fs::write(at("a/new"), "new").unwrap();
    fs::remove_file(at("a-b")).unwrap();
    fs::set_permissions(at("script"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(at("link")).unwrap();
    symlink("a-b", at("link")).unwrap();
    fs::remove_dir(at("empty")).unwrap();
    fs::remove_dir_all(at("full")).unwrap();
    fs::write(at("full"), "a file now").unwrap();
    fs::write(at("large"), vec![b'y'; 5000]).unwrap();
    fs::remove_file(at("before")).unwrap();
    fs::create_dir(at("before")).unwrap();
    fs::create_dir_all(at("fresh/empty")).unwrap();
    fs::set_permissions(at("a"), fs::Permissions::from_mode(0o700)).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    let differences = agent.diff(LIMIT).await.unwrap();
    assert_eq!(
        differences.lines(),
        [
            "a: Directory 755 -> Directory 700",
            "a-b: File 644 3 -> none",
            "a/file: File 644 3 -> File 644 3 \"ONE\"",
            "a/new: none -> File 644 3 \"new\"",
            "before: File 644 7 -> Directory 755",
            "empty: Directory 755 -> none",
            "fresh/empty: none -> Directory 755",
            "full: none -> File 644 10 \"a file now\"",
            "full/inside: File 644 5 -> none",
            "large: File 644 5000 -> File 644 5000",
            "link: Symlink a/file -> Symlink a-b",
            "script: File 755 3 -> File 644 3",
        ]
    );
    assert_eq!(differences.skipped, [bytes("fifo")]);
    assert!(
        differences
            .entries
            .is_sorted_by_key(|(entry, _)| entry.path.clone())
    );
}

#[tokio::test]
async fn kinds_that_take_each_others_place() {
    let agent = furnished().await;
    let at = |path: &str| agent.folder.path().join(path);
    fs::remove_file(at("link")).unwrap();
    fs::write(at("link"), "file").unwrap();
    fs::remove_file(at("a-b")).unwrap();
    symlink("x", at("a-b")).unwrap();
    fs::remove_dir(at("empty")).unwrap();
    symlink("y", at("empty")).unwrap();
    fs::remove_file(at("script")).unwrap();
    nix::unistd::mkfifo(&at("script"), Mode::S_IRWXU).unwrap();
    fs::remove_file(at("before")).unwrap();
    fs::create_dir(at("before")).unwrap();
    fs::write(at("before/below"), "").unwrap();
    assert_eq!(
        lines(&agent).await,
        [
            "a-b: File 644 3 -> Symlink x",
            "before: File 644 7 -> none",
            "before/below: none -> File 644 \"\"",
            "empty: Directory 755 -> Symlink y",
            "link: Symlink a/file -> File 644 4 \"file\"",
            "script: File 755 3 -> none",
        ]
    );
}

#[tokio::test]
async fn a_folder_that_fills_or_empties_is_no_difference_itself() {
    let agent = furnished().await;
    fs::write(agent.folder.path().join("empty/now"), "").unwrap();
    fs::remove_file(agent.folder.path().join("full/inside")).unwrap();
    assert_eq!(
        lines(&agent).await,
        [
            "empty/now: none -> File 644 \"\"",
            "full/inside: File 644 5 -> none",
        ]
    );
}

#[tokio::test]
async fn a_file_that_was_only_touched_is_no_difference_and_is_read_once() {
    let agent = furnished().await;
    let index = agent.folder.state().join("index");
    let large = agent.folder.path().join("large");
    // The index does not trust times from the moment in which it was made.
    sleep(Duration::from_millis(50)).await;
    assert!(lines(&agent).await.is_empty());
    let known = fs::read(&index).unwrap();
    fs::write(&large, vec![b'x'; 5000]).unwrap();
    sleep(Duration::from_millis(50)).await;
    assert!(lines(&agent).await.is_empty());
    let learned = fs::read(&index).unwrap();
    assert_ne!(known, learned);
    assert!(lines(&agent).await.is_empty());
    assert_eq!(fs::read(&index).unwrap(), learned);
    // The baseline is still the old one.
    fs::write(&large, "other").unwrap();
    assert_eq!(
        lines(&agent).await,
        ["large: File 644 5000 -> File 644 5 \"other\""]
    );
}

#[tokio::test]
async fn a_change_of_the_very_same_moment_is_not_missed() {
    for _ in 0..20 {
        let agent = Agent::start().await;
        let archive = Tar::new().file("file", "one").end();
        agent.change(baseline(), &archive).await.unwrap();
        let path = agent.folder.path().join("file");
        let time = path.metadata().unwrap().modified().unwrap();
        // The same size and the same time of writing: only the time of the change tells.
        fs::write(&path, "two").unwrap();
        fs::File::open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(
            lines(&agent).await,
            ["file: File 644 3 -> File 644 3 \"two\""]
        );
    }
}

#[tokio::test]
async fn odd_names_are_compared_too() {
    let agent = furnished().await;
    for name in [&b"new\nline"[..], b"\xff\xfe", &[b'n'; 255]] {
        let path = agent.folder.path().join(std::ffi::OsStr::from_bytes(name));
        fs::write(path, "").unwrap();
        let differences = agent.diff(LIMIT).await.unwrap();
        assert!(
            differences
                .entries
                .iter()
                .any(|(entry, _)| entry.path == name)
        );
    }
}

#[tokio::test]
async fn a_new_baseline_takes_the_place_of_the_old() {
    let agent = furnished().await;
    fs::remove_file(agent.folder.path().join("a-b")).unwrap();
    assert_eq!(lines(&agent).await.len(), 1);
    agent.change(baseline(), &[]).await.unwrap();
    assert!(lines(&agent).await.is_empty());
}

#[tokio::test]
async fn without_a_sound_baseline_there_is_an_error_that_says_so() {
    let agent = Agent::start().await;
    let fault = agent.diff(0).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Refused);
    assert!(fault.message.contains("no baseline"), "{fault}");

    agent
        .change(baseline(), &Tar::new().file("a", "1").end())
        .await
        .unwrap();
    let index = agent.folder.state().join("index");
    let mut bytes = fs::read(&index).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&index, bytes).unwrap();
    let fault = agent.diff(0).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::GuestIo);
    assert!(fault.message.contains("damaged"), "{fault}");
}

#[tokio::test]
async fn a_baseline_outlives_the_agent() {
    let agent = furnished().await;
    fs::write(agent.folder.path().join("a-b"), "changed").unwrap();
    let agent = Agent::start_in(agent.kill()).await;
    assert_eq!(
        lines(&agent).await,
        ["a-b: File 644 3 -> File 644 7 \"changed\""]
    );
}

#[tokio::test]
async fn fifty_thousand_files_and_twenty_differences() {
    let agent = Agent::start().await;
    let name = |number: u32| format!("folder-{}/sub/{number}.txt", number % 500);
    let archive = (0..50_000).fold(Tar::new(), |tar, number| {
        tar.file(&name(number), number.to_string())
    });
    let (entries, ..) = agent.change(baseline(), &archive.end()).await.unwrap();
    assert_eq!(entries, 50_000);
    for number in 0..20 {
        fs::write(agent.folder.path().join(name(number * 2500)), "new").unwrap();
    }
    assert_eq!(lines(&agent).await.len(), 20);
    assert_eq!(lines(&agent).await.len(), 20);
}
