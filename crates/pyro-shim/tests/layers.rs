//! The disk of a VM that stays: layers on top of it, its end, and a host without space. They need
//! what `templates.rs` needs.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod harness;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::guest::empty_layer;
use harness::template::{Template, output};
use harness::{Harness, Shim, alive, exec, receive, signal, wait_until};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use pyro_wire::fault::FaultCode;
use pyro_wire::launch::{DiskFormat, DiskLayer, EndReason};
use pyro_wire::shim::{ShimReply, ShimRequest};

const MANY: usize = 50;

/// Writes without end, with what it has written on the disk after each round.
const WRITER: &str = "setsid sh -c 'n=0; while true; do n=$((n + 1)); \
    head -c 300000 /dev/urandom > /root/noise; md5sum /root/noise > /root/sum; sync; \
    echo $n > /root/rounds; done' > /dev/null 2>&1 &";

#[test]
fn layers_are_added_under_a_guest_that_writes() {
    let harness = Harness::real();
    let mut shim = started(&harness);
    output(&harness, WRITER);
    let mut disk = harness.disk();
    let mut frozen: Vec<Vec<u8>> = Vec::new();
    for number in 0..MANY {
        let layer = new_layer(&harness, &format!("layer {number}.qcow2"));
        assert_eq!(harness.add_layer(&layer), ShimReply::Done);
        // From here on nobody writes to it.
        frozen.push(fs::read(&disk.last().unwrap().path).unwrap());
        disk.push(layer);
        output(&harness, &format!("echo {number} > /root/mark-{number}"));
    }
    assert_eq!(harness.status().disk, disk);
    // It may be about to write the number, and has none then.
    let rounds =
        "until test \"$(cat /root/rounds)\" -gt 1; do sleep 0.1; done 2> /dev/null; echo yes";
    assert_eq!(output(&harness, rounds), "yes");
    assert_eq!(harness.stop(20_000, false), ShimReply::Stopped);
    assert_eq!(shim.end().message, "a stop was requested");
    for (layer, content) in disk[1..].iter().zip(&frozen) {
        let path = layer.path.display();
        assert!(fs::read(&layer.path).unwrap() == *content, "{path}");
    }
    for layer in &disk[1..] {
        check(&layer.path);
    }

    let harness = harness.edit_qemu(|qemu| qemu.disk = disk);
    let mut shim = harness.start();
    shim.ready();
    let all = output(&harness, "cat $(ls -v /root/mark-*) | tr '\\n' ' '");
    let expected: Vec<String> = (0..MANY).map(|number| number.to_string()).collect();
    assert_eq!(all, expected.join(" "));
    let sound = output(&harness, "dmesg | grep -ci ext4-fs.error; ls /root/sum");
    assert_eq!(sound, "0\n/root/sum");
    harness.stop(0, true);
}

