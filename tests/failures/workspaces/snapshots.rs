//! Snapshots and stopped disks when things fail: kills of everything in the middle of everything, a
//! guest that writes hard, damaged layers, and a full disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::world::{eventually, finish};
use pyro_tests::{Backend, Workspace, World};
use serde_json::{Value, json};

use super::kill_points::{at_many_moments, forget_the_killed};
use super::layers;
use crate::background_command::BackgroundCommand;
use crate::error;
use crate::mounts::Mounts;
use crate::processes::{self, Role};

crate::stories![[process, vm, gvisor]: a_killed_pyro_leaves_the_old_state_or_the_new];

mod in_guests {
    use super::*;
    crate::stories![[vm, gvisor]:
        a_killed_machine_leaves_the_old_state_or_the_new,
        a_snapshot_under_a_guest_that_writes_is_clean_and_whole,
    ];
}

/// Layers that are files: `layers.rs` has the same of those that are folders.
mod on_vms {
    use super::*;
    crate::stories![Vm:
        a_copy_that_fails_leaves_nothing_and_damage_is_told,
        what_is_deleted_gives_its_space_back,
        a_state_that_is_not_in_use_is_merged_while_others_work,
    ];
}

const LONG: Duration = Duration::from_secs(60);

fn snapshots(workspace: &Workspace<'_>) -> Vec<String> {
    let listed = workspace.done("snapshot_list", json!({}));
    let snapshots = listed["snapshots"].as_array().unwrap().iter();
    let name = |one: &Value| one["snapshot_name"].as_str().unwrap().to_owned();
    snapshots
        .map(name)
        .filter(|name| name != "baseline")
        .collect()
}

/// Each snapshot holds its own name, in a file that is large enough to be in many places.
fn write_state(workspace: &Workspace<'_>, name: &str) {
    workspace.long_output(&format!(
        "yes {name} | head -n 150000 > file; cp file other; sync"
    ));
}

/// The one name that the files hold.
fn state(workspace: &Workspace<'_>) -> String {
    let said = workspace.long_output("cmp file other; uniq file");
    said.trim().to_owned()
}

/// What is listed can be gone back to; some of it, as it takes a VM each.
fn assert_sound(workspace: &Workspace<'_>) {
    let all = snapshots(workspace);
    for name in all.into_iter().step_by(3) {
        workspace.reset_to(&name);
        assert_eq!(state(workspace), name);
    }
}

/// `kill -9` of the command line in the middle of create, reset and delete.
fn a_killed_pyro_leaves_the_old_state_or_the_new(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let id = workspace.id();
    let create = |round: u32| {
        write_state(&workspace, &format!("s{round}"));
        let name = format!("s{round}");
        world.pyro(["workspace", "snapshot", "create", id, &name])
    };
    at_many_moments(world, create, |round| {
        // Whether it was kept or not, the workspace goes on where it was.
        assert_eq!(state(&workspace), format!("s{round}"));
    });
    assert_sound(&workspace);
    let kept = snapshots(&workspace);
    assert!(kept.contains(&"s0".to_owned()), "{kept:?}");

    let reset = |round: u32| {
        write_state(&workspace, &format!("x{round}"));
        world.pyro(["workspace", "reset", id, "--snapshot", "s0"])
    };
    at_many_moments(world, reset, |round| {
        let now = state(&workspace);
        assert!(now == "s0" || now == format!("x{round}"), "{now}");
    });
    assert_eq!(snapshots(&workspace), kept);

    // As many as are to be deleted, with something of its own in each.
    workspace.reset_to("s0");
    for number in 0..rounds(world) {
        let name = format!("d{number}");
        write_state(&workspace, &name);
        workspace.snapshot(&name);
    }
    write_state(&workspace, "last");
    let delete = |round: u32| {
        let name = format!("d{}", round % rounds(world));
        world.pyro(["workspace", "snapshot", "delete", id, &name])
    };
    at_many_moments(world, delete, |_| assert_eq!(state(&workspace), "last"));
    assert_sound(&workspace);
    // What is left goes as well, and is merged with what kills have left over.
    for name in snapshots(&workspace) {
        workspace.delete_snapshot(&name);
    }
    if world.backend == Backend::Gvisor {
        // What a guest works on stays as it is.
        workspace.done("stop", json!({}));
    }
    if world.backend != Backend::Process {
        let disks = world.state_dir().join("workspaces").join(id).join("disk");
        let left = fs::read_dir(disks).unwrap().count();
        assert_eq!(left, 2, "the baseline and the layer in use");
    }
    assert!(!state(&workspace).is_empty());
    drop(workspace);
    forget_the_killed(world);
}

