//! Files by the host: the agent works on the disk of a sandbox, and nothing of it is executed.

mod beside;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyro_wire::Bytes;
use pyro_wire::agent::{AgentReply, AgentRequest, Freeze};
use pyro_wire::exec::ExecControl;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::files::{
    Change, ChangeReply, Diff, DiffEntry, DiffEvent, Export, ExportEvent, List, ListEvent, Read,
    ReadEvent,
};
use pyro_wire::frame::Kind;
use pyro_wire::launch::{EndReason, Runs};
use pyro_wire::service::Connect;
use pyro_wire::shim::ShimReply;

use crate::harness::{self, Harness, exec, input, kill, lock_is_free, receive, sandbox, send};

/// A harness for machines that serve files only. They need no runsc.
fn harness() -> Harness {
    Harness::files()
}

fn bytes(path: &str) -> Bytes {
    path.as_bytes().to_vec().into()
}

/// A folder as an archive.
fn archive(folder: &Path) -> Vec<u8> {
    let made = Command::new("tar")
        .args(["-c", "--owner=0", "--group=0", "-C"])
        .arg(folder)
        .arg(".")
        .output()
        .unwrap();
    assert!(made.status.success());
    made.stdout
}

fn change(mut agent: UnixStream, request: Change, archive: &[u8]) -> ChangeReply {
    send(&mut agent, &AgentRequest::Change(request));
    for piece in archive.chunks(60_000) {
        input(&mut agent, piece);
    }
    send(&mut agent, &ExecControl::InputEnd);
    receive(&mut agent).unwrap().message().unwrap()
}

fn seed(agent: UnixStream, folder: &Path) {
    let request = Change {
        baseline: true,
        ..Change::default()
    };
    let done = change(agent, request, &archive(folder));
    assert!(matches!(done, ChangeReply::Done { .. }), "{done:?}");
}

fn list(mut agent: UnixStream) -> Vec<String> {
    let path = bytes("");
    let recursive = true;
    send(&mut agent, &AgentRequest::List(List { path, recursive }));
    let mut found = Vec::new();
    loop {
        match receive(&mut agent).unwrap().message().unwrap() {
            ListEvent::Entries(entries) => found.extend(
                entries
                    .into_iter()
                    .map(|entry| String::from_utf8_lossy(entry.path.as_ref()).into_owned()),
            ),
            ListEvent::End => return found,
            ListEvent::Failed(fault) => panic!("{fault:?}"),
        }
    }
}

fn read(mut agent: UnixStream, path: &str) -> Result<Vec<u8>, Fault> {
    let request = Read {
        path: bytes(path),
        offset: 0,
        length: 1 << 20,
    };
    send(&mut agent, &AgentRequest::Read(request));
    let mut content = Vec::new();
    loop {
        let frame = receive(&mut agent).unwrap();
        match frame.kind {
            Kind::Message => match frame.message().unwrap() {
                ReadEvent::Found { .. } => {}
                ReadEvent::End => return Ok(content),
                ReadEvent::Failed(fault) => return Err(fault),
            },
            _ => content.extend(frame.body),
        }
    }
}

fn diff(mut agent: UnixStream) -> Vec<DiffEntry> {
    send(&mut agent, &AgentRequest::Diff(Diff { content_limit: 0 }));
    let mut found = Vec::new();
    loop {
        match receive(&mut agent).unwrap().message().unwrap() {
            DiffEvent::Entry(entry) => found.push(entry),
            DiffEvent::ContentEnd => {}
            DiffEvent::End { .. } => return found,
            DiffEvent::Failed(fault) => panic!("{fault:?}"),
        }
    }
}

/// What the archive of all has in it.
fn export(harness: &Harness) -> Vec<String> {
    let mut agent = harness.agent();
    let path = bytes("");
    send(&mut agent, &AgentRequest::Export(Export { path }));
    let mut archive = Vec::new();
    loop {
        let frame = receive(&mut agent).unwrap();
        match frame.kind {
            Kind::Message => match frame.message().unwrap() {
                ExportEvent::End { .. } => break,
                ExportEvent::Failed(fault) => panic!("{fault:?}"),
            },
            _ => archive.extend(frame.body),
        }
    }
    let file = harness.workspace().join("exported.tar");
    fs::write(&file, archive).unwrap();
    let listed = Command::new("tar").arg("-tf").arg(file).output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed.lines().map(str::to_owned).collect()
}

