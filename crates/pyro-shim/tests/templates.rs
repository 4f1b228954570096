//! Guests that are saved once and resumed many times. They need what `qemu.rs` needs, and beside the
//! kernel an environment with a shell; and the agent:
//!
//! ```text
//! cargo build -p pyro-agent
//! PYRO_TEST_KERNEL=~/.cache/pyro/…/kernel-… cargo test -p pyro-shim --features real-vms
//! ```

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod room;

use std::collections::HashSet;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use pyro_wire::agent::{AgentReply, AgentRequest, Prepare};
use pyro_wire::fault::FaultCode;
use pyro_wire::launch::LaunchEvent;
use pyro_wire::template::{DEVICES, FACTS, MEMORY};
use room::template::{Template, output, processes, start_all};
use room::{Room, hear, say};

#[test]
fn clones_are_different_guests() {
    let template = Template::saved(true);
    let before = fs::read(template.folder().join(MEMORY)).unwrap();
    let rooms: Vec<Room> = (0..4)
        .map(|n| template.room(&format!("clone-{n}")))
        .collect();
    let shims = start_all(&rooms);

    let mut seen = HashSet::new();
    for (number, room) in rooms.iter().enumerate() {
        assert_eq!(output(room, "hostname"), format!("clone-{number}"));
        for unique in [
            "od -An -N16 -tx1 /dev/urandom",
            "cat /etc/machine-id",
            "cat /proc/sys/kernel/random/boot_id",
            "cat /proc/sys/kernel/random/uuid",
        ] {
            let said = output(room, unique);
            assert!(said.len() > 30, "{unique}: {said}");
            assert!(seen.insert(said), "{unique} is the same in two guests");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let theirs: u64 = output(room, "date +%s").parse().unwrap();
        assert!(theirs.abs_diff(now.as_secs()) < 10);
        // The warm-up happened, and nothing of it runs any more.
        assert_eq!(output(room, "cat /root/warm; pgrep sleep"), "warm");
        assert_eq!(output(room, "ls /workspace"), "");
        output(room, &format!("echo {number} > /workspace/mine; sync"));
    }
    for (number, room) in rooms.iter().enumerate() {
        let mine = output(room, "cat /workspace/mine; dmesg | grep -ci ext4-fs.error");
        assert_eq!(mine, format!("{number}\n0"));
        room.stop(10_000, true);
    }
    drop(shims);
    assert!(fs::read(template.folder().join(MEMORY)).unwrap() == before);
}

#[test]
fn a_bare_template_resumes_on_a_disk_of_later() {
    let template = Template::saved(false);
    let first = template.room("first");
    let mut shim = first.start();
    assert!(shim.ready().resumed);
    output(&first, "echo later > /root/later");
    first.stop(10_000, false);

    let mut layers = Vec::new();
    let first = first.edit_qemu(|qemu| layers = qemu.disk.clone());
    let second = template.room("second").edit_qemu(|qemu| {
        let top = qemu.disk.last().unwrap().clone();
        room::guest::layer(&layers.last().unwrap().path, &top.path);
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

#[test]
fn a_damaged_template_means_a_boot() {
    let template = Template::saved(true);
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
        let room = template.room("box");
        let mut shim = room.start();
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
        assert_eq!(output(&room, "hostname; cat /root/warm"), "box\nwarm");
        room.stop(0, true);
        fs::write(template.folder().join(FACTS), &facts).unwrap();
    }
}

#[test]
fn a_template_of_another_machine_is_not_tried() {
    let template = Template::saved(false);
    let room = template.room("box").edit_qemu(|qemu| qemu.vcpu_count = 1);
    let mut shim = room.start();
    let LaunchEvent::Note(note) = shim.event() else {
        panic!("no note");
    };
    assert!(
        note.contains("it was saved with tcg, 2 processors, 256 MiB"),
        "{note}"
    );
    assert!(!shim.ready().resumed);
    room.stop(0, true);
}

#[test]
fn a_resumed_guest_is_prepared_no_more() {
    let template = Template::saved(true);
    let room = template.room("box");
    let mut shim = room.start();
    shim.ready();
    let mut line = room.line();
    say(&mut line, &AgentRequest::Prepare(Prepare::default()));
    let reply: AgentReply = hear(&mut line).unwrap().message().unwrap();
    let AgentReply::Failed(fault) = reply else {
        panic!("prepared a guest that runs");
    };
    assert_eq!(fault.code, FaultCode::Refused);
    room.stop(0, true);
}

#[test]
fn a_builder_that_is_killed_or_left_leaves_no_process() {
    for killed in [true, false] {
        let template = Template::new(true);
        let mut builder = template.builder();
        room::eventually(|| processes(&template.folder()).len() == 1);
        if killed {
            builder.kill().unwrap();
        } else {
            drop(builder.stdin.take());
        }
        assert!(!builder.wait().unwrap().success());
        room::eventually(|| processes(&template.folder()).is_empty());
    }
}

#[test]
fn a_disk_that_cannot_be_mounted_makes_no_template() {
    let template = Template::new(true).edit_qemu(|qemu| {
        let top = qemu.disk.pop().unwrap();
        let base = top.path.with_file_name("empty.img");
        fs::File::create(&base).unwrap().set_len(64 << 20).unwrap();
        room::guest::layer(&base, &top.path);
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
