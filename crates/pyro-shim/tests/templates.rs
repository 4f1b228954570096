//! Guests that are saved once and resumed many times. They need what `qemu.rs` needs, and beside the
//! kernel an environment with a shell; and the agent:
//!
//! ```text
//! cargo build -p pyro-agent
//! PYRO_TEST_KERNEL=~/.cache/pyro/…/kernel-… cargo test -p pyro-shim --features real-vms
//! ```

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod harness;

use std::fs;

use harness::template::{Template, output, processes};
use harness::{receive, send};
use pyro_wire::agent::{AgentReply, AgentRequest, Prepare};
use pyro_wire::fault::FaultCode;
use pyro_wire::launch::{DiskFormat, DiskLayer, LaunchEvent};
use pyro_wire::template::{DEVICES, FACTS, MEMORY};

#[test]
fn a_bare_template_resumes_on_a_disk_of_later() {
    let template = Template::bare();
    let first = template.harness("first");
    let mut shim = first.start();
    assert!(shim.ready().resumed);
    output(&first, "echo later > /root/later");
    first.stop(10_000, false);

    let mut layers = Vec::new();
    let first = first.edit_qemu(|qemu| layers = qemu.disk.clone());
    let second = template.harness("second").edit_qemu(|qemu| {
        let top = qemu.disk.last().unwrap().clone();
        harness::guest::layer(&layers.last().unwrap().path, &top.path);
        qemu.disk = layers;
        qemu.disk.push(top);
    });
    let mut shim = second.start();
    assert!(shim.ready().resumed);
    assert_eq!(
        output(&second, "cat /root/later; hostname"),
        "later\nsecond"
    );
    second.stop(0, true);
    drop(first);
}

/// As many layers as a workspace with many snapshots has.
#[test]
fn a_bare_template_resumes_on_a_long_chain() {
    let template = Template::bare();
    let harness = template.harness("deep").edit_qemu(|qemu| {
        for number in 0..50 {
            let below = qemu.disk.last().unwrap().path.clone();
            let path = below.with_file_name(format!("layer-{number}.qcow2"));
            harness::guest::layer(&below, &path);
            qemu.disk.push(DiskLayer {
                path,
                format: DiskFormat::Qcow2,
            });
        }
    });
    let mut shim = harness.start();
    assert!(shim.ready().resumed);
    let said = output(&harness, "echo written > /root/mark; sync; cat /root/mark");
    assert_eq!(said, "written");
    harness.stop(0, true);
}

#[test]
fn a_bare_template_replays_the_journal_of_a_killed_guest() {
    let template = Template::bare();
    let harness = template.harness("killed");
    let mut shim = harness.start();
    assert!(shim.ready().resumed);
    output(
        &harness,
        "echo kept > /root/kept; sync; echo lost > /root/lost",
    );
    // With it, QEMU.
    harness::kill(shim.pid());
    shim.exit();
    harness::wait_until(|| harness::lock_is_free(harness.path()));

    let mut shim = harness.start();
    assert!(shim.ready().resumed);
    let replayed = output(&harness, "dmesg | grep -c 'EXT4-fs.*recovery complete'");
    assert_eq!(replayed, "1");
    assert_eq!(
        output(&harness, "cat /root/kept; touch /root/new; ls /root/new"),
        "kept\n/root/new"
    );
    assert_eq!(
        output(&harness, "dmesg | grep -ci 'ext4-fs.*error'; true"),
        "0"
    );
    harness.stop(0, true);
}