fn ask(mut agent: UnixStream, request: &AgentRequest) -> AgentReply {
    send(&mut agent, request);
    receive(&mut agent).unwrap().message().unwrap()
}

/// A folder of the host, with a large file, which nobody reads without being seen to.
fn sample(harness: &Harness) -> PathBuf {
    let folder = harness.workspace().join("seed");
    fs::create_dir_all(folder.join("sub")).unwrap();
    fs::write(folder.join("sub/text"), "from the seed").unwrap();
    fs::write(folder.join("large"), vec![b'x'; LARGE]).unwrap();
    fs::write(folder.join("program"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(folder.join("program"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("sub/text", folder.join("link")).unwrap();
    folder
}

const LARGE: usize = 8 << 20;

/// How much a process has read, by whatever call.
fn has_read(pid: u32) -> usize {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.unwrap().parse().unwrap()
}

/// Whether a process has the disk and nothing else.
fn assert_confined(pid: u32) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let is = |line: &str| {
        status
            .lines()
            .any(|found| found.split_whitespace().collect::<Vec<_>>().join(" ") == line)
    };
    // Owner, access, ownership, set-user-id.
    assert!(
        is("CapEff: 000000000000001b") && is("CapBnd: 000000000000001b"),
        "{status}"
    );
    assert!(is("NoNewPrivs: 1") && is("Seccomp: 2"), "{status}");
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let root = format!("/proc/{pid}/root");
    let disk = [
        "dev",
        "etc",
        "proc",
        "run",
        "sys",
        "tmp",
        "var",
        "workspace",
    ];
    for entry in fs::read_dir(&root).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(disk.contains(&name.as_str()), "it sees {name}");
    }
    for folder in ["dev", "proc", "sys"] {
        assert_eq!(fs::read_dir(format!("{root}/{folder}")).unwrap().count(), 0);
    }
    for fd in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let open = fs::read_link(fd.unwrap().path()).unwrap();
        let open = open.to_string_lossy();
        assert!(
            (!open.starts_with('/') || open.ends_with("/alive.lock")) && !open.contains("pidfd"),
            "it has {open}"
        );
    }
}

#[test]
fn files_are_served_without_a_guest() {
    let harness = harness();
    let mut shim = harness.start();
    let running = shim.ready();
    assert_eq!(
        (running.backend.as_str(), running.accelerator.as_str()),
        ("gvisor", "none")
    );
    assert_eq!(running.vmm_version, None);
    let from = sample(&harness);
    seed(harness.agent(), &from);
    let names = ["large", "link", "program", "sub", "sub/text"];
    assert_eq!(list(harness.agent()), names);
    assert_eq!(read(harness.agent(), "link").unwrap(), b"from the seed");
    // A link out of the workspace, though it does not lead off the disk.
    let out = harness.workspace().join("out");
    fs::create_dir(&out).unwrap();
    symlink("/etc/motd", out.join("out")).unwrap();
    let done = change(harness.agent(), Change::default(), &archive(&out));
    assert!(matches!(done, ChangeReply::Done { .. }), "{done:?}");
    let refused = read(harness.agent(), "out").unwrap_err();
    assert_eq!(refused.code, FaultCode::BadPath);
    let changed = diff(harness.agent());
    assert_eq!(changed.len(), 1, "{changed:?}");
    let exported = export(&harness);
    assert!(exported.contains(&"sub/text".into()), "{exported:?}");

    assert_eq!(harness.stop(10_000, false), ShimReply::Stopped);
    assert!(shim.exit().success() && lock_is_free(harness.path()));
    let workspace = harness.top().join("workspace");
    let text = fs::read_to_string(workspace.join("sub/text")).unwrap();
    assert_eq!(text, "from the seed");
    let program = fs::metadata(workspace.join("program")).unwrap();
    assert_eq!(program.mode() & 0o7777, 0o755);
    let left = fs::read_dir(harness.top().join("var/lib/pyro")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["index"]);
}

#[test]
fn what_executes_or_connects_is_refused() {
    let harness = harness();
    let mut shim = harness.start();
    shim.ready();
    let mut agent = harness.agent();
    exec(&mut agent, "true");
    let reply: AgentReply = receive(&mut agent).unwrap().message().unwrap();
    let connect = AgentRequest::Connect(Connect { port: 80 });
    for reply in [
        reply,
        ask(harness.agent(), &connect),
        ask(harness.agent(), &AgentRequest::ServiceList),
    ] {
        let AgentReply::Failed(fault) = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(fault.code, FaultCode::Refused);
        assert!(fault.message.contains("only files are served"), "{fault:?}");
    }
    harness.stop(0, true);
}

#[test]
fn a_baseline_in_a_layer_below_is_not_read_again() {
    let harness = harness();
    let mut shim = harness.start();
    shim.ready();
    let from = sample(&harness);
    seed(harness.agent(), &from);
    harness.stop(10_000, false);
    assert!(shim.exit().success());

    // The seed is what is below from now on.
    let top = sandbox::layer(&harness.workspace().join("next"));
    let harness = harness.edit_gvisor(|gvisor| gvisor.disk.push(top));
    let mut shim = harness.start();
    shim.ready();
    let agent = harness.status().vmm_pid.unwrap();
    let reads = |agent| {
        let before = has_read(agent);
        assert_eq!(diff(harness.agent()), []);
        has_read(agent) - before
    };
    // Times that were too young to be relied on when they were written down are found once, and are
    // noted after the answer.
    harness::wait_until(|| reads(agent) < LARGE);
    harness.stop(10_000, false);
    assert!(shim.exit().success());

    let mut shim = harness.start();
    shim.ready();
    let agent = harness.status().vmm_pid.unwrap();
    let read = reads(agent);
    assert!(read < LARGE, "{read}");
    harness.stop(0, true);
}

#[test]
fn a_frozen_disk_takes_no_changes_until_it_thaws() {
    let harness = harness();
    let mut shim = harness.start();
    shim.ready();
    let from = sample(&harness);
    let freeze = AgentRequest::Freeze(Freeze {
        thaw_after_ms: 60_000,
    });
    assert_eq!(ask(harness.agent(), &freeze), AgentReply::Done);
    let archive = archive(&from);
    let line = harness.agent();
    let under_way = std::thread::spawn(move || change(line, Change::default(), &archive));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(list(harness.agent()), Vec::<String>::new());
    assert_eq!(ask(harness.agent(), &AgentRequest::Thaw), AgentReply::Done);
    let done = under_way.join().unwrap();
    assert!(matches!(done, ChangeReply::Done { .. }), "{done:?}");
    assert_eq!(list(harness.agent()).len(), 5);
    harness.stop(0, true);
}

#[test]
fn the_agent_has_the_disk_and_nothing_else() {
    let harness = harness();
    let mut shim = harness.start();
    shim.ready();
    let agent = harness.status().vmm_pid.unwrap();
    assert_confined(agent);
    harness.stop(0, true);
}

#[test]
fn an_agent_that_is_killed_is_told_and_loses_nothing() {
    let harness = harness();
    let mut shim = harness.start();
    shim.ready();
    let from = sample(&harness);
    seed(harness.agent(), &from);
    kill(harness.status().vmm_pid.unwrap());
    let ended = shim.end();
    assert_eq!(ended.reason, EndReason::Died);
    assert!(
        ended.message.contains("the agent of the files was killed"),
        "{ended:?}"
    );
    let mut shim = harness.start();
    shim.ready();
    assert_eq!(list(harness.agent()).len(), 5);
    harness.stop(0, true);
}

#[test]
fn a_disk_that_cannot_be_mounted_is_named() {
    let harness = harness();
    let top = harness.top();
    fs::remove_dir_all(top.parent().unwrap().join("work")).unwrap();
    let mut shim = harness.start();
    let fault = shim.failed();
    assert!(fault.message.contains("mounting the disk"), "{fault:?}");
    let harness = harness.edit_gvisor(|gvisor| gvisor.agent = "/none".into());
    let fault = harness.start().failed();
    assert!(fault.message.contains("the agent /none"), "{fault:?}");
    assert_eq!(fault.code, FaultCode::NotFound);
}

#[test]
fn only_a_machine_of_files_goes_without_runsc() {
    let harness = harness().edit_gvisor(|gvisor| gvisor.runs = Runs::Sandbox);
    let fault = harness.start().failed();
    assert!(fault.message.contains("runsc (/none)"), "{fault:?}");
}
