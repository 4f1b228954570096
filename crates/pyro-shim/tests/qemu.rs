//! The life of a shim on real virtual machines. They need a kernel from the catalog's cache:
//!
//! ```text
//! PYRO_TEST_KERNEL=~/.cache/pyro/…/kernel-… cargo test -p pyro-shim --features real-vms
//! ```

mod harness;

use std::fs;
use std::process::Command;

use harness::{Harness, alive, exec, kill, lock_is_free, receive, send, signal};
use nix::sys::signal::Signal;
use pyro_wire::agent::{AgentReply, AgentRequest};
use pyro_wire::fault::FaultCode;
use pyro_wire::launch::{AcceleratorChoice, EndReason, LaunchEvent};
use pyro_wire::shim::ShimReply;

#[test]
fn a_vm_boots_answers_and_stops_without_a_trace() {
    let harness = Harness::qemu();
    let mut shim = harness.start();
    let running = shim.ready();
    assert_eq!(
        (running.backend.as_str(), running.accelerator.as_str()),
        ("qemu", "tcg")
    );
    assert!(running.vmm_version.is_some());
    let mut agent = harness.agent();
    send(&mut agent, &AgentRequest::Ping);
    let reply: AgentReply = receive(&mut agent).unwrap().message().unwrap();
    assert_eq!(reply, AgentReply::Done);
    let qemu = harness.status().vmm_pid.unwrap();
    let score = fs::read_to_string(format!("/proc/{qemu}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "500");
    assert_eq!(harness.stop(0, true), ShimReply::Stopped);
    assert!(!alive(qemu) && !harness.path().exists());
    assert!(shim.exit().success());
}

#[test]
fn a_stopped_disk_is_sound() {
    let harness = Harness::qemu();
    let mut disk = None;
    let harness = harness.edit_qemu(|qemu| disk = Some(qemu.disk[1].path.clone()));
    let mut shim = harness.start();
    shim.ready();
    let mut agent = harness.agent();
    exec(&mut agent, "fill");
    agent.shutdown(std::net::Shutdown::Write).unwrap();
    while receive(&mut agent).is_some() {}
    assert_eq!(harness.stop(10_000, false), ShimReply::Stopped);
    let check = Command::new("qemu-img")
        .arg("check")
        .arg(disk.unwrap())
        .output()
        .unwrap();
    assert!(check.status.success(), "{check:?}");
}

#[test]
fn the_death_of_qemu_is_told_at_once() {
    let harness = Harness::qemu();
    let mut shim = harness.start();
    shim.ready();
    let mut agent = harness.agent();
    exec(&mut agent, "echo");
    let _started = receive(&mut agent);
    kill(harness.status().vmm_pid.unwrap());
    assert!(receive(&mut agent).is_none());
    let ended = shim.end();
    assert_eq!(ended.reason, EndReason::Died);
    assert_eq!(ended.message, "QEMU was killed by signal 9 (SIGKILL)");
    assert_eq!(harness.end_file(), ended);
    assert!(lock_is_free(harness.path()));
}

#[test]
fn the_death_of_the_shim_ends_qemu() {
    let harness = Harness::qemu();
    let mut shim = harness.start();
    shim.ready();
    let qemu = harness.status().vmm_pid.unwrap();
    kill(shim.pid());
    harness::wait_until(|| !alive(qemu));
    harness::wait_until(|| lock_is_free(harness.path()));
}

#[test]
fn a_living_qemu_holds_the_lock_alone() {
    let harness = Harness::qemu();
    let mut shim = harness.start();
    shim.ready();
    let qemu = harness.status().vmm_pid.unwrap();
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
        ("poweroff", EndReason::GuestOff, "the guest powered off"),
        ("reboot", EndReason::GuestOff, "the guest rebooted"),
        (
            "panic",
            EndReason::Died,
            "Kernel panic - not syncing: sysrq triggered crash",
        ),
    ] {
        let harness = Harness::qemu();
        let mut shim = harness.start();
        shim.ready();
        let mut agent = harness.agent();
        exec(&mut agent, command);
        let ended = shim.end();
        assert_eq!(ended.reason, reason, "{ended:?}");
        assert!(ended.message.contains(words), "{ended:?}");
        let traced = ended
            .console_tail
            .iter()
            .any(|agent| agent.contains("</TASK>"));
        assert_eq!(traced, reason == EndReason::Died, "{ended:?}");
    }
}

#[test]
fn a_signal_to_qemu_is_named() {
    let harness = Harness::qemu();
    let mut shim = harness.start();
    shim.ready();
    signal(harness.status().vmm_pid.unwrap(), Signal::SIGTERM);
    assert_eq!(shim.end().message, "QEMU was ended by a signal");
}

#[test]
fn a_kernel_without_an_agent_fails_with_its_panic() {
    let harness = Harness::qemu();
    let harness = harness.edit_qemu(|qemu| fs::write(&qemu.initramfs, b"").unwrap());
    let mut shim = harness.start();
    let LaunchEvent::Note(note) = shim.event() else {
        panic!("no note");
    };
    assert!(
        note.starts_with("boot attempt 1 failed (the guest's kernel crashed: Kernel panic"),
        "{note}"
    );
    let fault = shim.failed();
    assert_eq!(fault.code, FaultCode::BootFailed);
    assert!(
        fault
            .detail
            .iter()
            .any(|agent| agent.contains("Unable to mount root fs")),
        "{fault:#?}"
    );
    assert!(lock_is_free(harness.path()));
}

#[test]
fn what_is_missing_is_named() {
    let harness = Harness::qemu();
    let harness = harness.edit_qemu(|qemu| qemu.binary = "/nowhere/qemu".into());
    assert_eq!(harness.start().failed().code, FaultCode::VmmMissing);

    let harness = Harness::qemu();
    let harness = harness.edit_qemu(|qemu| qemu.disk[0].path = "/nowhere/disk".into());
    let fault = harness.start().failed();
    assert_eq!(fault.code, FaultCode::NotFound);
    assert!(fault.message.contains("/nowhere/disk"));

    let harness = Harness::qemu();
    let harness = harness.edit_qemu(|qemu| fs::write(&qemu.disk[1].path, b"no qcow2").unwrap());
    let fault = harness.start().failed();
    assert_eq!(fault.code, FaultCode::VmmFailed);
    assert_eq!(
        fault.message,
        "QEMU exited with status 1: Image is not in qcow2 format"
    );
}

#[test]
fn auto_finds_an_accelerator_and_says_why() {
    let harness = Harness::qemu();
    let harness = harness.edit_qemu(|qemu| qemu.accelerator = AcceleratorChoice::Auto);
    let mut shim = harness.start();
    let running = shim.ready();
    assert!(running.accelerator_reason.contains("/dev/kvm") || running.accelerator == "kvm");
    harness.stop(0, true);
}

/// A probe may have been right an hour ago. Where KVM works, this only shows that it is used.
#[test]
fn a_kvm_that_fails_is_given_up_for_emulation() {
    let harness = Harness::qemu();
    let mut cache = None;
    let harness = harness.edit_qemu(|qemu| {
        qemu.accelerator = AcceleratorChoice::Auto;
        cache = Some(qemu.probe_cache.clone());
    });
    let mut shim = harness.start();
    shim.ready();
    harness.stop(0, false);
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
    let mut shim = harness.start();
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
    harness.stop(0, true);
}

#[test]
fn a_kernel_that_does_not_boot_without_compression_boots_with_it() {
    let harness = Harness::qemu().edit_qemu(harness::guest::damage_vmlinux);
    let mut shim = harness.start();
    let LaunchEvent::Note(note) = shim.event() else {
        panic!("no note");
    };
    assert!(
        note.starts_with("boot attempt 1 failed (the guest rebooted)"),
        "{note}"
    );
    let running = shim.ready();
    assert_eq!(
        (running.boot_attempts, running.booted_kernel.as_deref()),
        (
            2,
            Some("compressed: without compression it did not boot: the guest rebooted")
        )
    );
    harness.stop(0, true);
}

/// Needs the right to mount a small file system.
#[test]
fn a_full_disk_of_the_host_ends_a_vm_that_is_thrown_away_at_once() {
    let harness = Harness::qemu().edit(|spec| spec.remove_when_over = true);
    let small = harness.workspace();
    let size = Some("size=64M");
    let flags = nix::mount::MsFlags::empty();
    if nix::mount::mount(Some("tmpfs"), &small, Some("tmpfs"), flags, size).is_err() {
        harness::not_played("no right to mount");
        return;
    }
    let harness = harness.edit_qemu(|qemu| {
        let top = small.join("top.qcow2");
        harness::guest::layer(&qemu.disk[0].path, &top);
        qemu.disk[1].path = top;
    });
    let mut shim = harness.start();
    shim.ready();
    let mut agent = harness.agent();
    exec(&mut agent, "fill");
    let ended = shim.end();
    drop(shim);
    nix::mount::umount(&small).unwrap();
    assert_eq!(ended.reason, EndReason::NoSpace, "{ended:?}");
    assert_eq!(
        ended.message,
        "the host's disk is full: the VM could not write to its disk"
    );
}
