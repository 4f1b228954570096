//! What keeps a sandbox's processes from the host, as the host sees them: even whoever took over the
//! guest's kernel would be nobody there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nix::sys::signal::Signal::SIGINT;
use nix::unistd::{Pid, geteuid};
use pyro_tests::World;

use crate::background_command::BackgroundCommand;
use crate::processes::{self, Role};

crate::stories![Gvisor: a_sandbox_is_nobody_and_sees_nothing_of_the_host];

/// Below it are users that hosts have.
const FIRST_SUBORDINATE: u32 = 100_000;

const NAMESPACES: [&str; 5] = ["user", "mnt", "net", "pid", "ipc"];

fn a_sandbox_is_nobody_and_sees_nothing_of_the_host(world: &World) {
    let run = BackgroundCommand::at_work(world);
    let first = processes::find(world, Role::Machine);
    let sentry = processes::find(world, Role::Sentry);
    let gofer = processes::find(world, Role::Gofer);

    for pid in [first, sentry, gofer] {
        for namespace in NAMESPACES {
            let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
            let (own, theirs) = (of("self"), of(&pid.to_string()));
            assert_ne!(own, theirs, "{namespace} of {pid}");
        }
        assert_eq!(status(pid, "NoNewPrivs"), "1", "{pid}");
        sees_nothing_of_the_host(world, pid, gofer);
    }
    // The one that opens files has the guest's disk for its root, and nothing else.
    assert_eq!(status(gofer, "Seccomp"), "2");
    let kinds: Vec<String> = mounts(gofer).into_iter().map(|mount| mount.kind).collect();
    assert_eq!(
        (kinds.len(), kinds[0].as_str()),
        (2, "overlay"),
        "{kinds:?}"
    );
    // The one that a guest could take over, with all that it has started: the guest's programs.
    let programs = processes::descendants(sentry.as_raw());
    let all = programs.iter().map(|process| Pid::from_raw(process.pid));
    for pid in std::iter::once(sentry).chain(all) {
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(pid, set), "0000000000000000", "{set} of {pid}");
        }
        for ids in ["Uid", "Gid"] {
            for id in status(pid, ids).split_whitespace() {
                let id: u32 = id.parse().unwrap();
                assert!(id >= FIRST_SUBORDINATE && id != geteuid().as_raw(), "{id}");
            }
        }
        assert_eq!(status(pid, "Seccomp"), "2", "{pid}");
        assert_eq!(status(pid, "Groups"), "", "{pid}");
        let mounts = mounts(pid);
        assert_eq!(mounts.len(), 1, "{mounts:?}");
        assert!(mounts.iter().all(|mount| mount.read_only), "{mounts:?}");
    }
    run.signal(SIGINT);
    assert_eq!(run.ends_at_once().code(), 130);
}

fn status(pid: Pid, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let value = value.unwrap_or_else(|| panic!("no {key} in {text}"));
    value.trim().to_owned()
}

#[derive(Debug)]
struct Mounted {
    at: String,
    kind: String,
    /// What of its file system is shown.
    root: String,
    read_only: bool,
}

fn mounts(pid: Pid) -> Vec<Mounted> {
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    text.lines()
        .map(|line| {
            let (own, super_block) = line.split_once(" - ").unwrap();
            let own: Vec<&str> = own.split(' ').collect();
            let super_block: Vec<&str> = super_block.split(' ').collect();
            let has_ro = |options: &str| options.split(',').any(|option| option == "ro");
            Mounted {
                at: own[4].to_owned(),
                kind: super_block[0].to_owned(),
                root: own[3].to_owned(),
                read_only: has_ro(own[5]) || has_ro(super_block[2]),
            }
        })
        .collect()
}

/// Only what is its own: file systems in memory, the guest's disk, the two programs and five devices.
fn sees_nothing_of_the_host(world: &World, pid: Pid, gofer: Pid) {
    let devices = ["null", "zero", "full", "random", "urandom"].map(|name| format!("/{name}"));
    let devices = BTreeSet::from(devices);
    for mount in mounts(pid) {
        match mount.kind.as_str() {
            // The one that holds its world, and what that says of its memory.
            "tmpfs" if ["/", "/meminfo"].contains(&mount.root.as_str()) => {}
            "proc" | "overlay" => {}
            // A single device of /dev.
            "devtmpfs" | "tmpfs" => assert!(devices.contains(&mount.root), "{mount:?}"),
            // Where what this guest changes is kept: its own, in the folder of its VM.
            _ if mount.at == "/changes" => {
                let (_, folder) = mount.root.split_once("/vms/").unwrap_or_default();
                assert!(folder.ends_with("/changes"), "{pid}: {mount:?}");
                assert_ne!(pid, gofer, "{mount:?}");
            }
            _ => {
                let program = Path::new(&mount.root).file_name().unwrap_or_default();
                let program = program.to_string_lossy();
                let is_program = program.starts_with("runsc") || program.starts_with("pyro-agent");
                assert!(is_program && mount.read_only, "{pid}: {mount:?}");
            }
        }
        let state = world.state_dir();
        assert!(!mount.at.starts_with(state.to_str().unwrap()), "{mount:?}");
    }
}
