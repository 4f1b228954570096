//! The life of a shim on real sandboxes of gVisor. They need runsc, on the PATH or named:
//!
//! ```text
//! PYRO_RUNSC=~/.cache/pyro/…/runsc cargo test -p pyro-shim --features real-vms --test gvisor
//! ```

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod gvisor_files;
mod harness;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Harness, alive, exec, kill, lock_is_free, receive, sandbox, send, wait_until};
use pyro_wire::agent::{AgentReply, AgentRequest};
use pyro_wire::exec::ExecEvent;
use pyro_wire::fault::FaultCode;
use pyro_wire::frame::Kind;
use pyro_wire::launch::{DiskLayer, EndReason, SandboxProbe};
use pyro_wire::shim::{Lease, ShimReply, ShimRequest};

/// A harness for sandboxes, or the reason why there is none.
fn harness() -> Option<Harness> {
    let harness = Harness::gvisor();
    if harness.is_none() {
        harness::not_played("no runsc");
    }
    harness
}

/// Runs a command of the fake agent to its end: its status, and what it wrote.
fn run(harness: &Harness, command: &str) -> (i32, String) {
    let mut agent = harness.agent();
    exec(&mut agent, command);
    let mut output = Vec::new();
    loop {
        let frame = receive(&mut agent).expect("the end of the command");
        match frame.kind {
            Kind::Message => {
                if let ExecEvent::Ended(end) = frame.message().unwrap() {
                    return (end.exit_code, String::from_utf8(output).unwrap());
                }
            }
            _ => output.extend(frame.body),
        }
    }
}

/// Everybody below a process, whichever of its threads started them.
fn descendants(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let children: Vec<u32> = threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .map(|child| child.parse().unwrap())
        .collect();
    let below: Vec<u32> = children
        .iter()
        .flat_map(|child| descendants(*child))
        .collect();
    [children, below].concat()
}

