//! A file system without extended attributes, for releases of gVisor that answer questions after them
//! wrongly.
//!
//! By hand: the filters of a library end whoever calls by the numbers of another architecture, and this one is
//! above the guest's programs as well.

use std::io;
use std::mem::offset_of;

use nix::errno::Errno;

/// What the process that serves the guest's files asks the host with.
const CALLS: [libc::c_long; 4] = [
    libc::SYS_fgetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_flistxattr,
    libc::SYS_fremovexattr,
];

/// From now on this process and its children hear that no file can have attributes. Needs that they
/// can get no new rights.
pub(super) fn hide() -> io::Result<()> {
    let mut filter = vec![statement(
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        offset_of!(libc::seccomp_data, nr) as u32,
    )];
    for (call, below) in CALLS.iter().zip((0..CALLS.len()).rev()) {
        let call = u32::try_from(*call).map_err(io::Error::other)?;
        // To the last statement, over those that are below and the one that allows.
        let refuse = u8::try_from(below + 1).map_err(io::Error::other)?;
        filter.push(libc::sock_filter {
            jt: refuse,
            ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call)
        });
    }
    let refused = libc::SECCOMP_RET_ERRNO | Errno::EOPNOTSUPP as u32;
    for answer in [libc::SECCOMP_RET_ALLOW, refused] {
        filter.push(statement(libc::BPF_RET | libc::BPF_K, answer));
    }
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the program is as long as it says, and lives until the kernel has copied it.
    let set = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    Errno::result(set)?;
    Ok(())
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        // Every code has its place in the lower half.
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}
