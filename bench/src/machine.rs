//! What the figures were taken on.

use std::path::Path;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::process;
use super::pyro::Inside;

/// Facts, one a line, of the host; what contenders know of themselves is added by them.
pub(crate) async fn describe(vm: &Inside) -> Result<Vec<String>> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = field(&cpuinfo, "model name").unwrap_or("an unknown processor");
    let cores = std::thread::available_parallelism()?;
    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let memory_kib: f64 = field(&meminfo, "MemTotal")
        .and_then(|value| value.strip_suffix("kB"))
        .context("no MemTotal in /proc/meminfo")?
        .trim()
        .parse()?;
    let os = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let os = os
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or("an unknown system", |name| name.trim_matches('"'));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let qemu = process::text("qemu-system-x86_64", &["--version"]).await?;
    Ok(vec![
        format!(
            "{cores} processors ({model}), {:.0} GiB of memory",
            memory_kib / 1048576.0
        ),
        format!("{os}, kernel {}", kernel.trim()),
        format!("accelerator {} ({})", vm.accelerator, vm.accelerator_reason),
        qemu.lines().next().unwrap_or_default().to_owned(),
        format!("guest kernel {}", vm.kernel),
    ])
}

/// Whether files in this folder can share what is in them.
pub(crate) async fn has_reflinks(folder: &Path) -> Result<bool> {
    let (from, to) = (folder.join("one"), folder.join("another"));
    std::fs::write(&from, "the same")?;
    let mut copy = Command::new("cp");
    copy.arg("--reflink=always").arg(&from).arg(&to);
    let copied = process::run(&mut copy).await.is_ok();
    std::fs::remove_file(&from)?;
    let _ = std::fs::remove_file(&to);
    Ok(copied)
}

/// What kind of file system a folder is on.
pub(crate) async fn file_system(folder: &Path) -> Result<String> {
    let folder = folder.to_string_lossy();
    process::text("stat", &["--file-system", "--format=%T", &folder]).await
}

/// How many processes wanted a processor in the last 1, 5 and 15 minutes. Before the first round it
/// is other people's work.
pub(crate) fn load() -> Result<String> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    Ok(load.join(", "))
}

/// The first value of a file of lines `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}