#[test]
fn a_damaged_template_means_a_boot() {
    let template = Template::mounted();
    let cut = |name: &str, length: u64| {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(template.folder().join(name))
            .unwrap();
        file.set_len(length).unwrap();
    };
    let facts = fs::read(template.folder().join(FACTS)).unwrap();
    let damages: [(&dyn Fn(), &str); 4] = [
        (
            &|| fs::remove_file(template.folder().join(FACTS)).unwrap(),
            FACTS,
        ),
        (&|| cut(DEVICES, 20_000), "load of migration failed"),
        (
            &|| fs::write(template.folder().join(DEVICES), b"what").unwrap(),
            "migration",
        ),
        (&|| cut(MEMORY, 1 << 20), "bytes instead of"),
    ];
    for (damage, words) in damages {
        damage();
        let harness = template.harness("box");
        let mut shim = harness.start();
        let LaunchEvent::Note(note) = shim.event() else {
            panic!("no note");
        };
        assert!(
            note.starts_with("the template could not be resumed ("),
            "{note}"
        );
        assert!(note.contains(words), "{note}");
        let running = shim.ready();
        assert_eq!((running.resumed, running.boot_attempts), (false, 2));
        assert_eq!(output(&harness, "hostname; cat /root/warm"), "box\nwarm");
        harness.stop(0, true);
        fs::write(template.folder().join(FACTS), &facts).unwrap();
    }
}

#[test]
fn a_template_of_another_machine_is_not_tried() {
    let template = Template::bare();
    let harness = template
        .harness("box")
        .edit_qemu(|qemu| qemu.vcpu_count = 1);
    let mut shim = harness.start();
    let LaunchEvent::Note(note) = shim.event() else {
        panic!("no note");
    };
    assert!(
        note.contains("it was saved with tcg, 2 processors, 256 MiB"),
        "{note}"
    );
    assert!(!shim.ready().resumed);
    harness.stop(0, true);
}

#[test]
fn a_template_resumes_whichever_kernel_it_was_booted_by() {
    let good = Template::new(false);
    assert!(good.save().unwrap().vmlinux);
    let other = Template::new(false).edit_qemu(harness::guest::damage_vmlinux);
    assert!(!other.save().unwrap().vmlinux);
    for (template, vmlinux) in [(&good, Err("a test".to_owned())), (&other, good.vmlinux())] {
        let harness = template
            .harness("box")
            .edit_qemu(|qemu| qemu.vmlinux = vmlinux);
        let mut shim = harness.start();
        let running = shim.ready();
        assert_eq!((running.resumed, running.booted_kernel), (true, None));
        harness.stop(0, true);
    }
}

#[test]
fn a_resumed_guest_is_prepared_no_more() {
    let template = Template::mounted();
    let harness = template.harness("box");
    let mut shim = harness.start();
    shim.ready();
    let mut agent = harness.agent();
    send(&mut agent, &AgentRequest::Prepare(Prepare::default()));
    let reply: AgentReply = receive(&mut agent).unwrap().message().unwrap();
    let AgentReply::Failed(fault) = reply else {
        panic!("prepared a guest that runs");
    };
    assert_eq!(fault.code, FaultCode::Refused);
    harness.stop(0, true);
}

#[test]
fn a_builder_that_is_killed_or_left_leaves_no_process() {
    for killed in [true, false] {
        let template = Template::new(true);
        let mut builder = template.builder();
        harness::wait_until(|| processes(&template.folder()).len() == 1);
        if killed {
            builder.kill().unwrap();
        } else {
            drop(builder.stdin.take());
        }
        assert!(!builder.wait().unwrap().success());
        harness::wait_until(|| processes(&template.folder()).is_empty());
    }
}

#[test]
fn a_disk_that_cannot_be_mounted_makes_no_template() {
    let template = Template::new(true).edit_qemu(|qemu| {
        let top = qemu.disk.pop().unwrap();
        let base = top.path.with_file_name("empty.img");
        fs::File::create(&base).unwrap().set_len(64 << 20).unwrap();
        harness::guest::layer(&base, &top.path);
        qemu.disk[0].path = base;
        qemu.disk.push(top);
    });
    let fault = template.save().unwrap_err();
    assert_eq!(fault.code, FaultCode::BootFailed);
    assert!(
        fault.message.starts_with("cannot mount /dev/vda"),
        "{fault:?}"
    );
    assert!(!template.folder().join(FACTS).exists());
}