/// As many rounds as there are moments.
fn rounds(world: &World) -> u32 {
    match world.backend {
        Backend::Process => 25,
        Backend::Vm | Backend::Gvisor => 6,
    }
}

/// `kill -9` of the shim and of QEMU in the middle of create, delete and reset.
fn a_killed_machine_leaves_the_old_state_or_the_new(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let id = workspace.id();
    for name in ["a", "b", "c"] {
        write_state(&workspace, name);
        workspace.snapshot(name);
    }
    let mut round = 0;
    for role in [Role::Shim, Role::Machine] {
        for (words, pause) in [
            (&["snapshot", "create"][..], 40),
            (&["snapshot", "delete"], 30),
            (&["reset", "--snapshot"], 100),
        ] {
            round += 1;
            let name = format!("n{round}");
            write_state(&workspace, &name);
            let mut command = vec!["workspace"];
            command.extend(words);
            let argument = match words {
                ["snapshot", "create"] => name.as_str(),
                ["snapshot", "delete"] => {
                    workspace.snapshot("middle");
                    workspace.output("echo above > above; sync");
                    "middle"
                }
                _ => "a",
            };
            match words {
                ["reset", flag] => {
                    command = vec!["workspace", "reset", id, flag, argument];
                }
                _ => command.extend([id, argument]),
            }
            let mut child = world
                .pyro(&command)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(pause));
            processes::signal(world, role, Signal::SIGKILL);
            // It comes to an end, whichever.
            child.wait().unwrap();
            let now = state(&workspace);
            match words {
                ["reset", _] => assert!(now == "a" || now == name, "{now}"),
                _ => assert_eq!(now, name, "{role:?} {words:?}"),
            }
            let left = snapshots(&workspace);
            if left.contains(&"middle".to_owned()) {
                workspace.reset_to("middle");
                assert_eq!(state(&workspace), name);
                workspace.delete_snapshot("middle");
            }
        }
    }
    assert_sound(&workspace);
    drop(workspace);
    forget_the_killed(world);
}

/// What a program had on the disk, as far as `fsync` told it, is in every snapshot after that.
fn a_snapshot_under_a_guest_that_writes_is_clean_and_whole(world: &World) {
    const WRITER: &str = r#"
import os, hashlib
log = open("/workspace/log", "ab", 0)
number = 0
while True:
    number += 1
    block = hashlib.sha256(str(number).encode()).digest() * 512
    with open("/workspace/block-%d" % (number % 40), "wb") as file:
        file.write(number.to_bytes(8, "big") + block)
        file.flush()
        os.fsync(file.fileno())
    log.write(b"%d\n" % number)
    os.fsync(log.fileno())
    # Only what is on the disk is said, and always a whole number.
    with open("/dev/shm/saying", "w") as said:
        said.write(str(number))
    os.rename("/dev/shm/saying", "/dev/shm/said")
"#;
    const CHECKER: &str = r#"
import hashlib, glob
last = max(int(line) for line in open("/workspace/log") if line.strip())
seen = {}
for path in glob.glob("/workspace/block-*"):
    data = open(path, "rb").read()
    number = int.from_bytes(data[:8], "big")
    whole = data[8:] == hashlib.sha256(str(number).encode()).digest() * 512
    # The one that was being written may be torn; all others are whole.
    if whole: seen[number] = True
missing = [n for n in range(max(1, last - 38), last + 1) if n not in seen]
print(last, len(missing))
"#;
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    workspace.write("writer.py", WRITER);
    workspace.write("checker.py", CHECKER);
    workspace.output("setsid python3 writer.py > /dev/null 2>&1 & until test -s /dev/shm/said; do sleep 0.1; done");
    let says = || -> u64 {
        let said = workspace.output("cat /dev/shm/said");
        said.trim().parse().unwrap()
    };
    let mut said = Vec::new();
    for number in 0..4 {
        let before = says();
        workspace.snapshot(&format!("s{number}"));
        said.push(before);
    }
    eventually("it goes on writing", LONG, || says() > said[3]);
    for (number, before) in said.into_iter().enumerate() {
        workspace.reset_to(&format!("s{number}"));
        let told = workspace
            .long_output("python3 checker.py; dmesg | grep -ci 'recovery\\|ext4-fs.error'; true");
        let numbers: Vec<u64> = told
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect();
        assert!(numbers[0] >= before, "{numbers:?} after {before}");
        assert_eq!(numbers[1..], [0, 0], "{numbers:?}");
    }
}