#[test]
fn a_sandbox_starts_answers_and_stops_without_a_trace() {
    let Some(harness) = harness() else { return };
    let mut shim = harness.start();
    let running = shim.ready();
    let backend = (running.backend.as_str(), running.accelerator.as_str());
    assert_eq!(backend, ("gvisor", "systrap"));
    assert!(running.vmm_version.is_some());
    let mut agent = harness.agent();
    send(&mut agent, &AgentRequest::Ping);
    let reply: AgentReply = receive(&mut agent).unwrap().message().unwrap();
    assert_eq!(reply, AgentReply::Done);
    let runsc = harness.status().vmm_pid.unwrap();
    let processes = descendants(runsc);
    assert!(processes.len() >= 2, "{processes:?}");
    let score = fs::read_to_string(format!("/proc/{runsc}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "500");
    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
    assert!(!alive(runsc) && !processes.iter().any(|pid| alive(*pid)));
    assert!(!harness.path().exists());
    assert!(shim.exit().success());
}

#[test]
fn what_is_flushed_is_on_the_hosts_disk_and_is_found_again() {
    let Some(harness) = harness() else { return };
    let mut shim = harness.start();
    shim.ready();
    assert_eq!(run(&harness, "read /etc/motd"), (0, "from the tree".into()));
    assert_eq!(run(&harness, "keep /kept").0, 0);
    assert_eq!(run(&harness, "remove /etc/motd").0, 0);
    // Nothing else: the places of mounts and the agent are no part of the disk.
    let names: Vec<_> = fs::read_dir(harness.top())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(
        fs::read_to_string(harness.top().join("kept")).unwrap(),
        "kept"
    );
    // Nobody is asked to flush.
    kill(harness.status().vmm_pid.unwrap());
    assert_eq!(shim.end().reason, EndReason::Died);

    let mut shim = harness.start();
    shim.ready();
    assert_eq!(run(&harness, "read /kept"), (0, "kept".into()));
    assert_eq!(run(&harness, "read /etc/motd").0, 1);
    assert_eq!(harness.stop(10_000, false), ShimReply::Stopped);
    assert!(shim.exit().success());
    assert!(lock_is_free(harness.path()));
}

#[test]
fn a_hundred_layers_are_one_disk() {
    let Some(harness) = harness() else { return };
    let folder = harness.workspace();
    let harness = harness.edit_gvisor(|gvisor| {
        let between: Vec<DiskLayer> = (0..98)
            .map(|number| {
                let layer =
                    sandbox::layer(&folder.join(format!("layer, {number}: {}", "long".repeat(30))));
                fs::write(
                    layer.path.join(format!("upper/from-{number}")),
                    number.to_string(),
                )
                .unwrap();
                fs::write(layer.path.join("upper/top"), number.to_string()).unwrap();
                layer
            })
            .collect();
        gvisor.disk.splice(1..1, between);
    });
    let mut shim = harness.start();
    shim.ready();
    assert_eq!(run(&harness, "read /from-0"), (0, "0".into()));
    assert_eq!(run(&harness, "read /from-97"), (0, "97".into()));
    assert_eq!(run(&harness, "read /top"), (0, "97".into()));
    assert_eq!(run(&harness, "read /etc/motd"), (0, "from the tree".into()));
    harness.stop(0, true);
}

#[test]
fn files_of_other_users_go_with_the_folder() {
    let Some(harness) = harness() else { return };
    let layer = sandbox::layer(&harness.path().join("layer"));
    let upper = layer.path.join("upper");
    let harness = harness
        .edit(|spec| spec.remove_when_over = true)
        .edit_gvisor(|gvisor| gvisor.disk[1] = layer);
    let mut shim = harness.start();
    shim.ready();
    assert_eq!(run(&harness, "own /file").0, 0);
    let owner = fs::metadata(upper.join("own/file")).unwrap().uid();
    assert!(
        owner > 1000 && owner != nix::unistd::geteuid().as_raw(),
        "{owner}"
    );
    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
    assert!(!harness.path().exists());
}

#[test]
fn guests_end_in_their_own_ways() {
    for (command, reason, words) in [
        ("exit 0", EndReason::GuestOff, "the guest powered off"),
        (
            "exit 7",
            EndReason::Died,
            "the guest's first process exited with status 7",
        ),
    ] {
        let Some(harness) = harness() else { return };
        let mut shim = harness.start();
        shim.ready();
        let mut agent = harness.agent();
        exec(&mut agent, command);
        let ended = shim.end();
        assert_eq!(
            (ended.reason, ended.message.as_str()),
            (reason, words),
            "{ended:?}"
        );
        assert!(
            ended
                .console_tail
                .iter()
                .any(|line| line.contains("fake agent")),
            "{ended:?}"
        );
    }
}

#[test]
fn the_death_of_any_process_of_gvisor_is_told() {
    for (number, words) in [
        (0, "runsc was killed by signal 9"),
        (1, "kernel was killed"),
        (2, "kernel was killed"),
    ] {
        let Some(harness) = harness() else { return };
        let mut shim = harness.start();
        shim.ready();
        let mut agent = harness.agent();
        exec(&mut agent, "echo");
        let _started = receive(&mut agent);
        let runsc = harness.status().vmm_pid.unwrap();
        let processes = [vec![runsc], descendants(runsc)].concat();
        kill(processes[number]);
        assert!(receive(&mut agent).is_none());
        let ended = shim.end();
        assert_eq!(ended.reason, EndReason::Died);
        assert!(ended.message.contains(words), "{ended:?}");
        assert!(!processes.iter().any(|pid| alive(*pid)), "{processes:?}");
        assert!(lock_is_free(harness.path()));
    }
}

#[test]
fn the_death_of_the_shim_ends_everything() {
    let Some(harness) = harness() else { return };
    let mut shim = harness.start();
    shim.ready();
    let runsc = harness.status().vmm_pid.unwrap();
    let processes = [vec![runsc], descendants(runsc)].concat();
    kill(shim.pid());
    wait_until(|| !processes.iter().any(|pid| alive(*pid)));
    wait_until(|| lock_is_free(harness.path()));
}

#[test]
fn the_guests_kernel_has_no_rights_on_the_host() {
    let Some(harness) = harness() else { return };
    let mut shim = harness.start();
    shim.ready();
    let runsc = harness.status().vmm_pid.unwrap();
    let named = |wanted: &str| {
        descendants(runsc)
            .into_iter()
            .find(|pid| {
                fs::read_to_string(format!("/proc/{pid}/cmdline"))
                    .unwrap()
                    .starts_with(wanted)
            })
            .unwrap()
    };
    let kernel = named("runsc-sandbox");
    let status = fs::read_to_string(format!("/proc/{kernel}/status")).unwrap();
    let is = |line: &str| {
        status
            .lines()
            .any(|found| found.split_whitespace().collect::<Vec<_>>().join(" ") == line)
    };
    assert!(
        is("CapEff: 0000000000000000") && is("CapBnd: 0000000000000000"),
        "{status}"
    );
    assert!(is("NoNewPrivs: 1") && is("Seccomp: 2"), "{status}");
    let own = |pid| fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let users = |text: String| {
        text.lines()
            .find(|line| line.starts_with("Uid:"))
            .unwrap()
            .to_owned()
    };
    assert_ne!(users(own(kernel)), users(own(shim.pid())));
    if !nix::unistd::geteuid().is_root() {
        harness::not_played("only root may look into its processes");
        return;
    }
    // Who serves its files sees none but the guest's.
    for pid in [kernel, named("runsc-gofer"), runsc] {
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        assert!(
            !root.join("work").exists() && !root.join("usr").exists(),
            "{pid}"
        );
    }
    for pid in [kernel, named("runsc-gofer")] {
        let lock = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().any(|fd| {
            fs::read_link(fd.unwrap().path()).is_ok_and(|file| file.ends_with("alive.lock"))
        });
        assert!(!lock, "{pid} has the lock");
    }
    harness.stop(0, true);
}

/// The CPU time of processes, in ticks.
fn cpu_time(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<u64> = rest
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse().unwrap())
            .collect();
        fields.iter().sum::<u64>()
    };
    pids.iter().map(of).sum()
}

