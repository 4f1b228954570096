//! The agent is killed in the middle of changes. Afterwards the workspace is as before, or as
//! after; never in between.

use std::time::{Duration, Instant};

use pyro_wire::agent::AgentRequest;
use pyro_wire::exec::ExecControl;
use pyro_wire::files::{Change, ChangeReply};
use pyro_wire::frame::{self, Kind};
use tokio::time::{sleep, timeout};

use crate::agent::{Agent, Folder, LIMIT};
use crate::files::{Tar, baseline, bytes, tree};

const FILES: u32 = 200;

/// An archive in which everything says of which version it is.
fn archive(version: u32) -> Vec<u8> {
    let files = (0..FILES).fold(Tar::new(), |tar, number| {
        let name = format!("dir-{}/{number}", number % 7);
        tar.file(&name, format!("version {version}"))
    });
    files
        .symlink("link", &format!("version-{version}"))
        .file(&format!("only-in-{version}/file"), "")
        .folder("dir-3", 0o700 + version % 8)
        .end()
}

fn request(version: u32) -> Change {
    let last = version.wrapping_sub(1);
    let remove = match version {
        0 => Vec::new(),
        _ => vec![
            bytes(format!("only-in-{last}/file")),
            bytes(format!("only-in-{last}")),
        ],
    };
    Change {
        remove,
        ..baseline()
    }
}

/// Which version the workspace has, as a whole.
fn version(folder: &Folder) -> u32 {
    let tree = tree(&folder.path());
    let link = tree
        .iter()
        .find_map(|line| line.strip_prefix("link -> version-"));
    let version: u32 = link.unwrap().parse().unwrap();
    let content = format!("644 \"version {version}\"");
    let files = tree.iter().filter(|line| line.ends_with(&content)).count();
    assert_eq!(files, FILES as usize, "mixed: {tree:#?}");
    // Files, the link, one folder and file of this version, and seven folders of all.
    assert_eq!(tree.len(), FILES as usize + 3 + 7, "{tree:#?}");
    assert!(tree.contains(&format!("only-in-{version}/file 644 \"\"")));
    let mode = 0o700 + version % 8;
    assert!(tree.contains(&format!("dir-3/ {mode:o}")), "{tree:#?}");
    version
}

#[tokio::test]
async fn a_killed_agent_leaves_the_old_or_the_new() {
    let mut agent = Agent::start().await;
    let began = Instant::now();
    agent.change(request(0), &archive(0)).await.unwrap();
    let mut longest = began.elapsed() * 3 / 2;
    let (mut old, mut new) = (0, 0);
    let mut seen = [0; 3];
    // On a busy machine a moment comes when it wants, so there are more rounds until all were seen.
    for round in 0..360_u32 {
        if round >= 60 && old > 0 && new > 0 && seen[1] > 0 {
            break;
        }
        if round > 0 && round % 60 == 0 && new == 0 {
            longest *= 2;
        }
        let before = version(&agent.folder);
        let next = before + 1;
        let mut stream = agent.open(&AgentRequest::Change(request(next))).await;
        frame::write_data(&mut stream, Kind::Input, &archive(next))
            .await
            .unwrap();
        frame::write_message(&mut stream, &ExecControl::InputEnd)
            .await
            .unwrap();
        let began = Instant::now();
        // Sixty different moments between the first and the last of what a change does.
        let moment = longest * (round % 60) / 60;
        let reply = timeout(moment, frame::read_message::<ChangeReply>(&mut stream)).await;
        let answered = reply.is_ok_and(|reply| matches!(reply, Ok(ChangeReply::Done { .. })));
        if answered {
            longest = longest.min(began.elapsed() + Duration::from_millis(2));
        }
        let folder = agent.kill();
        let left = folder.state().join("change");
        let phase = match (left.exists(), left.join("journal").exists()) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        };
        seen[phase] += 1;

        agent = Agent::start_in(folder).await;
        let after = version(&agent.folder);
        assert!(!agent.folder.state().join("change").exists());
        assert!(
            after == next || (after == before && !answered),
            "{before} {after}"
        );
        if after == next {
            new += 1;
        } else {
            old += 1;
        }
        // The baseline went the same way.
        assert!(agent.diff(0).await.unwrap().lines().is_empty());
    }
    assert!(old > 0 && new > 0, "{old} before, {new} after");
    assert!(seen[1] > 0, "never in the middle: {seen:?}");
    // And it goes on working.
    let next = version(&agent.folder) + 1;
    agent.change(request(next), &archive(next)).await.unwrap();
    assert_eq!(version(&agent.folder), next);
}

#[tokio::test]
async fn a_hung_up_host_leaves_nothing_behind() {
    let agent = Agent::start().await;
    agent.change(request(0), &archive(0)).await.unwrap();
    let before = tree(&agent.folder.path());
    let mut stream = agent.open(&AgentRequest::Change(request(1))).await;
    let next = archive(1);
    frame::write_data(&mut stream, Kind::Input, &next[..next.len() / 2])
        .await
        .unwrap();
    let change = agent.folder.state().join("change");
    let deadline = Instant::now() + LIMIT;
    while !change.exists() {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(2)).await;
    }
    drop(stream);
    let (_, folder) = agent.part().await;
    assert_eq!(tree(&folder.path()), before);
    assert!(!folder.state().join("change").exists());
}