/// Copies of a disk: killed, onto a full disk, and of layers that are damaged.
fn a_copy_that_fails_leaves_nothing_and_damage_is_told(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    workspace.long_output("head -c 24M /dev/urandom > noise; mkdir d; echo x > d/file; sync");
    workspace.snapshot("one");
    workspace.output("echo y > d/file; sync");
    workspace.done("stop", json!({}));
    let parent = world.folder().join("copies");
    fs::create_dir(&parent).unwrap();
    let image = parent.join("image");
    let export = |to: &PathBuf| {
        let mut export = world.pyro(["workspace", "disk", "export", workspace.id(), "--output"]);
        export.arg(to);
        export
    };
    let check = || {
        let checked = finish(
            Command::new("/usr/sbin/e2fsck")
                .args(["-f", "-n"])
                .arg(&image),
        );
        assert_eq!(checked.code(), 0, "{}{}", checked.out(), checked.err());
        fs::remove_file(&image).unwrap();
    };
    at_many_moments(
        world,
        |_| export(&image),
        |_| {
            if image.exists() {
                check();
            }
        },
    );
    error::none(&finish(&mut export(&image)));
    check();
    assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);

    // What does not fit leaves nothing, as seen from where it was to be.
    let small = world.folder().join("small");
    fs::create_dir(&small).unwrap();
    let mut script = Command::new("sh");
    script
        .args([
            "-c",
            "\"$0\" workspace disk export \"$1\" --output \"$2/image\" --json > \"$3\"; \
             test $? = 1 && test -z \"$(ls -A \"$2\")\"",
        ])
        .arg(pyro_tests::world::pyro())
        .arg(workspace.id())
        .arg(&small)
        .arg(world.folder().join("told"))
        .envs(world.variables());
    let ran = finish(&mut Mounts::new().tmpfs(&small, "size=16m").around(&script));
    let told = fs::read_to_string(world.folder().join("told")).unwrap();
    assert_eq!(ran.code(), 0, "{told}{}", ran.err());
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["code"], "no_space", "{told:#}");

    // A layer that is damaged, in its header, in its tables, and cut off.
    let layer = layers(world, &workspace)
        .into_iter()
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let sound = fs::read(&layer).unwrap();
    for damage in 0..4 {
        let mut bytes = sound.clone();
        match damage {
            0 => bytes[..64].fill(0xff),
            1 => bytes[0x28..0x30].fill(0x7f),
            2 => bytes.truncate(sound.len() / 3),
            _ => bytes.clear(),
        }
        fs::write(&layer, &bytes).unwrap();
        for (operation, arguments) in [
            ("disk_list", json!({ "path": "d" })),
            ("disk_read", json!({ "path": "noise" })),
            ("disk_export", json!({ "output_path": image })),
            // No guest is to write on top of what it cannot see.
            ("start", json!({})),
        ] {
            workspace.refused(operation, arguments, "damaged");
            assert!(!image.exists());
        }
    }
    fs::write(&layer, &sound).unwrap();
    // Nothing of that was written to.
    assert_eq!(workspace.output("cat d/file"), "y\n");
    assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
    drop(workspace);
    forget_the_killed(world);
}

