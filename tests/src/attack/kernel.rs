//! Attempts at the kernel: namespaces, mounts, rights, and calls that have had holes.

use std::mem::size_of_val;

use nix::errno::Errno;

use super::call::{Attempted, Stopped, aside, c_path, call, close};
use super::plan::Plan;

pub(super) fn unshare(flags: i32) -> Attempted {
    aside(|| call!(SYS_unshare, flags).map(drop))
}

/// In a mount namespace of its own where it works, as nobody else is to see the mount.
pub(super) fn mount(plan: &Plan) -> Attempted {
    aside(|| {
        if call!(SYS_unshare, libc::CLONE_NEWNS).is_err() {
            // Of a kind that there is not, which is looked at after the right to mount.
            let none = c"none".as_ptr();
            return match call!(SYS_mount, none, c"/".as_ptr(), none, 0, 0) {
                Err(stopped) if stopped.errno == Errno::ENODEV => Ok(()),
                other => other.map(drop),
            };
        }
        let at = c_path(&plan.home);
        let kind = c"tmpfs".as_ptr();
        let private = libc::MS_REC | libc::MS_PRIVATE;
        call!(SYS_mount, 0, c"/".as_ptr(), 0, private, 0)?;
        call!(SYS_mount, kind, at.as_ptr(), kind, 0, 0).map(drop)
    })
}

pub(super) fn new_mount(_: &Plan) -> Attempted {
    let fd = call!(SYS_fsopen, c"tmpfs".as_ptr(), 1)?;
    close(fd as i32);
    Ok(())
}

pub(super) fn copy_mounts(_: &Plan) -> Attempted {
    const CLONE: i32 = 1;
    let fd = call!(SYS_open_tree, libc::AT_FDCWD, c"/".as_ptr(), CLONE)?;
    close(fd as i32);
    Ok(())
}

pub(super) fn change_root(_: &Plan) -> Attempted {
    aside(|| call!(SYS_chroot, c".".as_ptr()).map(drop))
}

pub(super) fn host_name(_: &Plan) -> Attempted {
    // SAFETY: all bits zero is such a structure.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    call!(SYS_uname, &raw mut names)?;
    let length = names.nodename.iter().take_while(|byte| **byte != 0).count();
    call!(SYS_sethostname, names.nodename.as_ptr(), length).map(drop)
}

pub(super) fn bpf(_: &Plan) -> Attempted {
    // An array of one entry.
    let map = [2u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let fd = call!(SYS_bpf, 0, map.as_ptr(), size_of_val(&map))?;
    close(fd as i32);
    Ok(())
}

/// Counts what happens to the own process, without the kernel's part.
pub(super) fn perf(_: &Plan) -> Attempted {
    let mut event = [0u64; 16];
    // A software event, in this structure's bytes; then: not of the kernel, not of a hypervisor.
    event[0] = 1 | (128 << 32);
    event[5] = (1 << 5) | (1 << 6);
    let fd = call!(SYS_perf_event_open, event.as_ptr(), 0, -1, -1, 0)?;
    close(fd as i32);
    Ok(())
}

/// Calls of the kernel that no filter sees.
pub(super) fn ring(_: &Plan) -> Attempted {
    let mut parameters = [0u32; 30];
    let fd = call!(SYS_io_uring_setup, 1, parameters.as_mut_ptr())?;
    close(fd as i32);
    Ok(())
}

pub(super) fn fault_handler(_: &Plan) -> Attempted {
    const USER_MODE_ONLY: i32 = 1;
    let fd = call!(SYS_userfaultfd, USER_MODE_ONLY | libc::O_CLOEXEC)?;
    close(fd as i32);
    Ok(())
}

const PROCESS_KEYRING: i32 = -2;
const SESSION_KEYRING: i32 = -3;

pub(super) fn add_key(_: &Plan) -> Attempted {
    let (kind, name) = (c"user".as_ptr(), c"attacker".as_ptr());
    call!(SYS_add_key, kind, name, c"1".as_ptr(), 1, PROCESS_KEYRING).map(drop)
}

/// The keys of the user's session.
pub(super) fn session_keys(_: &Plan) -> Attempted {
    const ID_OF: i32 = 0;
    call!(SYS_keyctl, ID_OF, SESSION_KEYRING, 1, 0, 0).map(drop)
}

/// A module that is none: the kernel says so to whoever may load one.
pub(super) fn load_module(_: &Plan) -> Attempted {
    match call!(SYS_init_module, c"none".as_ptr(), 4, c"".as_ptr()) {
        Err(stopped) if stopped.errno == Errno::ENOEXEC => Ok(()),
        other => other.map(drop),
    }
}

pub(super) fn ports(_: &Plan) -> Attempted {
    aside(|| call!(SYS_ioperm, 0x80, 1, 1).map(drop))
}

pub(super) fn become_another(_: &Plan) -> Attempted {
    aside(|| call!(SYS_setresuid, 33, 33, 33).map(drop))
}

pub(super) fn become_root(_: &Plan) -> Attempted {
    aside(|| {
        call!(SYS_setresuid, 0, 0, 0)?;
        if super::call::read(std::path::Path::new("/etc/shadow")).is_ok() {
            return Ok(());
        }
        Err(Stopped::at("setresuid", Errno::EPERM))
    })
}

/// All rights that root has.
pub(super) fn capabilities(_: &Plan) -> Attempted {
    aside(|| {
        const VERSION_3: u32 = 0x2008_0522;
        const DAC_OVERRIDE: u32 = 1 << 1;
        let header = [VERSION_3, 0];
        let wanted = [DAC_OVERRIDE, DAC_OVERRIDE, 0, 0, 0, 0];
        call!(SYS_capset, header.as_ptr(), wanted.as_ptr()).map(drop)
    })
}

pub(super) fn descriptor_table(_: &Plan) -> Attempted {
    // Reads the local descriptors of segments, of which there are none.
    let mut bytes = [0u8; 16];
    call!(SYS_modify_ldt, 0, bytes.as_mut_ptr(), bytes.len()).map(drop)
}

/// Memory that the host cannot take back.
pub(super) fn lock_memory(_: &Plan) -> Attempted {
    const BYTES: usize = 1 << 30;
    let at = call!(
        SYS_mmap,
        0,
        BYTES,
        libc::PROT_NONE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        -1,
        0
    )?;
    // On a fault only, so that nothing is taken here.
    const ON_FAULT: i32 = 1;
    let locked = call!(SYS_mlock2, at, BYTES, ON_FAULT);
    let _ = call!(SYS_munmap, at, BYTES);
    locked.map(drop)
}
