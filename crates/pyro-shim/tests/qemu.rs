//! The life of a shim on real virtual machines. They need a kernel from the catalog's cache:
//!
//! ```text
//! PYRO_TEST_KERNEL=~/.cache/pyro/…/kernel-… cargo test -p pyro-shim --features real-vms
//! ```

mod room;

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use pyro_wire::agent::{AgentReply, AgentRequest};
use pyro_wire::fault::FaultCode;
use pyro_wire::launch::{AcceleratorChoice, EndReason, LaunchEvent};
use pyro_wire::shim::ShimReply;
use room::{Room, alive, exec, hear, kill, lock_is_free, say, signal};

#[test]
fn a_vm_boots_answers_and_stops_without_a_trace() {
    let room = Room::qemu();
    let mut shim = room.start();
    let running = shim.ready();
    assert_eq!(
        (running.backend.as_str(), running.accelerator.as_str()),
        ("qemu", "tcg")
    );
    assert!(running.vmm_version.is_some());
    let mut line = room.line();
    say(&mut line, &AgentRequest::Ping);
    let reply: AgentReply = hear(&mut line).unwrap().message().unwrap();
    assert_eq!(reply, AgentReply::Done);
    let qemu = room.status().vmm_pid.unwrap();
    let score = fs::read_to_string(format!("/proc/{qemu}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "500");
    assert_eq!(room.stop(0, true), ShimReply::Stopped);
    assert!(!alive(qemu) && !room.path().exists());
    assert!(shim.exit().success());
}

#[test]
fn a_stopped_disk_is_sound() {
    let room = Room::qemu();
    let mut disk = None;
    let room = room.edit_qemu(|qemu| disk = Some(qemu.disk[1].path.clone()));
    let mut shim = room.start();
    shim.ready();
    let mut line = room.line();
    exec(&mut line, "fill");
    line.shutdown(std::net::Shutdown::Write).unwrap();
    while hear(&mut line).is_some() {}
    assert_eq!(room.stop(10_000, false), ShimReply::Stopped);
    let check = Command::new("qemu-img")
        .arg("check")
        .arg(disk.unwrap())
        .output()
        .unwrap();
    assert!(check.status.success(), "{check:?}");
}

#[test]
fn the_death_of_qemu_is_told_at_once() {
    let room = Room::qemu();
    let mut shim = room.start();
    shim.ready();
    let mut line = room.line();
    exec(&mut line, "echo");
    let _started = hear(&mut line);
    kill(room.status().vmm_pid.unwrap());
    assert!(hear(&mut line).is_none());
    let ended = shim.end();
    assert_eq!(ended.reason, EndReason::Died);
    assert_eq!(ended.message, "QEMU was killed by signal 9 (SIGKILL)");
    assert_eq!(room.end_file(), ended);
    assert!(lock_is_free(room.path()));
}

#[test]
fn the_death_of_the_shim_ends_qemu() {
    let room = Room::qemu();
    let mut shim = room.start();
    shim.ready();
    let qemu = room.status().vmm_pid.unwrap();
    kill(shim.pid());
    room::eventually(|| !alive(qemu));
    room::eventually(|| lock_is_free(room.path()));
}

#[test]
fn a_living_qemu_holds_the_lock_alone() {
    let room = Room::qemu();
    let mut shim = room.start();
    shim.ready();
    let qemu = room.status().vmm_pid.unwrap();
    // A stopped QEMU cannot die of the shim's death before it is looked at.
    let held = |pid: u32| {
        fs::read_dir(format!("/proc/{pid}/fd")).unwrap().any(|fd| {
            fs::read_link(fd.unwrap().path()).is_ok_and(|file| file.ends_with("alive.lock"))
        })
    };
    assert!(held(qemu) && held(shim.pid()));
}

#[test]
fn guests_end_in_their_own_ways() {
    for (command, reason, words) in [
        (
            "poweroff",
            EndReason::GuestOff,
            "the guest switched itself off",
        ),
        ("reboot", EndReason::GuestOff, "the guest restarted itself"),
        (
            "panic",
            EndReason::Died,
            "Kernel panic - not syncing: sysrq triggered crash",
        ),
    ] {
        let room = Room::qemu();
        let mut shim = room.start();
        shim.ready();
        let mut line = room.line();
        exec(&mut line, command);
        let ended = shim.end();
        assert_eq!(ended.reason, reason, "{ended:?}");
        assert!(ended.message.contains(words), "{ended:?}");
        let traced = ended
            .console_tail
            .iter()
            .any(|line| line.contains("</TASK>"));
        assert_eq!(traced, reason == EndReason::Died, "{ended:?}");
    }
}

#[test]
fn a_signal_to_qemu_is_named() {
    let room = Room::qemu();
    let mut shim = room.start();
    shim.ready();
    signal(room.status().vmm_pid.unwrap(), Signal::SIGTERM);
    assert_eq!(shim.end().message, "a signal told QEMU to end");
}

#[test]
fn a_kernel_without_an_agent_fails_with_its_panic() {
    let room = Room::qemu();
    let room = room.edit_qemu(|qemu| fs::write(&qemu.initramfs, b"").unwrap());
    let mut shim = room.start();
    let LaunchEvent::Note(note) = shim.event() else {
        panic!("no note");
    };
    assert!(
        note.starts_with("boot attempt 1 failed (the guest's kernel gave up: Kernel panic"),
        "{note}"
    );
    let fault = shim.failed();
    assert_eq!(fault.code, FaultCode::BootFailed);
    assert!(
        fault
            .detail
            .iter()
            .any(|line| line.contains("Unable to mount root fs")),
        "{fault:#?}"
    );
    assert!(lock_is_free(room.path()));
}

#[test]
fn what_is_missing_is_named() {
    let room = Room::qemu();
    let room = room.edit_qemu(|qemu| qemu.binary = "/nowhere/qemu".into());
    assert_eq!(room.start().failed().code, FaultCode::VmmMissing);

    let room = Room::qemu();
    let room = room.edit_qemu(|qemu| qemu.disk[0].path = "/nowhere/disk".into());
    let fault = room.start().failed();
    assert_eq!(fault.code, FaultCode::NotFound);
    assert!(fault.message.contains("/nowhere/disk"));

    let room = Room::qemu();
    let room = room.edit_qemu(|qemu| fs::write(&qemu.disk[1].path, b"no qcow2").unwrap());
    let fault = room.start().failed();
    assert_eq!(fault.code, FaultCode::VmmFailed);
    assert_eq!(
        fault.message,
        "QEMU ended with exit status 1: Image is not in qcow2 format"
    );
}

#[test]
fn auto_finds_an_accelerator_and_says_why() {
    let room = Room::qemu();
    let room = room.edit_qemu(|qemu| qemu.accelerator = AcceleratorChoice::Auto);
    let mut shim = room.start();
    let running = shim.ready();
    assert!(running.accelerator_reason.contains("/dev/kvm") || running.accelerator == "kvm");
    room.stop(0, true);
}

/// A probe may have been right an hour ago. Where KVM works, this only shows that it is used.
#[test]
fn a_kvm_that_fails_is_given_up_for_emulation() {
    let room = Room::qemu();
    let mut cache = None;
    let room = room.edit_qemu(|qemu| {
        qemu.accelerator = AcceleratorChoice::Auto;
        cache = Some(qemu.probe_cache.clone());
    });
    let mut shim = room.start();
    shim.ready();
    room.stop(0, false);
    let cache = cache.unwrap();
    let Ok(book) = fs::read_to_string(&cache) else {
        // Not a matter of rights: CI may run where there is none.
        eprintln!("NOT PLAYED: no /dev/kvm that could be tried");
        return;
    };
    fs::write(
        &cache,
        book.replace("\"runs_guests\": false", "\"runs_guests\": true"),
    )
    .unwrap();
    let mut shim = room.start();
    let running = shim.ready();
    if book.contains("\"runs_guests\": true") {
        assert_eq!(running.accelerator, "kvm");
    } else {
        assert_eq!(
            (running.accelerator.as_str(), running.boot_attempts),
            ("tcg", 2)
        );
        assert!(
            running
                .accelerator_reason
                .starts_with("a guest failed to boot under KVM: "),
            "{}",
            running.accelerator_reason
        );
        let book = fs::read_to_string(&cache).unwrap();
        assert!(book.contains("a guest failed to boot under KVM"));
    }
    room.stop(0, true);
}

/// Needs the right to mount a small file system.
#[test]
fn a_full_disk_of_the_host_ends_a_vm_that_is_thrown_away_at_once() {
    let room = Room::qemu().edit(|spec| spec.remove_when_over = true);
    let small = room.workspace();
    let size = Some("size=64M");
    let flags = nix::mount::MsFlags::empty();
    if nix::mount::mount(Some("tmpfs"), &small, Some("tmpfs"), flags, size).is_err() {
        room::not_played("no right to mount");
        return;
    }
    let room = room.edit_qemu(|qemu| {
        let top = small.join("top.qcow2");
        room::guest::layer(&qemu.disk[0].path, &top);
        qemu.disk[1].path = top;
    });
    let mut shim = room.start();
    shim.ready();
    let mut line = room.line();
    exec(&mut line, "fill");
    let ended = shim.end();
    drop(shim);
    nix::mount::umount(&small).unwrap();
    assert_eq!(ended.reason, EndReason::NoSpace, "{ended:?}");
    assert_eq!(
        ended.message,
        "the host's disk is full: the VM could not write to its disk"
    );
}
