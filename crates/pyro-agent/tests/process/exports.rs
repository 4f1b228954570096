//! Archives of what is in the workspace, read by another implementation.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use nix::sys::stat::Mode;
use pyro_wire::fault::FaultCode;

use crate::agent::Agent;
use crate::files::{bytes, change, members, tree};

#[tokio::test]
async fn a_folder_is_packed_as_it_is() {
    let agent = Agent::start().await;
    let at = |path: &str| agent.folder.path().join(path);
    fs::create_dir_all(at("dir/empty")).unwrap();
    fs::write(at("dir/script"), "text").unwrap();
    fs::set_permissions(at("dir/script"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(at("dir/script"), at("dir/same")).unwrap();
    symlink("/etc/passwd", at("dir/link")).unwrap();
    let long = "n".repeat(255);
    fs::write(at("dir").join(&long), vec![b'x'; 100_000]).unwrap();
    fs::write(at("dir/new\nline"), "").unwrap();
    nix::unistd::mkfifo(&at("dir/fifo"), Mode::S_IRWXU).unwrap();

    let (archive, skipped) = agent.export("dir").await.unwrap();
    assert_eq!(skipped, [bytes("dir/fifo")]);
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let expected = [
        (".", Directory, &b""[..]),
        ("empty", Directory, b""),
        ("link", Symlink, b"/etc/passwd"),
        ("new\nline", Regular, b""),
        (&long, Regular, &[b'x'; 100_000]),
        ("same", Regular, b"text"),
        ("script", Link, b"same"),
    ];
    let expected = expected.map(|(name, kind, content)| (name.into(), kind, content.to_vec()));
    assert_eq!(members(&archive), expected);

    // What was packed can be unpacked elsewhere, and is the same.
    fs::remove_file(at("dir/fifo")).unwrap();
    let other = Agent::start().await;
    other.change(change(), &archive).await.unwrap();
    assert_eq!(tree(&other.folder.path()), tree(&at("dir")));
    let time = |path: std::path::PathBuf| path.symlink_metadata().unwrap().modified().unwrap();
    for path in ["script", "link", "empty", "new\nline"] {
        let (here, there) = (at("dir").join(path), other.folder.path().join(path));
        assert_eq!(time(here), time(there), "{path}");
    }
}

#[tokio::test]
async fn a_file_or_a_link_is_one_member() {
    let agent = Agent::start().await;
    let at = |path: &str| agent.folder.path().join(path);
    fs::write(at("file"), "text").unwrap();
    symlink("/etc", at("link")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    let (archive, _) = agent.export("file").await.unwrap();
    let expected = (".".into(), tar::EntryType::Regular, b"text".to_vec());
    assert_eq!(members(&archive), [expected]);
    let (archive, _) = agent.export("link").await.unwrap();
    let expected = (".".into(), tar::EntryType::Symlink, b"/etc".to_vec());
    assert_eq!(members(&archive), [expected]);
    let fault = agent.export("fifo").await.unwrap_err();
    assert_eq!(fault.code, FaultCode::Refused);
}

#[tokio::test]
async fn files_that_change_while_they_are_read_break_no_archive() {
    let agent = Agent::start().await;
    for number in 0..8 {
        let path = agent.folder.path().join(format!("{number}"));
        fs::write(path, vec![b'x'; 300_000]).unwrap();
    }
    let mut changing = agent
        .begin(crate::agent::shell(
            "while :; do for f in 0 1 2 3 4 5 6 7; do \
             truncate -s 10 $f; truncate -s 500000 $f; rm -f new; mv $f new; cp new $f; done; done",
        ))
        .await;
    changing.started().await;
    for _ in 0..20 {
        let (archive, _) = agent.export("").await.unwrap();
        // Reading it to the end is the test; a wrong length anywhere garbles the next header.
        assert!(!members(&archive).is_empty());
        assert_eq!(archive.len() % 512, 0);
        assert!(archive.ends_with(&[0; 1024]));
    }
}
