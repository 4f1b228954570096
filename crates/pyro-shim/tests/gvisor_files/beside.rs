//! The same beside a sandbox that runs on the disk, for as long as that does.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use pyro_wire::agent::{AgentReply, AgentRequest};
use pyro_wire::files::{Change, ChangeReply, Diff, DiffEvent};
use pyro_wire::launch::EndReason;
use pyro_wire::shim::ShimReply;

use super::{archive, ask, change, diff, list, read, sample, seed};
use crate::descendants;
use crate::harness::{self, Harness, Shim, alive, kill, lock_is_free, receive, send, wait_until};

fn harness() -> Option<Harness> {
    let harness = Harness::real_gvisor();
    if harness.is_none() {
        harness::not_played("no runsc");
    }
    harness
}

/// The processes that serve files beside the sandbox of a shim.
fn beside(shim: &Shim) -> Vec<u32> {
    let mut found = descendants(shim.pid());
    found.retain(|pid| {
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words == "pyro-agent\0--files\0"
    });
    found
}

fn namespace(pid: u32, name: &str) -> u64 {
    fs::metadata(format!("/proc/{pid}/ns/{name}"))
        .unwrap()
        .ino()
}

fn done(reply: &ChangeReply) {
    assert!(matches!(reply, ChangeReply::Done { .. }), "{reply:?}");
}

#[test]
fn guest_and_host_see_what_the_other_changes() {
    let Some(harness) = harness() else { return };
    let mut shim = harness.start();
    shim.ready();
    assert_eq!(beside(&shim), Vec::<u32>::new());
    let from = sample(&harness);
    done(&change(
        harness.files_line(),
        Change::default(),
        &archive(&from),
    ));
    // The guest's own agent reads as any of its programs does.
    assert_eq!(read(harness.agent(), "sub/text").unwrap(), b"from the seed");
    assert_eq!(list(harness.agent()), list(harness.files_line()));

    for (writer, reader, text) in [
        (
            Harness::agent as fn(&Harness) -> _,
            Harness::files_line as fn(&Harness) -> _,
            "guest's",
        ),
        (Harness::files_line, Harness::agent, "host's, and longer"),
        (Harness::agent, Harness::files_line, "short"),
    ] {
        fs::write(from.join("sub/text"), text).unwrap();
        done(&change(
            writer(&harness),
            Change::default(),
            &archive(&from),
        ));
        assert_eq!(read(reader(&harness), "sub/text").unwrap(), text.as_bytes());
    }
    let [only] = beside(&shim)[..] else {
        panic!("{:?}", beside(&shim));
    };
    let sandbox = harness.status().vmm_pid.unwrap();
    for name in ["user", "mnt", "pid", "net", "ipc", "uts"] {
        assert_eq!(namespace(only, name), namespace(sandbox, name), "{name}");
    }
    super::assert_confined(only);

    assert_eq!(harness.stop(10_000, false), ShimReply::Stopped);
    assert!(!alive(only));
    let kept = harness.top().join("workspace/sub/text");
    assert_eq!(fs::read_to_string(kept).unwrap(), "short");
}

#[test]
fn it_ends_with_the_sandbox_which_can_start_again_at_once() {
    let Some(harness) = harness() else { return };
    let from = sample(&harness);
    for round in 0..3 {
        let mut shim = harness.start();
        shim.ready();
        let mut line = harness.files_line();
        if round == 0 {
            seed(harness.files_line(), &from);
        }
        assert_eq!(list(harness.files_line()).len(), 5);
        let files = beside(&shim);
        assert_eq!(files.len(), 1);
        kill(harness.status().vmm_pid.unwrap());
        let ended = shim.end();
        assert_eq!(ended.reason, EndReason::Died);
        assert!(!alive(files[0]));
        assert!(lock_is_free(harness.path()));
        assert!(receive(&mut line).is_none());
    }
}

#[test]
fn it_ends_with_the_shim() {
    let Some(harness) = harness() else { return };
    let mut shim = harness.start();
    shim.ready();
    let _line = harness.files_line();
    let files = beside(&shim);
    assert_eq!(files.len(), 1);
    kill(shim.pid());
    wait_until(|| !alive(files[0]));
    wait_until(|| lock_is_free(harness.path()));
}

#[test]
fn another_one_takes_the_place_of_one_that_was_killed() {
    let Some(harness) = harness() else { return };
    let mut shim = harness.start();
    shim.ready();
    let from = sample(&harness);
    // In the middle of a change.
    let mut line = harness.files_line();
    send(&mut line, &AgentRequest::Change(Change::default()));
    let files = beside(&shim);
    kill(files[0]);
    assert!(receive(&mut line).is_none());
    done(&change(
        harness.files_line(),
        Change::default(),
        &archive(&from),
    ));
    assert_eq!(list(harness.agent()).len(), 5);
    let new = beside(&shim);
    assert!(new.len() == 1 && new != files, "{new:?} after {files:?}");
    assert_eq!(harness.status().running.backend, "gvisor");
    harness.stop(0, true);
    assert!(!alive(new[0]));
}

