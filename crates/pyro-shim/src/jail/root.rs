//! A root folder that holds what a plan names and nothing else. It is in memory, and cannot be written to.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use pyro_namespace::root;

use super::inside::close_on_exec;
use super::plan::Plan;

/// Where it is put together: every host has it, and nothing of it is taken in.
const PLACE: &str = "/proc";

/// It holds folders, and copies of a few files at most.
const OPTIONS: &str = "mode=755,size=128m";

const NONE: Option<&str> = None;

/// Files before folders, so that none is made in a folder of the host.
pub(super) fn make(plan: &Plan, with_handed: bool) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), PLACE, Some("tmpfs"), flags, Some(OPTIONS))?;
    let handed = plan.handed.iter().filter(|_| with_handed);
    let (folders, files): (Vec<_>, Vec<_>) = plan
        .read
        .iter()
        .partition(|path| path.is_dir() && !path.starts_with(PLACE));
    for file in files {
        take_file(file, plan.of_root)?;
    }
    for fd in &plan.reopened {
        copy(*fd)?;
    }
    for folder in folders {
        let to = within(folder);
        make_folder(&to)?;
        // With what is mounted in it, which a user namespace may not take off.
        mount(
            Some(folder),
            &to,
            NONE,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            NONE,
        )?;
    }
    root::forbid_writing(Path::new(PLACE))?;
    for path in handed {
        // Writable, where it is: nobody else can open it.
        let to = within(path);
        if to.exists() {
            bind(path, &to)?;
        }
    }
    root::enter(Path::new(PLACE))
}

fn within(path: &Path) -> PathBuf {
    Path::new(PLACE).join(path.strip_prefix("/").unwrap_or(path))
}

fn take_file(file: &Path, of_root: bool) -> io::Result<()> {
    let to = within(file);
    let about = fs::metadata(file)?;
    // The program of root's is nobody, who may read what anybody may.
    let readable = !of_root || about.mode() & 0o004 != 0 || !about.is_file();
    let mut place = new_file(&to)?;
    if readable {
        bind(file, &to)
    } else {
        io::copy(&mut File::open(file)?, &mut place).map(drop)
    }
}

fn copy(fd: RawFd) -> io::Result<()> {
    // SAFETY: whoever made the plan passed it for the purpose, and it stays open.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let source = File::from(fd.try_clone_to_owned()?);
    let mut bytes = vec![0; usize::try_from(source.metadata()?.len()).unwrap_or(0)];
    source.read_exact_at(&mut bytes, 0)?;
    let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
    new_file(&within(Path::new(&name)))?.write_all(&bytes)?;
    close_on_exec(fd)
}

fn new_file(to: &Path) -> io::Result<File> {
    if let Some(folder) = to.parent() {
        make_folder(folder)?;
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o444)
        .open(to)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(folder)
}

fn bind(from: &Path, to: &Path) -> io::Result<()> {
    mount(Some(from), to, NONE, MsFlags::MS_BIND, NONE)?;
    Ok(())
}
