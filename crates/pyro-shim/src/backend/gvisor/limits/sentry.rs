//! What a sandbox takes, as the host's kernel counts it.
//!
//! The guest's memory is a file without a name that the sentry (gVisor's kernel) has open, and whose
//! pages the guest's processes map: no process's own figures show it, and the blocks of the file do,
//! exactly and for one system call. What the guest reads of its disk is in the page cache of the host,
//! which takes it back when it needs to, and is not counted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;

/// What `ls -l /proc/PID/fd` shows of a file that lies in memory alone.
const MEMORY_FILE: &str = "/memfd:";

/// So large is that of a guest from its first page on, and nothing else that gVisor has.
const LEAST: u64 = 256 << 20;

/// The unit of `st_blocks`.
const BLOCK: u64 = 512;

const PAGE: u64 = 4096;

/// What the host's kernel has for one process of the guest's, in its two processes here: their page
/// tables, their stacks, and a few pages of their own. Measured: 330 KiB.
const BESIDE_GUEST_PROCESS: u64 = 384 << 10;

/// The sentry of a sandbox, and its server of files.
pub(super) struct Sentry {
    own: Process,
    /// Files in memory that it has open, by their names below its folder.
    memory: Vec<String>,
    /// Everybody else: runsc itself, and the server of files.
    others: Vec<Process>,
}

impl Sentry {
    /// The one that the first process of a sandbox has started. `None` while there is none yet.
    pub(super) fn find(first: u32) -> Option<Self> {
        let mut others: Vec<Process> = [first]
            .into_iter()
            .chain(below(first))
            .filter_map(|pid| Process::open(pid).ok())
            .collect();
        // The server of files has some too, through which the two talk. The guest's memory is the
        // largest by far: it grows by a GiB at a time, of which most is nowhere yet.
        let sizes = others.iter().map(Process::size_in_memory).enumerate();
        let (place, size) = sizes.max_by_key(|(_, size)| *size)?;
        if size < LEAST {
            return None;
        }
        let own = others.swap_remove(place);
        Some(Self {
            memory: own.memory_files(),
            own,
            others,
        })
    }

    /// What the guest's programs and its file systems in memory take.
    pub(super) fn guest_memory(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for file in &self.memory {
            let stat = fstatat(&self.own.folder, file.as_str(), AtFlags::empty())?;
            bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK;
        }
        Ok(bytes)
    }

    /// What gVisor takes itself.
    pub(super) fn own_memory(&self) -> io::Result<u64> {
        let processes = self.own.children().len() as u64;
        let others: u64 = self
            .others
            .iter()
            .filter_map(|process| process.anonymous_memory().ok())
            .sum();
        Ok(self.own.anonymous_memory()? + others + processes * BESIDE_GUEST_PROCESS)
    }

    /// What was written to disks since the start, overwritten or not.
    pub(super) fn written(&self) -> io::Result<u64> {
        let all = [&self.own].into_iter().chain(&self.others);
        all.map(Process::written).sum()
    }
}

/// A process, by a descriptor of its folder: what takes over its number is not taken for it.
struct Process {
    id: u32,
    folder: File,
}

impl Process {
    fn open(id: u32) -> io::Result<Self> {
        let folder = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY)
            .open(format!("/proc/{id}"))?;
        Ok(Self { id, folder })
    }

    fn read(&self, name: &str) -> io::Result<String> {
        // Also readable where this file system is mounted at another place.
        let path = format!("/proc/self/fd/{}/{name}", self.folder.as_raw_fd());
        let mut text = String::new();
        File::open(path)?.take(64 << 10).read_to_string(&mut text)?;
        Ok(text)
    }

    fn memory_files(&self) -> Vec<String> {
        let folder = format!("/proc/self/fd/{}/fd", self.folder.as_raw_fd());
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter(|entry| {
                fs::read_link(entry.path())
                    .is_ok_and(|target| target.to_string_lossy().starts_with(MEMORY_FILE))
            })
            .filter_map(|entry| Some(format!("fd/{}", entry.file_name().to_str()?)))
            .collect()
    }

    /// How large all of its files in memory seem, with what they have not taken.
    fn size_in_memory(&self) -> u64 {
        let files = self.memory_files();
        let sizes = files
            .iter()
            .filter_map(|file| fstatat(&self.folder, file.as_str(), AtFlags::empty()).ok());
        sizes
            .map(|stat| u64::try_from(stat.st_size).unwrap_or(0))
            .sum()
    }

    /// What is neither a file's nor shared.
    fn anonymous_memory(&self) -> io::Result<u64> {
        let statm = self.read("statm")?;
        let mut pages = statm.split_ascii_whitespace().skip(1);
        let mut next = || pages.next()?.parse::<u64>().ok();
        match (next(), next()) {
            (Some(resident), Some(shared)) => Ok(resident.saturating_sub(shared) * PAGE),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn written(&self) -> io::Result<u64> {
        let io = self.read("io")?;
        let bytes = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        bytes
            .and_then(|bytes| bytes.trim().parse().ok())
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Those that its first thread has started, which are all for a sentry.
    fn children(&self) -> Vec<u32> {
        let list = self
            .read(&format!("task/{}/children", self.id))
            .unwrap_or_default();
        list.split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }
}

/// Two generations below a process, whichever of its threads started them.
fn below(first: u32) -> Vec<u32> {
    let mut all = children_of_all_threads(first);
    let grandchildren: Vec<u32> = all
        .iter()
        .flat_map(|pid| children_of_all_threads(*pid))
        .collect();
    all.extend(grandchildren);
    all
}

fn children_of_all_threads(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            let pids = list.split_ascii_whitespace();
            pids.filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    #[test]
    fn memory_that_no_process_shows_is_found_in_the_file() {
        let mut file = File::from(memfd_create(c"guest", MFdFlags::MFD_CLOEXEC).unwrap());
        file.set_len(1 << 30).unwrap();
        let own = Process::open(std::process::id()).unwrap();
        let name = format!("fd/{}", file.as_raw_fd());
        assert!(own.memory_files().contains(&name));
        let sentry = Sentry {
            own,
            memory: vec![name],
            others: Vec::new(),
        };
        assert_eq!(sentry.guest_memory().unwrap(), 0);
        file.write_all(&vec![1; 3 << 20]).unwrap();
        assert_eq!(sentry.guest_memory().unwrap(), 3 << 20);
        assert!(sentry.own_memory().unwrap() > 0);
        assert!(sentry.written().is_ok());
    }

    #[test]
    fn a_process_without_a_sandbox_has_none() {
        let mut sleep = std::process::Command::new("sleep")
            .arg("9")
            .spawn()
            .unwrap();
        assert!(Sentry::find(sleep.id()).is_none());
        sleep.kill().unwrap();
        sleep.wait().unwrap();
    }
}