#[test]
fn one_that_nobody_asks_ends_and_the_next_request_starts_another() {
    let Some(harness) = harness() else { return };
    let harness = harness.edit_gvisor(|gvisor| gvisor.files_idle_ms = 300);
    let mut shim = harness.start();
    shim.ready();
    // Not while it is asked, however long that takes.
    let mut asking = harness.files_line();
    let first = beside(&shim);
    assert_eq!(first.len(), 1);
    std::thread::sleep(Duration::from_secs(1));
    send(&mut asking, &AgentRequest::Ping);
    let reply: AgentReply = receive(&mut asking).unwrap().message().unwrap();
    assert_eq!((reply, beside(&shim)), (AgentReply::Done, first.clone()));
    drop(asking);
    wait_until(|| beside(&shim).is_empty());

    let from = sample(&harness);
    done(&change(
        harness.files_line(),
        Change::default(),
        &archive(&from),
    ));
    assert_eq!(list(harness.agent()).len(), 5);
    assert_ne!(beside(&shim), first);
    harness.stop(0, true);
}

#[test]
fn it_keeps_to_the_processors_of_the_sandbox() {
    let Some(harness) = harness() else { return };
    let harness = harness.edit_gvisor(|gvisor| gvisor.vcpu_count = 1);
    let mut shim = harness.start();
    shim.ready();
    let _line = harness.files_line();
    let sandbox = harness.status().vmm_pid.unwrap();
    let processors = |pid: u32| {
        let pid = Pid::from_raw(pid.cast_signed());
        let set = sched_getaffinity(pid).unwrap();
        let all = 0..CpuSet::count();
        all.filter(|number| set.is_set(*number).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(processors(sandbox).len(), 1);
    assert_eq!(processors(beside(&shim)[0]), processors(sandbox));
    harness.stop(0, true);
}

#[test]
fn lines_are_use_of_the_vm() {
    let Some(harness) = harness() else { return };
    let mut shim = harness.start();
    shim.ready();
    let line = harness.files_line();
    assert_eq!(harness.status().connections, 1);
    drop(line);
    wait_until(|| harness.status().connections == 0);
    harness.stop(0, true);
}

#[test]
fn nothing_that_a_guest_puts_there_is_waited_for_or_followed() {
    let Some(harness) = harness() else { return };
    // As root in the guest can.
    let top = harness.top();
    for folder in ["workspace", "var/lib/pyro", "proc/thread-self", "proc/self"] {
        fs::create_dir_all(top.join(folder)).unwrap();
    }
    let fifo = |path: &str| {
        let all = Mode::from_bits_truncate(0o666);
        mkfifo(&top.join(path), all).unwrap();
    };
    fifo("workspace/pipe");
    fifo("var/lib/pyro/index");
    fifo("proc/thread-self/status");
    fifo("proc/self/oom_score_adj");
    let _socket = UnixListener::bind(top.join("workspace/socket")).unwrap();
    let link = |to: &str, path: &str| std::os::unix::fs::symlink(to, top.join(path)).unwrap();
    link("/proc/self/root", "workspace/root");
    link("../../../../../../etc", "workspace/up");
    let mut shim = harness.start();
    shim.ready();
    let from = sample(&harness);
    done(&change(
        harness.files_line(),
        Change::default(),
        &archive(&from),
    ));
    let mut line = harness.files_line();
    send(&mut line, &AgentRequest::Diff(Diff { content_limit: 9 }));
    let event: DiffEvent = receive(&mut line).unwrap().message().unwrap();
    assert!(matches!(event, DiffEvent::Failed(_)), "{event:?}");
    for path in ["pipe", "socket", "root/etc/motd", "up/motd"] {
        read(harness.files_line(), path).unwrap_err();
    }
    // With a baseline, a pipe in its place goes.
    seed(harness.files_line(), &from);
    assert_eq!(diff(harness.files_line()), []);
    harness.stop(0, true);
}

#[test]
fn in_a_machine_without_it_the_agent_serves_files() {
    let harness = Harness::files();
    let mut shim = harness.start();
    shim.ready();
    assert_eq!(
        ask(harness.files_line(), &AgentRequest::Ping),
        AgentReply::Done
    );
    assert_eq!(beside(&shim), [harness.status().vmm_pid.unwrap()]);
    harness.stop(0, true);
}
