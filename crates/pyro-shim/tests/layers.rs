//! The disk of a VM that stays: layers on top of it, its end, and a host without space. They need
//! what `templates.rs` needs.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod room;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use pyro_wire::fault::FaultCode;
use pyro_wire::launch::{DiskFormat, DiskLayer, EndReason};
use pyro_wire::shim::{ShimReply, ShimRequest, Stop};
use room::guest::empty_layer;
use room::template::{Template, output};
use room::{Room, Shim, alive, eventually, exec, hear, signal};

const MANY: usize = 50;

/// Writes without end, with what it has written on the disk after each round.
const WRITER: &str = "setsid sh -c 'n=0; while true; do n=$((n + 1)); \
    head -c 300000 /dev/urandom > /root/noise; md5sum /root/noise > /root/sum; sync; \
    echo $n > /root/rounds; done' > /dev/null 2>&1 &";

#[test]
fn layers_are_added_under_a_guest_that_writes() {
    let room = Room::real();
    let mut shim = started(&room);
    output(&room, WRITER);
    let mut disk = room.disk();
    let mut frozen: Vec<Vec<u8>> = Vec::new();
    for number in 0..MANY {
        let layer = new_layer(&room, &format!("layer {number}.qcow2"));
        assert_eq!(room.add_layer(&layer), ShimReply::Done);
        // From here on nobody writes to it.
        frozen.push(fs::read(&disk.last().unwrap().path).unwrap());
        disk.push(layer);
        output(&room, &format!("echo {number} > /root/mark-{number}"));
    }
    assert_eq!(room.status().disk, disk);
    assert_eq!(
        output(&room, "test $(cat /root/rounds) -gt 1 && echo yes"),
        "yes"
    );
    assert_eq!(room.stop(20_000, false), ShimReply::Stopped);
    assert_eq!(shim.end().message, "its end was requested");
    for (layer, content) in disk[1..].iter().zip(&frozen) {
        let path = layer.path.display();
        assert!(fs::read(&layer.path).unwrap() == *content, "{path}");
    }
    for layer in &disk[1..] {
        check(&layer.path);
    }

    let room = room.edit_qemu(|qemu| qemu.disk = disk);
    let mut shim = room.start();
    shim.ready();
    let all = output(&room, "cat $(ls -v /root/mark-*) | tr '\\n' ' '");
    let expected: Vec<String> = (0..MANY).map(|number| number.to_string()).collect();
    assert_eq!(all, expected.join(" "));
    let sound = output(&room, "dmesg | grep -ci ext4-fs.error; ls /root/sum");
    assert_eq!(sound, "0\n/root/sum");
    room.stop(0, true);
}

#[test]
fn a_layer_that_is_refused_changes_nothing() {
    let room = Room::real();
    let _shim = started(&room);
    let size = disk_size(&room);
    let file = |name: &str, content: &[u8]| {
        let path = room.workspace().join(name);
        fs::write(&path, content).unwrap();
        layer(path, DiskFormat::Qcow2)
    };
    // A sound header up to the size, and then nothing that QEMU understands.
    let mut damaged = b"QFI\xfb\0\0\0\x63".to_vec();
    damaged.resize(24, 0);
    damaged.extend(size.to_be_bytes());
    let top = room.disk().pop().unwrap();
    let cases = [
        (
            layer(room.workspace().join("nothing"), DiskFormat::Qcow2),
            FaultCode::NotFound,
            "cannot be opened",
        ),
        (
            empty_layer(&room.workspace().join("small.qcow2"), size / 2),
            FaultCode::Refused,
            "has",
        ),
        (
            file("text", b"text"),
            FaultCode::Refused,
            "is not a qcow2 image",
        ),
        (
            layer(room.workspace().join("text"), DiskFormat::Raw),
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
            FaultCode::VmmFailed,
            "QEMU refused `blockdev-add`",
        ),
    ];
    for (layer, code, words) in cases {
        let ShimReply::Failed(fault) = room.add_layer(&layer) else {
            panic!("{} was added", layer.path.display());
        };
        assert_eq!(fault.code, code, "{fault}");
        assert!(fault.message.contains(words), "{fault}");
        assert_eq!(room.status().disk, room.disk());
        assert_eq!(
            output(&room, "echo on > /root/on; sync; cat /root/on"),
            "on"
        );
    }
    let good = new_layer(&room, "good.qcow2");
    assert_eq!(room.add_layer(&good), ShimReply::Done);
    let ShimReply::Failed(twice) = room.add_layer(&good) else {
        panic!("added twice");
    };
    assert_eq!(twice.code, FaultCode::VmmFailed, "{twice}");
    let mut disk = room.disk();
    disk.push(good);
    assert_eq!(room.status().disk, disk);
    room.stop(0, true);
}