#[test]
fn a_paused_guest_uses_no_processor_and_goes_on() {
    let Some(harness) = harness() else { return };
    let mut shim = harness.start();
    shim.ready();
    let mut agent = harness.agent();
    exec(&mut agent, "spin");
    let _started = receive(&mut agent);
    let runsc = harness.status().vmm_pid.unwrap();
    let processes = descendants(runsc);
    let before = cpu_time(&processes);
    wait_until(|| cpu_time(&processes) > before + 20);
    assert_eq!(harness.request(&ShimRequest::Pause), ShimReply::Done);
    let before = cpu_time(&processes);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let during = cpu_time(&processes) - before;
    assert!(during < 20, "{during} ticks");
    let lease = Lease {
        expires_at_ms: 4_000_000_000_000,
    };
    assert_eq!(harness.request(&ShimRequest::Lease(lease)), ShimReply::Done);
    wait_until(|| cpu_time(&processes) > before + during + 20);
    harness.stop(0, true);
}

#[test]
fn a_disk_layer_is_refused_while_the_sandbox_runs() {
    let Some(harness) = harness() else { return };
    let mut shim = harness.start();
    shim.ready();
    let layer = sandbox::layer(&harness.workspace().join("another"));
    let ShimReply::Failed(fault) = harness.add_layer(&layer) else {
        panic!("it was taken");
    };
    assert_eq!(fault.code, FaultCode::Refused);
    assert_eq!(run(&harness, "read /etc/motd").0, 0);
    harness.stop(0, true);
}

#[test]
fn what_is_missing_is_named() {
    let Some(harness) = harness() else { return };
    let harness = harness.edit_gvisor(|gvisor| gvisor.runsc = "/nowhere/runsc".into());
    assert_eq!(harness.start().failed().code, FaultCode::VmmMissing);

    let harness = Harness::gvisor().unwrap();
    let harness = harness.edit_gvisor(|gvisor| gvisor.disk[0].path = "/nowhere/tree".into());
    let fault = harness.start().failed();
    assert_eq!(fault.code, FaultCode::NotFound);
    assert!(fault.message.contains("/nowhere/tree"));

    let harness = Harness::gvisor().unwrap();
    let harness =
        harness.edit_gvisor(|gvisor| fs::remove_dir(gvisor.disk[1].path.join("work")).unwrap());
    let fault = harness.start().failed();
    assert_eq!(fault.code, FaultCode::VmmFailed);
    assert!(fault.message.contains("mounting the disk"), "{fault:?}");

    let harness = Harness::gvisor().unwrap();
    let harness = harness.edit_gvisor(|gvisor| gvisor.agent = "/etc/passwd".into());
    let fault = harness.start().failed();
    assert_eq!(fault.code, FaultCode::VmmFailed);
    assert!(fault.message.starts_with("runsc failed: "), "{fault:?}");
}

#[test]
fn symbolic_links_have_no_bad_attributes() {
    let Some(harness) = harness() else { return };
    let mut shim = harness.start();
    shim.ready();
    let (_, errno) = run(&harness, "attribute /link");
    let fine = [nix::Error::ENOTSUP, nix::Error::ENODATA].map(|error| (error as i32).to_string());
    assert!(fine.contains(&errno), "{errno}");
    harness.stop(0, true);
}

#[test]
fn processors_are_as_many_as_were_asked_for() {
    let Some(harness) = harness() else { return };
    let harness = harness.edit_gvisor(|gvisor| gvisor.vcpu_count = 1);
    let mut shim = harness.start();
    shim.ready();
    assert_eq!(run(&harness, "processors"), (0, "1".into()));
    harness.stop(0, true);
}

#[test]
fn the_probe_tells_and_remembers() {
    let Some(runsc) = sandbox::runsc() else {
        harness::not_played("no runsc");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("probe.json");
    let probe = |runsc: &Path| -> SandboxProbe {
        let mut command = Command::new(harness::example("shim"));
        command.args(["probe-sandbox-json".as_ref(), runsc.as_os_str()]);
        let output = command
            .arg(harness::example("fake_agent"))
            .arg(&cache)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let found = probe(&runsc);
    assert!(found.runs, "{found:?}");
    assert!(found.version.is_some());
    let text = fs::read_to_string(&cache).unwrap();
    fs::write(&cache, text.replace("ran a probe", "once ran a probe")).unwrap();
    assert!(probe(&runsc).reason.contains("once"));
    let none = probe(Path::new("/bin/false"));
    assert!(!none.runs && none.reason.contains("/bin/false"), "{none:?}");
}