/// Files that no state holds any more take no space on the host, also when a snapshot held them.
fn what_is_deleted_gives_its_space_back(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let disks = world
        .state_dir()
        .join("workspaces")
        .join(workspace.id())
        .join("disk");
    let taken = || -> u64 {
        let layers = fs::read_dir(&disks).unwrap();
        layers
            .map(|layer| layer.unwrap().metadata().unwrap().blocks() * 512)
            .sum()
    };
    let begin = taken();
    let (large, few) = (24 << 20, 8 << 20);
    let noise = format!("head -c {large} /dev/urandom > noise; sync");
    workspace.long_output(&noise);
    assert!(taken() >= begin + large);
    // Without a snapshot, as soon as the guest's file system is done with it.
    workspace.output("rm noise; sync");
    eventually("the space is given back", LONG, || taken() < begin + few);
    workspace.long_output(&noise);
    workspace.snapshot("with");
    workspace.output("rm noise; sync");
    workspace.snapshot("without");
    assert!(taken() >= begin + large);
    workspace.delete_snapshot("with");
    workspace.delete_snapshot("without");
    eventually("the space is given back", LONG, || taken() < begin + few);
}

/// Whoever merges stands still in the middle of it, and is killed there at the end.
fn a_state_that_is_not_in_use_is_merged_while_others_work(world: &World) {
    let surface = CommandLine(world);
    let workspace = Workspace::new(world, &surface);
    let id = workspace.id();
    // The first is what every merge has to copy.
    for (name, size) in [("a", "40M"), ("b", "2M"), ("c", "2M"), ("d", "2M")] {
        workspace.long_output(&format!(
            "head -c {size} /dev/urandom > {name}; echo {name} > file; sync"
        ));
        workspace.snapshot(name);
    }
    let sums = workspace.long_output("md5sum a b c d");
    workspace.reset_to("baseline");
    let folder = world.state_dir().join("workspaces").join(id);
    let merging = || {
        let mut entries = fs::read_dir(&folder).unwrap().map(Result::unwrap);
        let place = entries.find(|one| one.file_name().to_string_lossy().starts_with("merging-"));
        place.map(|one| one.path())
    };
    let stands_in_the_middle = |name: &str| {
        let mut delete = world.pyro(["workspace", "snapshot", "delete", id, name]);
        let delete = BackgroundCommand::start(world, &mut delete);
        let is_begun = || {
            let layers = merging().and_then(|place| fs::read_dir(place).ok());
            layers.into_iter().flatten().flatten().any(|layer| {
                let layer = layer.metadata();
                layer.is_ok_and(|layer| layer.blocks() * 512 > 1 << 20)
            })
        };
        let deadline = Instant::now() + LONG;
        while !is_begun() {
            assert!(Instant::now() < deadline, "nothing is merged");
        }
        delete.signal(Signal::SIGSTOP);
        assert!(merging().is_some(), "it was over before it stood still");
        // None of this waits, and none of it clears away what is being made.
        assert_eq!(workspace.output("echo on"), "on\n");
        workspace.snapshot("meanwhile");
        workspace.reset_to("meanwhile");
        workspace.delete_snapshot("meanwhile");
        assert!(merging().is_some(), "what it makes was cleared away");
        delete
    };
    let delete = stands_in_the_middle("a");
    delete.signal(Signal::SIGCONT);
    error::none(&delete.ends_within(LONG));
    assert_eq!(merging(), None);
    let delete = stands_in_the_middle("b");
    delete.signal(Signal::SIGKILL);
    delete.ends_at_once();
    // What it made is left over, until somebody tidies up.
    assert!(merging().is_some());
    workspace.snapshot("last");
    workspace.delete_snapshot("last");
    assert_eq!(merging(), None);
    for name in ["c", "d"] {
        workspace.reset_to(name);
        assert_eq!(workspace.read("file"), format!("{name}\n"));
        let check = "md5sum $(cat list) 2>&1";
        workspace.write("list", &"a b c d"[..if name == "c" { 5 } else { 7 }]);
        assert!(sums.starts_with(&workspace.long_output(check)), "{name}");
    }
    drop(workspace);
    forget_the_killed(world);
}
