//! The cache of environments that all worlds share, and copies of it that a test may spoil.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use pyro_engine::Config;

use crate::World;
use crate::world::finish;

/// Where `make pull` installed what VMs start from.
pub fn shared() -> PathBuf {
    Config::from_environment()
        .expect("a configuration")
        .cache_dir
}

/// Copies what VMs of `debian:12` start from into the world's folder; nothing has looked at the
/// copy yet. Other environments are not copied for their size, and templates as they are of
/// another image.
pub fn copy(world: &World) -> PathBuf {
    copy_parts(world, |name| {
        let is_general = name.starts_with(b"debian_12-") && !name.starts_with(b"debian_12-b");
        !name.starts_with(b"debian_") || is_general
    })
}

/// The same without any environment: kernels, and what sandboxes need.
pub fn copy_without_environments(world: &World) -> PathBuf {
    copy_parts(world, |name| !name.starts_with(b"debian_"))
}

fn copy_parts(world: &World, is_wanted: impl Fn(&[u8]) -> bool) -> PathBuf {
    let cache = world.folder().join("cache");
    let platform = cache.join("linux-x86_64");
    fs::create_dir_all(&platform).expect("a folder");
    let parts = fs::read_dir(shared().join("linux-x86_64"))
        .expect("an environment: `make pull`")
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.as_encoded_bytes();
            is_wanted(name) && !name.starts_with(b".lock-") && !name.starts_with(b"image-")
        });
    let mut copy = Command::new("cp");
    copy.args(["-a", "--sparse=always", "--reflink=auto"])
        .args(parts.map(|part| part.path()))
        .arg(&platform);
    let copied = finish(&mut copy);
    assert_eq!(copied.code(), 0, "{}", copied.err());
    cache
}