/// From the middle, and from below the one that is written to; then the VM is killed meanwhile.
#[test]
fn layers_are_taken_out_under_a_guest_that_writes() {
    let room = Room::real();
    let mut shim = started(&room);
    output(&room, WRITER);
    let mut disk = room.disk();
    for number in 0..6 {
        let layer = new_layer(&room, &format!("layer {number}.qcow2"));
        assert_eq!(room.add_layer(&layer), ShimReply::Done);
        disk.push(layer);
        output(
            &room,
            &format!("seq {number} 300000 > /root/mark-{number}; sync; sleep 0.3"),
        );
    }
    let marks = "md5sum /root/mark-*";
    let sums = output(&room, marks);
    let merge = |layer: &DiskLayer| room.request(&ShimRequest::MergeLayer(layer.path.clone()));
    for fixed in [
        &disk[0],
        disk.last().unwrap(),
        &new_layer(&room, "other.qcow2"),
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
        eventually(|| room.status().merging.is_none());
        assert_eq!(room.status().merge_failed, None);
        assert_eq!(room.status().disk, disk);
        // Its file is closed, and its space is free.
        let vmm = room.status().vmm_pid.unwrap();
        eventually(|| {
            let open = fs::read_dir(format!("/proc/{vmm}/fd")).unwrap();
            let mut paths = open.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
            !paths.any(|path| path == gone.path)
        });
        fs::remove_file(&gone.path).unwrap();
        assert_eq!(output(&room, marks), sums);
    }
    // Goes on to be a disk like any other.
    let layer = new_layer(&room, "layer 6.qcow2");
    assert_eq!(room.add_layer(&layer), ShimReply::Done);
    disk.push(layer);
    let last = &disk[disk.len() - 2];
    assert_eq!(merge(last), ShimReply::Done);
    signal(room.status().vmm_pid.unwrap(), Signal::SIGKILL);
    // Only now another one may have the folder.
    shim.end();

    let room = room.edit_qemu(|qemu| qemu.disk = disk.clone());
    let mut shim = room.start();
    shim.ready();
    assert_eq!(output(&room, marks), sums);
    let sound = output(&room, "dmesg | grep -ci ext4-fs.error");
    assert!(sound.starts_with('0'), "{sound}");
    assert_eq!(room.stop(20_000, false), ShimReply::Stopped);
    shim.end();
}

#[test]
fn a_layer_is_refused_while_the_vm_starts() {
    // One that never comes up by itself: a guest that fails is given up before we may have asked.
    let room = Room::new().mood("mute");
    let _shim = room.start();
    eventually(|| room::try_connect(room.path()).is_ok());
    let layer = empty_layer(&room.workspace().join("layer.qcow2"), 1 << 20);
    let ShimReply::Failed(fault) = room.add_layer(&layer) else {
        panic!("added to nothing");
    };
    assert_eq!(fault.message, "the VM is still starting");
    room.stop(0, true);
}

