//! What this VM was given, as its command line names it.

use std::path::{Path, PathBuf};

use super::call::call;
use super::plan::Plan;

#[derive(Debug, Default)]
pub(super) struct Given {
    /// The descriptors of disk files, open for reading or for both.
    disks: Vec<i32>,
    /// The descriptors of its sockets.
    pub(super) monitor: Option<i32>,
    pub(super) console: Option<i32>,
    pub(super) agent: Option<i32>,
    /// All descriptors that are named.
    pub(super) named: Vec<i32>,
    /// What is only read: kernel, initramfs.
    pub(super) read_only: Vec<PathBuf>,
}

impl Given {
    pub(super) fn here() -> Self {
        let mut given = Self::default();
        let words: Vec<String> = std::env::args().collect();
        for pair in words.windows(2) {
            if ["-add-fd", "-chardev", "-netdev"].contains(&pair[0].as_str()) {
                let numbers = pair[1].split(|char: char| !char.is_ascii_digit());
                given
                    .named
                    .extend(numbers.filter_map(|number| number.parse::<i32>().ok()));
            }
            let number = |name: &str| -> Option<i32> {
                let mut options = pair[1].split(',');
                options.find_map(|option| option.strip_prefix(name)?.parse().ok())
            };
            match pair[0].as_str() {
                "-kernel" | "-initrd" => given.read_only.push(pair[1].clone().into()),
                "-add-fd" => given.disks.extend(number("fd=")),
                "-chardev" if pair[1].contains("id=monitor") => given.monitor = number("fd="),
                "-chardev" if pair[1].contains("id=console") => given.console = number("fd="),
                "-chardev" if pair[1].contains("id=agent") => given.agent = number("fd="),
                _ => {}
            }
        }
        given
    }

    /// The descriptor of the disk that is written to.
    pub(super) fn disk(&self) -> Option<i32> {
        let writable = |fd: &&i32| {
            call!(SYS_fcntl, **fd, libc::F_GETFL)
                .is_ok_and(|flags| flags as i32 & libc::O_ACCMODE != libc::O_RDONLY)
        };
        self.disks.iter().find(writable).copied()
    }

    /// Where that disk is, as far as this process can find out; otherwise another VM's.
    pub(super) fn disk_path(&self, plan: &Plan) -> PathBuf {
        let link = self.disk().map(|fd| format!("/proc/self/fd/{fd}"));
        let found = link.and_then(|link| std::fs::read_link(link).ok());
        found.unwrap_or_else(|| plan.other_disk.clone())
    }

    /// The folder of this VM, as above.
    pub(super) fn folder(&self, plan: &Plan) -> PathBuf {
        let disk = self.disk_path(plan);
        disk.parent().map_or_else(|| ".".into(), Path::to_owned)
    }
}
