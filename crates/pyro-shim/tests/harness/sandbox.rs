//! What a sandbox is made of: runsc, the fake agent, an empty tree and a layer on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyro_wire::launch::{DiskFormat, DiskLayer, Gvisor, Runs};

use super::example::{agent, example};

/// Names runsc where it is not on the PATH.
const RUNSC: &str = "PYRO_RUNSC";

/// None where there is no runsc.
pub(crate) fn spec(folder: &Path) -> Option<Gvisor> {
    let disk = disk(folder);
    let runsc = runsc()?;
    Some(Gvisor {
        version: version(&runsc),
        runsc,
        agent: example("fake_agent"),
        vcpu_count: 2,
        mem_mib: 256,
        disk,
        network: None,
        runs: Runs::Sandbox,
        jail: Default::default(),
        files_idle_ms: 600_000,
    })
}

/// The same disk with the real agent on it, and without a runsc.
pub(crate) fn files(folder: &Path) -> Gvisor {
    Gvisor {
        version: String::new(),
        runsc: "/none".into(),
        agent: agent(),
        vcpu_count: 1,
        mem_mib: 256,
        disk: disk(folder),
        network: None,
        runs: Runs::Files,
        jail: Default::default(),
        files_idle_ms: 600_000,
    }
}

/// As it tells it.
fn version(runsc: &Path) -> String {
    let told = Command::new(runsc).arg("--version").output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.split_whitespace().nth(2).unwrap().to_owned()
}

pub(crate) fn runsc() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(RUNSC) {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("runsc"))
        .find(|runsc| runsc.exists())
}

fn disk(folder: &Path) -> Vec<DiskLayer> {
    vec![
        tree(&folder.join("tree, with: odd name")),
        layer(&folder.join("top")),
    ]
}

fn tree(path: &Path) -> DiskLayer {
    // Where there is none, gVisor makes a `/tmp`.
    for folder in ["etc", "tmp"] {
        fs::create_dir_all(path.join(folder)).unwrap();
    }
    fs::write(path.join("etc/motd"), "from the tree").unwrap();
    in_folder(path)
}

/// A new layer.
pub(crate) fn layer(path: &Path) -> DiskLayer {
    for folder in ["upper", "work"] {
        fs::create_dir_all(path.join(folder)).unwrap();
    }
    in_folder(path)
}

fn in_folder(path: &Path) -> DiskLayer {
    DiskLayer {
        path: path.to_owned(),
        format: DiskFormat::Folder,
    }
}