#[test]
fn a_layer_that_is_refused_changes_nothing() {
    let harness = Harness::real();
    let _shim = started(&harness);
    let size = disk_size(&harness);
    let file = |name: &str, content: &[u8]| {
        let path = harness.workspace().join(name);
        fs::write(&path, content).unwrap();
        layer(path, DiskFormat::Qcow2)
    };
    // A sound header up to the size, and then nothing that QEMU understands.
    let mut damaged = b"QFI\xfb\0\0\0\x63".to_vec();
    damaged.resize(24, 0);
    damaged.extend(size.to_be_bytes());
    let top = harness.disk().pop().unwrap();
    let cases = [
        (
            layer(harness.workspace().join("nothing"), DiskFormat::Qcow2),
            FaultCode::NotFound,
            "cannot be opened",
        ),
        (
            empty_layer(&harness.workspace().join("small.qcow2"), size / 2),
            FaultCode::Refused,
            "has",
        ),
        (
            file("text", b"text"),
            FaultCode::Refused,
            "is not a qcow2 image",
        ),
        (
            layer(harness.workspace().join("text"), DiskFormat::Raw),
            FaultCode::Refused,
            "is not a qcow2 image",
        ),
        (
            file("damaged", &damaged),
            FaultCode::VmmFailed,
            "QEMU refused `blockdev-add`",
        ),
        (
            top.clone(),
            FaultCode::Refused,
            "is a layer of the disk already",
        ),
    ];
    for (layer, code, words) in cases {
        let ShimReply::Failed(fault) = harness.add_layer(&layer) else {
            panic!("{} was added", layer.path.display());
        };
        assert_eq!(fault.code, code, "{fault}");
        assert!(fault.message.contains(words), "{fault}");
        assert_eq!(harness.status().disk, harness.disk());
        assert_eq!(
            output(&harness, "echo on > /root/on; sync; cat /root/on"),
            "on"
        );
    }
    let good = new_layer(&harness, "good.qcow2");
    assert_eq!(harness.add_layer(&good), ShimReply::Done);
    let ShimReply::Failed(twice) = harness.add_layer(&good) else {
        panic!("added twice");
    };
    assert_eq!(twice.code, FaultCode::Refused, "{twice}");
    let mut disk = harness.disk();
    disk.push(good);
    assert_eq!(harness.status().disk, disk);
    harness.stop(0, true);
}

/// From the middle, and from below the one that is written to; then the VM is killed meanwhile.
#[test]
fn layers_are_taken_out_under_a_guest_that_writes() {
    let harness = Harness::real();
    let mut shim = started(&harness);
    output(&harness, WRITER);
    let mut disk = harness.disk();
    for number in 0..6 {
        let layer = new_layer(&harness, &format!("layer {number}.qcow2"));
        assert_eq!(harness.add_layer(&layer), ShimReply::Done);
        disk.push(layer);
        output(
            &harness,
            &format!("seq {number} 300000 > /root/mark-{number}; sync; sleep 0.3"),
        );
    }
    let marks = "md5sum /root/mark-*";
    let sums = output(&harness, marks);
    let merge = |layer: &DiskLayer| harness.request(&ShimRequest::MergeLayer(layer.path.clone()));
    for fixed in [
        &disk[0],
        disk.last().unwrap(),
        &new_layer(&harness, "other.qcow2"),
    ] {
        let ShimReply::Failed(fault) = merge(fixed) else {
            panic!("{} is on its way out", fixed.path.display());
        };
        assert_eq!(fault.code, FaultCode::Refused, "{fault}");
    }
    let top = disk.len() - 1;
    for at in [top - 3, top - 2] {
        let gone = disk.remove(at);
        assert_eq!(merge(&gone), ShimReply::Done);
        wait_until(|| harness.status().merging.is_none());
        assert_eq!(harness.status().merge_failed, None);
        assert_eq!(harness.status().disk, disk);
        // Its file is closed, and its space is free.
        let vmm = harness.status().vmm_pid.unwrap();
        wait_until(|| {
            let open = fs::read_dir(format!("/proc/{vmm}/fd")).unwrap();
            let mut paths = open.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
            !paths.any(|path| path == gone.path)
        });
        fs::remove_file(&gone.path).unwrap();
        assert_eq!(output(&harness, marks), sums);
    }
    // Goes on to be a disk like any other.
    let layer = new_layer(&harness, "layer 6.qcow2");
    assert_eq!(harness.add_layer(&layer), ShimReply::Done);
    disk.push(layer);
    let last = &disk[disk.len() - 2];
    assert_eq!(merge(last), ShimReply::Done);
    signal(harness.status().vmm_pid.unwrap(), Signal::SIGKILL);
    // Only now another one may have the folder.
    shim.end();

    let harness = harness.edit_qemu(|qemu| qemu.disk = disk.clone());
    let mut shim = harness.start();
    shim.ready();
    assert_eq!(output(&harness, marks), sums);
    let sound = output(&harness, "dmesg | grep -ci ext4-fs.error");
    assert!(sound.starts_with('0'), "{sound}");
    assert_eq!(harness.stop(20_000, false), ShimReply::Stopped);
    shim.end();
}

