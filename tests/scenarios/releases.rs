//! Releases of Debian beside the one that other scenarios start from.

use std::time::Duration;

use pyro_tests::world::Running;
use pyro_tests::{Backend, World, cache};

/// Packages from a mirror, and a boot beside guests that have the processors.
const MAKING: Duration = Duration::from_secs(400);

#[test]
fn debian_13_is_built_and_starts_with_its_own_kernel() {
    let world = World::new(Backend::Vm);
    if !world.can_be_played() {
        return;
    }
    let copy = cache::copy_without_environments(&world);
    // One boot costs less than a template.
    let world = world
        .with("PYRO_ENVIRONMENT_CACHE_DIR", copy)
        .with("PYRO_TEMPLATES", "off");
    let line = "cat /etc/debian_version; uname -r; grep -c trixie /etc/apt/sources.list";
    let mut run = world.pyro(["run", "debian:13-base", "--mem-mib", "512", "--", line]);
    let ran = Running::start(&mut run).wait_within(MAKING);
    let (out, err) = (ran.out(), ran.err());
    assert_eq!(ran.code(), 0, "{out}{err}");
    let told: Vec<&str> = out.lines().collect();
    let [release, kernel, sources] = told[..] else {
        panic!("{out}");
    };
    assert!(release.starts_with("13"), "{out}");
    assert!(kernel.contains("+deb13-cloud-amd64"), "{out}");
    assert_eq!(sources, "3");
    world.assert_empty();
}