#[test]
fn what_was_written_outlives_every_end_but_a_hang() {
    let mut room = Room::real();
    let mut written = Vec::new();
    for (number, end) in ["idle", "stop", "signal"].into_iter().enumerate() {
        room = room.edit(|spec| spec.idle_ms = (end == "idle").then_some(1000));
        let mut shim = started(&room);
        // Never synced by the guest's own programs.
        let all = output(
            &room,
            &format!("seq 200000 > /root/seq-{number}; md5sum /root/seq-*"),
        );
        let now: Vec<String> = all.lines().map(str::to_owned).collect();
        assert_eq!(now[..number], written);
        written = now;
        match end {
            "stop" => assert_eq!(room.stop(20_000, false), ShimReply::Stopped),
            "signal" => signal(shim.pid(), Signal::SIGTERM),
            _ => {}
        }
        let ended = shim.end();
        assert_eq!(ended.reason == EndReason::Idle, end == "idle", "{ended:?}");
        assert!(!ended.message.contains("lost"), "{ended:?}");
        check(&room.disk().pop().unwrap().path);
    }
    let mut shim = room.start();
    shim.ready();
    assert_eq!(output(&room, "md5sum /root/seq-*"), written.join("\n"));
    room.stop(0, true);
}

/// The guest handed it over and did not flush; QEMU knows where it is and has not written that down.
#[test]
fn what_qemu_holds_back_is_written_although_the_guest_has_no_time() {
    const WRITE: &str = "conv=notrunc bs=1M count=8 of=/root/place status=none";
    let room = Room::real();
    let mut shim = started(&room);
    output(&room, &format!("dd if=/dev/zero {WRITE}; sync"));
    let top = new_layer(&room, "top.qcow2");
    assert_eq!(room.add_layer(&top), ShimReply::Done);
    let handed = format!("seq 2000000 > /dev/shm/new; dd if=/dev/shm/new oflag=direct {WRITE}");
    let sum = output(
        &room,
        &format!("{handed}; head -c 8M /dev/shm/new | md5sum"),
    );
    assert_eq!(room.stop(0, false), ShimReply::Stopped);
    let ended = shim.end();
    assert!(ended.message.contains("did not flush"), "{ended:?}");
    check(&top.path);
    let room = room.edit_qemu(|qemu| qemu.disk.push(top));
    let _shim = started(&room);
    assert_eq!(output(&room, "md5sum < /root/place"), sum);
    room.stop(0, true);
}

#[test]
fn a_machine_that_hangs_is_killed_when_its_time_is_over() {
    let room = Room::real();
    let mut shim = started(&room);
    output(
        &room,
        "echo kept > /root/kept; sync; echo lost > /root/lost",
    );
    let qemu = room.status().vmm_pid.unwrap();
    signal(qemu, Signal::SIGSTOP);
    let path = room.path().to_owned();
    let other = std::thread::spawn(move || room::stop(&path, 60_000, false));
    assert_eq!(room.stop(500, false), ShimReply::Stopped);
    assert_eq!(other.join().unwrap(), ShimReply::Stopped);
    assert!(!alive(qemu));
    let ended = shim.end();
    assert!(
        ended.message.contains("did not flush its disk in time"),
        "{ended:?}"
    );
    let mut shim = room.start();
    shim.ready();
    assert_eq!(output(&room, "cat /root/kept"), "kept");
    room.stop(0, true);
}

#[test]
fn space_that_the_guest_frees_is_the_hosts_again() {
    let room = Room::real();
    let _shim = started(&room);
    let top = new_layer(&room, "added.qcow2");
    assert_eq!(room.add_layer(&top), ShimReply::Done);
    let blocks = || fs::metadata(&top.path).unwrap().blocks() * 512;
    output(&room, "head -c 60000000 /dev/urandom > /root/much; sync");
    assert!(blocks() > 60_000_000);
    output(
        &room,
        "rm /root/much; sync; mount -o remount,discard /; fstrim /",
    );
    assert!(blocks() < 20_000_000, "{}", blocks());
    // Zeroes take none in the first place.
    output(&room, "head -c 60000000 /dev/zero > /root/much; sync");
    assert!(blocks() < 20_000_000, "{}", blocks());
    room.stop(0, true);
}