#[test]
fn a_layer_is_refused_while_the_vm_starts() {
    // One that never comes up by itself: a guest that fails is given up before we may have asked.
    let harness = Harness::new().behavior("mute");
    let _shim = harness.start();
    wait_until(|| harness::try_connect(harness.path()).is_ok());
    let layer = empty_layer(&harness.workspace().join("layer.qcow2"), 1 << 20);
    let ShimReply::Failed(fault) = harness.add_layer(&layer) else {
        panic!("added to nothing");
    };
    assert_eq!(fault.message, "the VM is still starting");
    harness.stop(0, true);
}

#[test]
fn what_was_written_outlives_every_end_but_a_hang() {
    let mut harness = Harness::real();
    let mut written = Vec::new();
    for (number, end) in ["idle", "stop", "signal"].into_iter().enumerate() {
        harness = harness.edit(|spec| spec.idle_ms = (end == "idle").then_some(1000));
        let mut shim = started(&harness);
        // Never synced by the guest's own programs.
        let all = output(
            &harness,
            &format!("seq 200000 > /root/seq-{number}; md5sum /root/seq-*"),
        );
        let now: Vec<String> = all.lines().map(str::to_owned).collect();
        assert_eq!(now[..number], written);
        written = now;
        match end {
            "stop" => assert_eq!(harness.stop(20_000, false), ShimReply::Stopped),
            "signal" => signal(shim.pid(), Signal::SIGTERM),
            _ => {}
        }
        let ended = shim.end();
        assert_eq!(ended.reason == EndReason::Idle, end == "idle", "{ended:?}");
        assert!(!ended.message.contains("lost"), "{ended:?}");
        check(&harness.disk().pop().unwrap().path);
    }
    let mut shim = harness.start();
    shim.ready();
    assert_eq!(output(&harness, "md5sum /root/seq-*"), written.join("\n"));
    harness.stop(0, true);
}

/// The guest handed it over and did not flush; QEMU knows where it is and has not written that down.
#[test]
fn what_qemu_holds_back_is_written_although_the_guest_has_no_time() {
    const WRITE: &str = "conv=notrunc bs=1M count=8 of=/root/place status=none";
    let harness = Harness::real();
    let mut shim = started(&harness);
    output(&harness, &format!("dd if=/dev/zero {WRITE}; sync"));
    let top = new_layer(&harness, "top.qcow2");
    assert_eq!(harness.add_layer(&top), ShimReply::Done);
    let handed = format!("seq 2000000 > /dev/shm/new; dd if=/dev/shm/new oflag=direct {WRITE}");
    let sum = output(
        &harness,
        &format!("{handed}; head -c 8M /dev/shm/new | md5sum"),
    );
    assert_eq!(harness.stop(0, false), ShimReply::Stopped);
    let ended = shim.end();
    assert!(ended.message.contains("did not flush"), "{ended:?}");
    check(&top.path);
    let harness = harness.edit_qemu(|qemu| qemu.disk.push(top));
    let _shim = started(&harness);
    assert_eq!(output(&harness, "md5sum < /root/place"), sum);
    harness.stop(0, true);
}

#[test]
fn a_machine_that_hangs_is_killed_when_its_time_is_over() {
    let harness = Harness::real();
    let mut shim = started(&harness);
    output(
        &harness,
        "echo kept > /root/kept; sync; echo lost > /root/lost",
    );
    let qemu = harness.status().vmm_pid.unwrap();
    signal(qemu, Signal::SIGSTOP);
    let path = harness.path().to_owned();
    let other = std::thread::spawn(move || harness::stop(&path, 60_000, false));
    assert_eq!(harness.stop(500, false), ShimReply::Stopped);
    assert_eq!(other.join().unwrap(), ShimReply::Stopped);
    assert!(!alive(qemu));
    let ended = shim.end();
    assert!(
        ended.message.contains("did not flush its disk in time"),
        "{ended:?}"
    );
    let mut shim = harness.start();
    shim.ready();
    assert_eq!(output(&harness, "cat /root/kept"), "kept");
    harness.stop(0, true);
}

