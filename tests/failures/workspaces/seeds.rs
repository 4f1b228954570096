//! Seeds that are large.

use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use nix::unistd::Pid;
use pyro_tests::World;
use pyro_tests::leftovers::processes;
use pyro_tests::surfaces::cli::CommandLine;
use pyro_tests::world::{Running, eventually};
use serde_json::json;

use super::listed;
use crate::memory::peak_mib;

crate::stories![Process: a_large_seed_streams_and_tells_how_far_it_is];

const LONG: Duration = Duration::from_secs(170);

const MIB: usize = 1 << 20;

/// Much less than what goes through.
const MOST_MIB: u64 = 100;

fn a_large_seed_streams_and_tells_how_far_it_is(world: &World) {
    let seed = world.folder().join("seed");
    fs::create_dir(&seed).unwrap();
    for number in 0..3 {
        // Holes would not be copied.
        let file = File::create(seed.join(format!("file-{number}"))).unwrap();
        for _ in 0..150 {
            (&file).write_all(&[b'x'; MIB]).unwrap();
        }
    }
    let mut create = world.pyro(["workspace", "create", "debian:12", "--allow-host-compat"]);
    create.arg("--seed-path").arg(&seed);
    let mut create = Running::start(&mut create);
    let pyro = Pid::from_raw(i32::try_from(create.child.id()).unwrap());
    let (mut own, mut others) = (0, 0);
    eventually("the workspace is there", LONG, || {
        // One that has ended has nothing to tell any more.
        own = own.max(peak_mib(pyro).unwrap_or_default());
        for process in processes(&world.state_dir()) {
            let peak = peak_mib(Pid::from_raw(process.pid));
            others = others.max(peak.unwrap_or_default());
        }
        create.child.try_wait().unwrap().is_some()
    });
    let ran = create.wait();
    assert_eq!(ran.code(), 0, "{}", ran.err());
    assert!((1..MOST_MIB).contains(&own), "pyro had {own} MiB");
    assert!(
        (1..MOST_MIB).contains(&others),
        "its helpers had {others} MiB"
    );

    let told = ran.err();
    let shares = told.lines().filter_map(|line| {
        let share = line.strip_prefix("[progress] ")?;
        let (share, words) = share.split_once(" % copying in ")?;
        assert!(words.ends_with(" MiB"), "{line}");
        share.parse::<u32>().ok()
    });
    let shares: Vec<u32> = shares.collect();
    assert!(shares.len() > 1 && shares.is_sorted(), "{told}");
    assert!(shares.iter().all(|share| *share <= 100), "{told}");
    let surface = CommandLine(world);
    for id in listed(&surface) {
        let deleted =
            pyro_tests::Surface::call(&surface, "workspace_delete", json!({ "workspace_id": id }));
        deleted.unwrap();
    }
}