/// Needs the right to mount a small file system.
#[test]
fn a_guest_waits_for_space_and_goes_on() {
    let Some((room, small)) = room_on_a_small_disk() else {
        return;
    };
    let mut shim = started(&room);
    output(&room, "echo before > /root/before; sync");
    let mut line = room.line();
    exec(&mut line, FILL);
    eventually(|| room.status().standstill.is_some());
    let why = room.status().standstill.unwrap();
    assert!(why.starts_with("the host's disk is full"), "{why}");
    let ShimReply::Failed(fault) = room.request(&ShimRequest::Agent) else {
        panic!("a line to a guest that stands still");
    };
    assert_eq!((fault.code, &fault.message), (FaultCode::NoSpace, &why));
    fs::remove_file(small.path.join("ballast")).unwrap();
    // The command ends well, and nothing of it is missing.
    while hear(&mut line).is_some() {}
    eventually(|| room.status().standstill.is_none());
    let sums = output(
        &room,
        "cat /root/before; echo 3 > /proc/sys/vm/drop_caches; md5sum /root/full",
    );
    assert_eq!(room.stop(20_000, false), ShimReply::Stopped);
    assert_eq!(shim.end().reason, EndReason::Stopped);
    check(&room.disk().pop().unwrap().path);
    let mut shim = room.start();
    shim.ready();
    assert_eq!(output(&room, "cat /root/before; md5sum /root/full"), sums);
    assert!(sums.starts_with("before\n"), "{sums}");
    room.stop(0, true);
}

/// Needs the right to mount a small file system.
#[test]
fn a_host_without_space_ends_a_vm_that_loses_nothing() {
    let Some((room, small)) = room_on_a_small_disk() else {
        return;
    };
    let mut shim = started(&room);
    output(&room, "echo before > /root/before; sync");
    let mut line = room.line();
    exec(&mut line, FILL);
    let ended = shim.end();
    assert_eq!(ended.reason, EndReason::NoSpace, "{ended:?}");
    assert_eq!(
        ended.message,
        "the host's disk is full: the VM could not write to its disk"
    );
    assert_eq!(room.end_file(), ended);

    // Somebody who stops it meanwhile hears that not everything was written.
    fs::remove_file(small.path.join("ballast")).unwrap();
    let mut shim = room.start();
    shim.ready();
    assert_eq!(output(&room, "cat /root/before"), "before");
    small.fill();
    let mut line = room.line();
    exec(&mut line, FILL);
    eventually(|| room.status().standstill.is_some());
    let ShimReply::Failed(fault) = room.stop(500, false) else {
        panic!("stopped as if nothing were lost");
    };
    assert_eq!(fault.code, FaultCode::NoSpace);
    assert_eq!(shim.end().reason, EndReason::NoSpace);
    fs::remove_file(small.path.join("ballast")).unwrap();
    let mut shim = room.start();
    shim.ready();
    assert_eq!(output(&room, "cat /root/before"), "before");
    let stop = Stop {
        grace_ms: 0,
        remove: true,
        at_once: false,
    };
    assert_eq!(room.request(&ShimRequest::Stop(stop)), ShimReply::Stopped);
}

#[test]
fn a_bare_template_resumes_on_any_number_of_layers() {
    let template = Template::saved(false);
    let first = template.room("first");
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
        let second = template.room("second").edit_qemu(|qemu| {
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
fn room_on_a_small_disk() -> Option<(Room, SmallDisk)> {
    let room = Room::real();
    let path = room.workspace();
    let size = Some("size=96M");
    if mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), size).is_err() {
        room::not_played("no right to mount");
        return None;
    }
    let small = SmallDisk { path };
    let size = disk_size(&room);
    let top = empty_layer(&small.path.join("top.qcow2"), size);
    let room = room.edit_qemu(|qemu| *qemu.disk.last_mut().unwrap() = top);
    small.fill();
    Some((room, small))
}

fn started(room: &Room) -> Shim {
    let mut shim = room.start();
    shim.ready();
    shim
}

fn layer(path: PathBuf, format: DiskFormat) -> DiskLayer {
    DiskLayer { path, format }
}

fn new_layer(room: &Room, name: &str) -> DiskLayer {
    empty_layer(&room.workspace().join(name), disk_size(room))
}

fn disk_size(room: &Room) -> u64 {
    size_of(&room.disk())
}

fn size_of(disk: &[DiskLayer]) -> u64 {
    fs::metadata(&disk[0].path).unwrap().len()
}

fn check(layer: &Path) {
    let check = Command::new("qemu-img").arg("check").arg(layer).output();
    let check = check.unwrap();
    assert!(check.status.success(), "{check:?}");
}
