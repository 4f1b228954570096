//! Changes that succeed: what arrives, and how.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use pyro_wire::agent::{AgentReply, AgentRequest, Freeze};
use pyro_wire::files::{Change, Expected};

use crate::agent::Agent;
use crate::files::{Tar, bytes, change, tree};

#[tokio::test]
async fn an_archive_is_unpacked_with_all_that_belongs_to_it() {
    let agent = Agent::start().await;
    let at = |path: &str| agent.folder.path().join(path);
    let archive = Tar::new()
        .folder("locked", 0o555)
        .file_with("locked/run", 0o4755, "#!/bin/sh\n")
        .symlink("locked/link", "../nowhere/else")
        .folder("empty", 0o700)
        .file("deep/er/and/deeper/file", "x")
        .hard_link("again", "locked/run")
        .pax("mtime", b"1234567890.123456789")
        .file("timed", "")
        .pax("mtime", b"-1.5")
        .file("old", "")
        .end();
    let done = agent.change(change(), &archive).await.unwrap();
    assert_eq!(done, (8, 11, 0));
    assert_eq!(
        tree(&agent.folder.path()),
        [
            "again 4755 \"#!/bin/sh\\n\"",
            "deep/ 755",
            "deep/er/ 755",
            "deep/er/and/ 755",
            "deep/er/and/deeper/ 755",
            "deep/er/and/deeper/file 644 \"x\"",
            "empty/ 700",
            "locked/ 555",
            "locked/link -> ../nowhere/else",
            "locked/run 4755 \"#!/bin/sh\\n\"",
            "old 644 \"\"",
            "timed 644 \"\"",
        ]
    );
    let about = at("timed").metadata().unwrap();
    assert_eq!(
        (about.mtime(), about.mtime_nsec()),
        (1_234_567_890, 123_456_789)
    );
    let about = at("old").metadata().unwrap();
    assert_eq!((about.mtime(), about.mtime_nsec()), (-2, 500_000_000));
    for path in ["locked", "empty", "locked/run", "locked/link"] {
        assert_eq!(
            at(path).symlink_metadata().unwrap().mtime(),
            1_000_000_000,
            "{path}"
        );
    }
    let inode = |path| at(path).metadata().unwrap().ino();
    assert_eq!(inode("again"), inode("locked/run"));
    // Whatever the archive says, what arrives belongs to whoever the agent is.
    let mine = agent.folder.path().metadata().unwrap().uid();
    assert_eq!(at("timed").metadata().unwrap().uid(), mine);
    // Nothing is left of the way there.
    agent.settle().await;
    fs::set_permissions(at("locked"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn odd_and_long_names_arrive_byte_for_byte() {
    let agent = Agent::start().await;
    let long = "n".repeat(255);
    let deep = format!("{}file", "a folder/".repeat(100));
    let archive = Tar::new()
        .file(&long, "1")
        .file(&deep, "2")
        .file("new\nline and 'quotes\"", "3")
        .raw(b"\xff\xfe", tar::EntryType::Regular, b"")
        .symlink("link", &long)
        .end();
    agent.change(change(), &archive).await.unwrap();
    let home = agent.folder.path();
    assert_eq!(fs::read_to_string(home.join(&long)).unwrap(), "1");
    assert_eq!(fs::read_to_string(home.join(&deep)).unwrap(), "2");
    assert_eq!(
        fs::read_to_string(home.join("new\nline and 'quotes\"")).unwrap(),
        "3"
    );
    assert!(home.join(std::ffi::OsStr::from_bytes(b"\xff\xfe")).exists());
    assert_eq!(fs::read_to_string(home.join("link")).unwrap(), "1");
    let (_, content) = agent.read(&deep, 0, 10).await.unwrap();
    assert_eq!(content, b"2");
}

#[tokio::test]
async fn what_is_there_stays_unless_it_is_replaced() {
    let agent = Agent::start().await;
    let before = Tar::new()
        .folder("dir", 0o750)
        .file("dir/kept", "kept")
        .file_with("dir/script", 0o755, "old")
        .symlink("dir/link", "kept")
        .file("dir/gone", "gone")
        .folder("dir/empty", 0o755)
        .file("dir/becomes-a-folder", "")
        .end();
    agent.change(change(), &before).await.unwrap();
    let request = Change {
        destination: bytes("dir"),
        remove: ["dir/empty", "dir/gone", "dir/becomes-a-folder"]
            .map(bytes)
            .into(),
        keep_modes: true,
        ..Change::default()
    };
    let after = Tar::new()
        .file("script", "new")
        .symlink("link", "script")
        .file("fresh/file", "fresh")
        .file("becomes-a-folder/file", "inside")
        .end();
    let done = agent.change(request, &after).await.unwrap();
    assert_eq!(done, (4, 14, 3));
    assert_eq!(
        tree(&agent.folder.path()),
        [
            "dir/ 750",
            "dir/becomes-a-folder/ 755",
            "dir/becomes-a-folder/file 644 \"inside\"",
            "dir/fresh/ 755",
            "dir/fresh/file 644 \"fresh\"",
            "dir/kept 644 \"kept\"",
            "dir/link -> script",
            "dir/script 755 \"new\"",
        ]
    );
}

#[tokio::test]
async fn an_edited_file_stays_the_file_that_it_is() {
    let agent = Agent::start().await;
    let at = |path: &str| agent.folder.path().join(path);
    fs::create_dir(at("again")).unwrap();
    for (name, mode) in [("one", 0o640), ("two", 0o751)] {
        fs::write(at(name), "what was there before").unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::hard_link(at("two"), at("again/two")).unwrap();
    let inode = at("two").metadata().unwrap().ino();
    let edit = |keep_modes| Change {
        edit: true,
        keep_modes,
        ..change()
    };
    let archive = Tar::new().file("one", "new").file("two", "new").end();
    agent.change(edit(true), &archive).await.unwrap();
    let after = |one, two| {
        [
            "again/ 755".to_owned(),
            format!("again/two {two} \"new\""),
            format!("one {one} \"new\""),
            format!("two {two} \"new\""),
        ]
    };
    assert_eq!(tree(&agent.folder.path()), after(640, 751));
    assert_eq!(at("two").metadata().unwrap().ino(), inode);
    // Where the archive has a mode to say, as a patch does, it is the archive's.
    agent.change(edit(false), &archive).await.unwrap();
    assert_eq!(tree(&agent.folder.path()), after(644, 644));
    // What is not edited is another file, whatever was there.
    agent.change(change(), &archive).await.unwrap();
    agent.settle().await;
    assert_ne!(at("two").metadata().unwrap().ino(), inode);
    assert_eq!(at("again/two").metadata().unwrap().nlink(), 1);
}

#[tokio::test]
async fn links_that_stay_inside_are_written_through_where_that_is_asked_for() {
    let agent = Agent::start().await;
    let at = |path: &str| agent.folder.path().join(path);
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("folder/file"), "old").unwrap();
    let absolute = at("folder/file");
    for (link, target) in [
        ("link", "folder/file"),
        ("absolute", absolute.to_str().unwrap()),
        ("other", "folder"),
        ("dangling", "made/here"),
        ("out", "../out"),
    ] {
        symlink(target, at(link)).unwrap();
    }
    let follow = |expect: &[&str]| Change {
        follow: true,
        edit: true,
        expect: (expect.iter())
            .map(|path| Expected {
                path: bytes(path),
                stamp: None,
            })
            .collect(),
        ..change()
    };
    let content = |path: &str| fs::read_to_string(at(path)).unwrap();
    for (path, leads_to) in [
        ("link", "folder/file"),
        ("absolute", "folder/file"),
        ("other/file", "folder/file"),
        ("other/new", "folder/new"),
        ("dangling", "made/here"),
    ] {
        let archive = Tar::new().file(path, path).end();
        agent.change(follow(&[]), &archive).await.unwrap();
        assert_eq!(content(leads_to), path);
        let (_, read) = agent.read(path, 0, 100).await.unwrap();
        assert_eq!(read, path.as_bytes());
    }
    for link in ["link", "absolute", "other", "dangling"] {
        assert!(at(link).is_symlink(), "{link}");
    }
    // What is expected is looked for at the same place.
    let archive = Tar::new().file("dangling", "again").end();
    let fault = agent.change(follow(&["dangling"]), &archive).await;
    assert!(
        fault
            .unwrap_err()
            .message
            .contains("has been created since")
    );
    let before = tree(&agent.folder.path());
    for (path, why) in [
        ("out", "out is a link to ../out"),
        ("out/file", "out is a link to ../out"),
        ("other", "is a folder"),
        ("link/file", "not a folder"),
    ] {
        let archive = Tar::new().file(path, "x").end();
        let fault = agent.change(follow(&[]), &archive).await.unwrap_err();
        assert!(fault.message.contains(why), "{path}: {fault}");
        assert_eq!(tree(&agent.folder.path()), before);
    }
}

#[tokio::test]
async fn folders_go_after_what_is_in_them_whatever_the_order() {
    let agent = Agent::start().await;
    let archive = Tar::new().file("a/b/c", "").symlink("a/b/l", "c").end();
    agent.change(change(), &archive).await.unwrap();
    let request = Change {
        remove: ["a", "a/b/l", "a/b", "a/b/c"].map(bytes).into(),
        ..Change::default()
    };
    assert_eq!(agent.change(request, &[]).await.unwrap(), (0, 0, 4));
    assert!(tree(&agent.folder.path()).is_empty());
}

#[tokio::test]
async fn the_destination_is_made_and_the_archive_may_describe_it() {
    let agent = Agent::start().await;
    let request = Change {
        destination: bytes("./new//deep/"),
        ..Change::default()
    };
    agent.change(request.clone(), &[]).await.unwrap();
    assert_eq!(tree(&agent.folder.path()), ["new/ 755", "new/deep/ 755"]);
    let archive = Tar::new().raw(b"./", tar::EntryType::Directory, b"").end();
    agent.change(request, &archive).await.unwrap();
    let about = agent.folder.path().join("new/deep").metadata().unwrap();
    assert_eq!(
        (about.mode() & 0o777, about.mtime()),
        (0o644, 1_000_000_000)
    );
}

#[tokio::test]
async fn of_a_name_that_comes_twice_the_later_counts() {
    let agent = Agent::start().await;
    let archive = Tar::new()
        .file("a", "first")
        .symlink("b", "a")
        .file("a", "second")
        .file("b", "no link")
        .end();
    agent.change(change(), &archive).await.unwrap();
    assert_eq!(
        tree(&agent.folder.path()),
        ["a 644 \"second\"", "b 644 \"no link\""]
    );
}

#[tokio::test]
async fn what_was_expected_may_be_changed() {
    let agent = Agent::start().await;
    agent
        .change(change(), &Tar::new().file("a", "1").end())
        .await
        .unwrap();
    let stamp = agent.stamp("a").await;
    let request = Change {
        expect: vec![
            Expected {
                path: bytes("a"),
                stamp: Some(stamp),
            },
            Expected {
                path: bytes("not/there"),
                stamp: None,
            },
        ],
        ..Change::default()
    };
    agent
        .change(request, &Tar::new().file("a", "2").end())
        .await
        .unwrap();
    assert_eq!(tree(&agent.folder.path()), ["a 644 \"2\""]);
}

#[tokio::test]
async fn many_changes_at_once_come_one_after_the_other() {
    let agent = Agent::start().await;
    let archives: Vec<_> = (0..8)
        .map(|number| {
            let files = (0..20).fold(Tar::new(), |tar, file| {
                tar.file(&format!("{file}"), number.to_string())
            });
            files.end()
        })
        .collect();
    let all = archives
        .iter()
        .map(|archive| agent.change(change(), archive));
    for done in futures_of(all).await {
        assert_eq!(done.unwrap(), (20, 20, 0));
    }
    let contents: Vec<_> = (0..20)
        .map(|file| fs::read(agent.folder.path().join(file.to_string())).unwrap())
        .collect();
    assert!(
        contents.iter().all(|content| *content == contents[0]),
        "{contents:?}"
    );
}

/// Polls all of them side by side.
async fn futures_of<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|cx| {
        for (one, output) in &mut waiting {
            if output.is_none()
                && let std::task::Poll::Ready(done) = one.as_mut().poll(cx)
            {
                *output = Some(done);
            }
        }
        match waiting.iter().all(|(_, output)| output.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    waiting
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}

#[tokio::test]
async fn a_disk_of_the_host_is_flushed_and_never_held_back() {
    let agent = Agent::start().await;
    let freeze = AgentRequest::Freeze(Freeze {
        thaw_after_ms: 600_000,
    });
    assert_eq!(agent.ask(&freeze).await, AgentReply::Done);
    assert_eq!(agent.ask(&freeze).await, AgentReply::Done);
    agent
        .change(change(), &Tar::new().file("a", "").end())
        .await
        .unwrap();
    assert_eq!(agent.ask(&AgentRequest::Thaw).await, AgentReply::Done);
    assert_eq!(agent.ask(&AgentRequest::Thaw).await, AgentReply::Done);
}

#[tokio::test]
async fn a_large_archive_passes_through_little_memory() {
    let agent = Agent::start().await;
    let content = vec![7_u8; 64 * 1024 * 1024];
    let archive = Tar::new().file("large", &content).end();
    agent
        .change(change(), &Tar::new().file("small", "").end())
        .await
        .unwrap();
    let before = agent.memory_kib();
    agent.change(change(), &archive).await.unwrap();
    let grown = agent.memory_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB");
    let length = agent.folder.path().join("large").metadata().unwrap().len();
    assert_eq!(length, content.len() as u64);
}