#[test]
fn space_that_the_guest_frees_is_the_hosts_again() {
    let harness = Harness::real();
    let _shim = started(&harness);
    let top = new_layer(&harness, "added.qcow2");
    assert_eq!(harness.add_layer(&top), ShimReply::Done);
    let blocks = || fs::metadata(&top.path).unwrap().blocks() * 512;
    output(&harness, "head -c 60000000 /dev/urandom > /root/much; sync");
    assert!(blocks() > 60_000_000);
    output(
        &harness,
        "rm /root/much; sync; mount -o remount,discard /; fstrim /",
    );
    // The guest's kernel may free a file's blocks only with the commit after the next one.
    for _ in 0..20 {
        if blocks() < 20_000_000 {
            break;
        }
        output(&harness, "sleep 1; sync; fstrim /");
    }
    assert!(blocks() < 20_000_000, "{}", blocks());
    // Zeroes take none in the first place.
    output(&harness, "head -c 60000000 /dev/zero > /root/much; sync");
    assert!(blocks() < 20_000_000, "{}", blocks());
    harness.stop(0, true);
}

/// Needs the right to mount a small file system.
#[test]
fn a_guest_waits_for_space_and_goes_on() {
    let Some((harness, small)) = room_on_a_small_disk() else {
        return;
    };
    let mut shim = started(&harness);
    output(&harness, "echo before > /root/before; sync");
    let mut agent = harness.agent();
    exec(&mut agent, FILL);
    wait_until(|| harness.status().standstill.is_some());
    let why = harness.status().standstill.unwrap();
    assert!(why.starts_with("the host's disk is full"), "{why}");
    let ShimReply::Failed(fault) = harness.request(&ShimRequest::Agent) else {
        panic!("a line to a guest that stands still");
    };
    assert_eq!((fault.code, &fault.message), (FaultCode::NoSpace, &why));
    fs::remove_file(small.path.join("ballast")).unwrap();
    // The command ends well, and nothing of it is missing.
    while receive(&mut agent).is_some() {}
    wait_until(|| harness.status().standstill.is_none());
    let sums = output(
        &harness,
        "cat /root/before; echo 3 > /proc/sys/vm/drop_caches; md5sum /root/full",
    );
    assert_eq!(harness.stop(20_000, false), ShimReply::Stopped);
    assert_eq!(shim.end().reason, EndReason::Stopped);
    check(&harness.disk().pop().unwrap().path);
    let mut shim = harness.start();
    shim.ready();
    assert_eq!(
        output(&harness, "cat /root/before; md5sum /root/full"),
        sums
    );
    assert!(sums.starts_with("before\n"), "{sums}");
    harness.stop(0, true);
}

/// Needs the right to mount a small file system.
#[test]
fn a_host_without_space_ends_a_vm_that_loses_nothing() {
    let Some((harness, small)) = room_on_a_small_disk() else {
        return;
    };
    let mut shim = started(&harness);
    output(&harness, "echo before > /root/before; sync");
    let mut agent = harness.agent();
    exec(&mut agent, FILL);
    let ended = shim.end();
    assert_eq!(ended.reason, EndReason::NoSpace, "{ended:?}");
    assert_eq!(
        ended.message,
        "the host's disk is full: the VM could not write to its disk"
    );
    assert_eq!(harness.end_file(), ended);

    // Somebody who stops it meanwhile hears that not everything was written.
    fs::remove_file(small.path.join("ballast")).unwrap();
    let mut shim = harness.start();
    shim.ready();
    assert_eq!(output(&harness, "cat /root/before"), "before");
    small.fill();
    let mut agent = harness.agent();
    exec(&mut agent, FILL);
    wait_until(|| harness.status().standstill.is_some());
    let ShimReply::Failed(fault) = harness.stop(500, false) else {
        panic!("stopped as if nothing were lost");
    };
    assert_eq!(fault.code, FaultCode::NoSpace);
    assert_eq!(shim.end().reason, EndReason::NoSpace);
    fs::remove_file(small.path.join("ballast")).unwrap();
    let mut shim = harness.start();
    shim.ready();
    assert_eq!(output(&harness, "cat /root/before"), "before");
    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
}

