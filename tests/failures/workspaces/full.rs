//! Disks of the host that are full.

use pyro_tests::world::finish;
use pyro_tests::{Backend, World};

use crate::mounts::Mounts;

crate::stories_of_all_backends! { a_push_onto_a_full_disk_changes_nothing }

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
