//! Disks that are full, too small, or read-only.

use std::process::Command;

use pyro_tests::world::finish;
use pyro_tests::{Backend, Ran, World, cache};

use crate::error;
use crate::missing::assert_nothing_half_made;
use crate::mounts::Mounts;

crate::stories![Vm:
    a_pull_without_room_says_so_and_leaves_nothing,
    a_read_only_cache_without_an_image_is_told,
    a_read_only_cache_with_an_image_works,
    a_read_only_cache_works_for_an_agent_that_it_never_saw,
    a_guest_that_fills_the_hosts_disk_is_ended_with_the_reason,
];

mod state {
    use super::*;
    crate::stories![[process, vm, gvisor]:
        a_full_disk_is_told,
        a_disk_that_fills_at_any_moment_is_told,
        a_read_only_state_folder_is_told,
    ];
}

fn run(world: &World, flags: &[&str], command: &str) -> Command {
    let flags: Vec<&str> = flags.iter().copied().chain(["--mem-mib", "256"]).collect();
    world.run(&flags, [command])
}

/// Runs it on a state folder with a mount of its own, and looks from inside what it left there.
fn in_state(mounts: &Mounts, command: &Command) -> Ran {
    // A VM's folder goes after the answer: the supervisor gets a moment, and not for ever.
    let look = "for moment in $(seq 100); do
        ls \"$PYRO_STATE_DIR\"/vms/* >/dev/null 2>&1 && sleep 0.1 || break
    done
    for left in \"$PYRO_STATE_DIR\"/vms/* \"$PYRO_STATE_DIR\"/owners/*; do
        test ! -e \"$left\" || echo \"LEFT BEHIND: $left\" >&2
    done";
    let ran = finish(&mut mounts.then(command, look));
    assert!(!ran.err().contains("LEFT BEHIND"), "{}", ran.err());
    ran
}

fn a_pull_without_room_says_so_and_leaves_nothing(world: &World) {
    let cache = world.folder().join("cache");
    let mounts = Mounts::new().tmpfs(&cache, "size=64m");
    let mut pull = world.pyro(["env", "pull", "debian:12-base", "--json"]);
    pull.env("PYRO_ENVIRONMENT_CACHE_DIR", &cache);
    let look = "find \"$PYRO_ENVIRONMENT_CACHE_DIR\" -type f -size +0 >&2";
    let ran = finish(&mut mounts.then(&pull, look));
    error::has_code(&ran, "no_space");
    assert!(ran.out().contains("MiB needed"), "{}", ran.out());
    assert_eq!(ran.err(), "", "left behind");
}

fn a_read_only_cache_without_an_image_is_told(world: &World) {
    let cache = world.folder().join("cache");
    std::fs::create_dir(&cache).unwrap();
    let mounts = Mounts::new().read_only(&cache);
    let mut run = run(world, &[], "true");
    run.env("PYRO_ENVIRONMENT_CACHE_DIR", &cache);
    let ran = finish(&mut mounts.around(&run));
    let words = [
        cache.to_str().unwrap(),
        "hint: ",
        "PYRO_ENVIRONMENT_CACHE_DIR",
    ];
    error::tells(&ran, &words);
    assert_nothing_half_made(&cache);
}

fn a_read_only_cache_with_an_image_works(world: &World) {
    // Whatever is made at the first run is there now.
    error::none(&finish(&mut run(world, &[], "true")));
    let mounts = Mounts::new().read_only(&cache::shared());
    let ran = finish(&mut mounts.around(&run(world, &[], "echo fine")));
    assert_eq!(error::none(&ran), "fine\n");
}

/// As when root pulled an environment for everybody, and nobody has run anything yet.
fn a_read_only_cache_works_for_an_agent_that_it_never_saw(world: &World) {
    let agent = world.folder().join("agent");
    std::fs::copy(crate::unprivileged_user::agent(), &agent).unwrap();
    let mounts = Mounts::new().read_only(&cache::shared());
    let mut run = run(world, &[], "echo fine");
    let ran = finish(&mut mounts.around(run.env("PYRO_AGENT", &agent)));
    assert_eq!(error::none(&ran), "fine\n");
}

fn a_guest_that_fills_the_hosts_disk_is_ended_with_the_reason(world: &World) {
    let mounts = Mounts::new().tmpfs(&world.state_dir(), "size=24m");
    // Random, as a disk of zeroes takes no room.
    let write =
        "echo begun; dd if=/dev/urandom of=/root/big bs=1M count=64 conv=fsync; echo survived";
    let ran = in_state(&mounts, &run(world, &["--timeout-seconds", "100"], write));
    assert_eq!(ran.out(), "begun\n");
    error::tells(
        &ran,
        &["the host's disk is full", "hint: ", "PYRO_STATE_DIR"],
    );
    let ran = in_state(
        &mounts,
        &run(world, &["--timeout-seconds", "100", "--json"], write),
    );
    error::has_code(&ran, "no_space");
}

fn a_full_disk_is_told(world: &World) {
    let state = world.state_dir();
    let mounts = Mounts::new().tmpfs(&state, "size=1m").full(&state);
    let ran = in_state(&mounts, &run(world, &["--json"], "true"));
    error::has_code(&ran, "no_space");
    assert!(ran.out().contains("PYRO_STATE_DIR"), "{}", ran.out());
}

/// Room for so many files and no more: each number stops pyro at another step.
fn a_disk_that_fills_at_any_moment_is_told(world: &World) {
    let state = world.state_dir();
    let mut went_well = 0;
    // The disk of a sandbox is folders, each a file.
    let enough = if world.backend == Backend::Gvisor {
        32
    } else {
        16
    };
    for files in 1..enough {
        let mounts = Mounts::new().tmpfs(&state, &format!("size=16m,nr_inodes={files}"));
        let ran = in_state(&mounts, &run(world, &["--json"], "true"));
        if ran.code() == 0 {
            went_well += 1;
            continue;
        }
        error::has_code(&ran, "no_space");
    }
    assert!(went_well > 0, "there was never room enough");
}

fn a_read_only_state_folder_is_told(world: &World) {
    let state = world.state_dir();
    let told = |world: &World| {
        let mounts = Mounts::new().read_only(&state);
        let ran = finish(&mut mounts.around(&run(world, &[], "true")));
        error::tells(&ran, &[state.to_str().unwrap(), "hint: ", "PYRO_STATE_DIR"]);
    };
    std::fs::create_dir_all(&state).unwrap();
    told(world);
    // And one that was in use before.
    error::none(&finish(&mut run(world, &[], "true")));
    told(world);
}
