//! Ids, capabilities and limits: what a process is allowed by being who it is.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::plan::Limits;

/// Who the program of a root's is, in its user namespace: the first of the ids that no account has.
const NOBODY: libc::c_long = 1;

/// No capability has a number as high.
const CAPABILITIES: libc::c_ulong = 64;

/// Becomes nobody, if `of_root` is so, and gives up all capabilities for good.
pub(super) fn give_up(of_root: bool) -> io::Result<()> {
    // SAFETY: system calls without pointers. Fails for numbers that mean nothing.
    unsafe {
        for capability in 0..CAPABILITIES {
            libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
        }
    }
    if of_root {
        // SAFETY: system calls without pointers but a null one with length 0. This process has one thread.
        let done = unsafe {
            libc::syscall(
                libc::SYS_setgroups,
                0 as libc::c_long,
                std::ptr::null::<u32>(),
            ) == 0
                && libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY) == 0
                && libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) == 0
        };
        if !done {
            return Err(io::Error::last_os_error());
        }
    }
    drop_capabilities()?;
    // A change of ids takes it back.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    Ok(())
}

/// `_LINUX_CAPABILITY_VERSION_3`, and the thread that asks.
const OWN: [u32; 2] = [0x2008_0522, 0];

/// Takes all capabilities from this thread.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    set_capabilities(&[0; 6])
}

/// Takes all capabilities from this thread but these, as far as it has them. They are among the first 32.
pub(super) fn keep_capabilities(kept: &[u32]) -> io::Result<()> {
    let kept = kept.iter().fold(0, |all, number| all | 1_u32 << number);
    // Effective, permitted and inheritable: of the first 32, then of the others.
    let mut sets = [0_u32; 6];
    // SAFETY: both are as long as the kernel reads and writes.
    if unsafe { libc::syscall(libc::SYS_capget, OWN.as_ptr(), sets.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let [effective, permitted, ..] = sets;
    set_capabilities(&[effective & kept, permitted & kept, 0, 0, 0, 0])
}

fn set_capabilities(sets: &[u32; 6]) -> io::Result<()> {
    // SAFETY: both are as long as the kernel reads.
    match unsafe { libc::syscall(libc::SYS_capset, OWN.as_ptr(), sets.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(super) fn limit(limits: &Limits) -> io::Result<()> {
    let most = |resource, most: u64| -> io::Result<()> {
        let (_, hard) = getrlimit(resource)?;
        let most = most.min(hard);
        Ok(setrlimit(resource, most, most)?)
    };
    most(Resource::RLIMIT_CORE, 0)?;
    most(Resource::RLIMIT_MEMLOCK, 0)?;
    most(Resource::RLIMIT_MSGQUEUE, 0)?;
    for (resource, limit) in [
        (Resource::RLIMIT_FSIZE, limits.file_bytes),
        (Resource::RLIMIT_NOFILE, limits.files),
        (Resource::RLIMIT_NPROC, limits.tasks),
    ] {
        if let Some(limit) = limit {
            most(resource, limit)?;
        }
    }
    Ok(())
}