#[test]
fn a_bare_template_resumes_on_any_number_of_layers() {
    let template = Template::bare();
    let first = template.harness("first");
    let mut shim = first.start();
    assert!(shim.ready().resumed);
    for number in 0..MANY {
        output(
            &first,
            &format!("echo {number} > /root/mark-{number}; sync"),
        );
        let layer = new_layer(&first, &format!("layer-{number}.qcow2"));
        assert_eq!(first.add_layer(&layer), ShimReply::Done);
    }
    let disk = first.status().disk;
    assert_eq!(first.stop(20_000, false), ShimReply::Stopped);
    shim.end();

    for layers in [disk.len(), 10, 3] {
        let second = template.harness("second").edit_qemu(|qemu| {
            let own = qemu.disk.pop().unwrap();
            qemu.disk = disk[..layers].to_vec();
            // Layers below are shared: this one is the VM's own.
            qemu.disk.push(empty_layer(&own.path, size_of(&disk)));
        });
        let mut shim = second.start();
        assert!(shim.ready().resumed);
        let last = output(&second, "ls -v /root | tail -n 1; hostname");
        let mark = (layers - 3).min(MANY - 1);
        assert_eq!(last, format!("mark-{mark}\nsecond"));
        second.stop(0, true);
    }
}

/// Somewhat more than what is free on the small disk while the ballast is there.
const FILL: &str = "yes 0123456789 | head -c 30000000 > /root/full; sync";

struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Leaves a few MiB.
    fn fill(&self) {
        let free = nix::sys::statvfs::statvfs(&self.path).unwrap();
        let free = free.blocks_available() * free.fragment_size();
        let ballast = free.saturating_sub(10 << 20);
        fs::write(self.path.join("ballast"), vec![1; ballast as usize]).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.path, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// A VM whose top layer is on a file system of 96 MiB that is nearly full.
fn room_on_a_small_disk() -> Option<(Harness, SmallDisk)> {
    let harness = Harness::real();
    let path = harness.workspace();
    let size = Some("size=96M");
    if mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), size).is_err() {
        harness::not_played("no right to mount");
        return None;
    }
    let small = SmallDisk { path };
    let size = disk_size(&harness);
    let top = empty_layer(&small.path.join("top.qcow2"), size);
    let harness = harness.edit_qemu(|qemu| *qemu.disk.last_mut().unwrap() = top);
    small.fill();
    Some((harness, small))
}

fn started(harness: &Harness) -> Shim {
    let mut shim = harness.start();
    shim.ready();
    shim
}

fn layer(path: PathBuf, format: DiskFormat) -> DiskLayer {
    DiskLayer { path, format }
}

fn new_layer(harness: &Harness, name: &str) -> DiskLayer {
    empty_layer(&harness.workspace().join(name), disk_size(harness))
}

fn disk_size(harness: &Harness) -> u64 {
    size_of(&harness.disk())
}

fn size_of(disk: &[DiskLayer]) -> u64 {
    fs::metadata(&disk[0].path).unwrap().len()
}

fn check(layer: &Path) {
    let check = Command::new("qemu-img").arg("check").arg(layer).output();
    let check = check.unwrap();
    assert!(check.status.success(), "{check:?}");
}
