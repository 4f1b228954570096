//! Disks of the host that are full.

use pyro_tests::world::finish;
use pyro_tests::{Backend, World};

use crate::mounts::Mounts;

crate::stories! { [process, vm, gvisor]: a_push_onto_a_full_disk_changes_nothing }

mod sandboxes {
    use super::*;
    crate::stories![Gvisor:
        what_does_not_fit_is_told_and_leaves_nothing,
        a_guest_that_fills_the_disk_goes_on_when_there_is_room,
    ];
}

/// All in one script, as the file system that is full is seen from inside only.
const SCRIPT: &str = r#"
    set -u
    id=$("$0" workspace create debian:12 --mem-mib 256 "$2" --id-only) || exit 90
    "$0" workspace file write "$id" file --text small > "$1/write" || exit 91
    "$0" workspace stop "$id" > "$1/stop" || exit 92
    "$0" workspace sync push "$id" "$1/source" --json > "$1/push" && exit 93
    "$0" workspace list > "$1/list" || exit 94
    "$0" workspace delete "$id" > "$1/delete" || exit 95
    for left in "$PYRO_STATE_DIR"/workspaces/*; do
        test ! -e "$left" || exit 96
    done
"#;

fn a_push_onto_a_full_disk_changes_nothing(world: &World) {
    let state = world.state_dir();
    let source = world.folder().join("source");
    std::fs::create_dir(&source).unwrap();
    // Noise, as a disk of zeroes takes no room.
    let noise = finish(std::process::Command::new("head").args(["-c", "64M", "/dev/urandom"]));
    std::fs::write(source.join("noise"), noise.stdout).unwrap();
    let (size, backend) = match world.backend {
        Backend::Process => ("size=8m", "--allow-host-compat"),
        Backend::Vm | Backend::Gvisor => ("size=32m", "--ttl-seconds=600"),
    };
    let mut script = std::process::Command::new("sh");
    script
        .args(["-c", SCRIPT])
        .arg(pyro_tests::world::pyro())
        .arg(world.folder())
        .arg(backend)
        .envs(world.variables());
    let ran = finish(&mut Mounts::new().tmpfs(&state, size).around(&script));
    let read = |name: &str| std::fs::read_to_string(world.folder().join(name)).unwrap_or_default();
    assert_eq!(ran.code(), 0, "{}{}", read("push"), ran.err());
    let told: serde_json::Value = serde_json::from_str(&read("push")).unwrap();
    let code = match world.backend {
        Backend::Process => "guest_no_space",
        Backend::Vm | Backend::Gvisor => "no_space",
    };
    assert_eq!(told["code"], code, "{told:#}");
}

/// Runs lines of shell with a small disk for the state; `$0` is pyro, `$1` a folder for answers.
fn on_a_small_disk(world: &World, size: &str, lines: &str) {
    let state = world.state_dir();
    let mut script = std::process::Command::new("sh");
    script
        .args(["-c", lines])
        .arg(pyro_tests::world::pyro())
        .arg(world.folder())
        .envs(world.variables());
    let ran = finish(&mut Mounts::new().tmpfs(&state, size).around(&script));
    assert_eq!(ran.code(), 0, "{}{}", ran.out(), ran.err());
}

/// What a command answered.
fn answer(world: &World, name: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(world.folder().join(name)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error} in {text}"))
}

/// A file of noise, as much as that.
fn noise(world: &World, folder: &str, mib: usize) {
    let folder = world.folder().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let size = format!("{mib}M");
    let noise = finish(std::process::Command::new("head").args(["-c", &size, "/dev/urandom"]));
    std::fs::write(folder.join("noise"), noise.stdout).unwrap();
}

/// A seed, and the copy that a snapshot is.
fn what_does_not_fit_is_told_and_leaves_nothing(world: &World) {
    noise(world, "large", 64);
    noise(world, "small", 30);
    on_a_small_disk(
        world,
        "size=48m",
        r#"
        set -u
        create="workspace create debian:12 --mem-mib 256"
        "$0" $create --seed-path "$1/large" --json > "$1/create" && exit 90
        ls -A "$PYRO_STATE_DIR/workspaces" | grep . && exit 91
        test $(du -sm "$PYRO_STATE_DIR" | cut -f 1) -lt 8 || exit 92
        id=$("$0" $create --seed-path "$1/small" --id-only) || exit 93
        "$0" workspace exec "$id" -- "head -c 10M /dev/urandom > more; sync" || exit 94
        before=$(ls "$PYRO_STATE_DIR/workspaces/$id/disk")
        "$0" workspace snapshot create "$id" full --json > "$1/snapshot" && exit 95
        "$0" workspace snapshot list "$id" --json > "$1/list" || exit 96
        test "$before" = "$(ls "$PYRO_STATE_DIR/workspaces/$id/disk")" || exit 97
        "$0" workspace exec "$id" -- "rm more; sync; ls; md5sum < noise" > "$1/exec" || exit 98
        "$0" workspace snapshot create "$id" fits > /dev/null || exit 99
        "$0" workspace delete "$id" > /dev/null || exit 100
        ls -A "$PYRO_STATE_DIR/workspaces" | grep . && exit 101
        exit 0
        "#,
    );
    for refused in ["create", "snapshot"] {
        let told = answer(world, refused);
        assert_eq!(told["code"], "no_space", "{refused}: {told:#}");
        assert!(told["hint"].is_string(), "{refused}: {told:#}");
    }
    let listed = answer(world, "list")["snapshots"].to_string();
    assert!(!listed.contains("full"), "{listed}");
    let said = std::fs::read_to_string(world.folder().join("exec")).unwrap();
    let seed = std::fs::File::open(world.folder().join("small/noise")).unwrap();
    let sum = std::process::Command::new("md5sum").stdin(seed).output();
    let sum = String::from_utf8(sum.unwrap().stdout).unwrap();
    assert_eq!(said, format!("noise\n{sum}"));
}

fn a_guest_that_fills_the_disk_goes_on_when_there_is_room(world: &World) {
    on_a_small_disk(
        world,
        "size=32m",
        r#"
        set -u
        id=$("$0" workspace create debian:12 --mem-mib 256 --id-only) || exit 90
        "$0" workspace file write "$id" kept --text kept > /dev/null || exit 91
        "$0" workspace exec "$id" --json -- "cat kept; dd if=/dev/urandom of=big bs=1M count=64 conv=fsync" > "$1/fill"
        "$0" workspace file write "$id" kept --text "$(seq 20000)" --json > "$1/write" && exit 92
        "$0" workspace file read "$id" kept --content-only > "$1/read" || exit 93
        "$0" workspace exec "$id" -- "rm big; cat kept" > "$1/after" || exit 94
        "$0" workspace stop "$id" > /dev/null || exit 95
        "$0" workspace exec "$id" -- "ls; cat kept" > "$1/started" || exit 96
        "$0" workspace delete "$id" > /dev/null || exit 97
        ls -A "$PYRO_STATE_DIR/workspaces" | grep . && exit 98
        exit 0
        "#,
    );
    assert_eq!(answer(world, "write")["code"], "no_space");
    let read = |name: &str| std::fs::read_to_string(world.folder().join(name)).unwrap();
    assert_eq!(
        (&*read("read"), &*read("after"), &*read("started")),
        ("kept", "kept", "kept\nkept")
    );
    let fill = answer(world, "fill");
    let told = fill["stderr"].as_str().unwrap();
    assert!(told.contains("No space left on device"), "{fill:#}");
}
