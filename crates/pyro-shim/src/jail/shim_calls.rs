//! Which system calls the shim of a VM needs from when its guest answers.
//!
//! By then everything has been started that it ever starts. So it executes nothing, makes no process, connects
//! to nobody and traces nobody. It works on files, which its Landlock keeps to a few folders, accepts
//! connections, and ends what it has started.

use libc::c_long;

use super::calls::{ALWAYS, BY_OLD_NAMES, FCNTL, IOCTL, PRCTL, each, is, socket, thread};
use super::filter::{Only, Rules};

/// The folder of its VM, records, what commands say, layers of the disk.
const FILES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_flock,
    libc::SYS_statfs,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
];

#[cfg(target_arch = "x86_64")]
const FILES_BY_OLD_NAMES: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
];
#[cfg(not(target_arch = "x86_64"))]
const FILES_BY_OLD_NAMES: &[c_long] = &[];

/// Who comes to it, what it has started, and its own threads.
const OTHERS: &[c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // A thread that comes to its own Landlock later than others.
    libc::SYS_landlock_restrict_self,
];

/// What is asked of the gate of a network's process, which stays open.
const GATE: [libc::Ioctl; 3] = [
    libc::SECCOMP_IOCTL_NOTIF_RECV,
    libc::SECCOMP_IOCTL_NOTIF_SEND,
    libc::SECCOMP_IOCTL_NOTIF_ADDFD,
];

/// The least that a descriptor's own table of requests is asked for: without a pointer, to close by exec.
const FIOCLEX: u32 = 0x5451;

/// All that there is, for a shim of this number.
pub(super) fn needed(process: u32) -> Rules {
    // To end it. Any other signal is none of its business.
    let kill = |argument| [vec![is(argument, libc::SIGKILL.cast_unsigned())]];
    let requests = IOCTL.iter().copied().chain([FIOCLEX]);
    // As the kernel reads them: the constants are of another width in each C library.
    let of_gate = GATE.iter().map(|request| *request as u32);
    Rules::default()
        .always(ALWAYS)
        .always(BY_OLD_NAMES)
        .always(FILES)
        .always(FILES_BY_OLD_NAMES)
        .always(OTHERS)
        .when(libc::SYS_fcntl, each(1, FCNTL))
        .when(libc::SYS_prctl, each(0, PRCTL))
        .when(libc::SYS_clone, [thread()])
        .when(libc::SYS_tgkill, [vec![is(0, process)]])
        .when(libc::SYS_kill, kill(1))
        .when(libc::SYS_pidfd_send_signal, kill(1))
        .when(
            libc::SYS_ioctl,
            requests.chain(of_gate).map(|request| vec![is(1, request)]),
        )
        // To ask, of itself.
        .when(
            libc::SYS_prlimit64,
            [vec![is(0, 0), Only::NoPointer { argument: 2 }]],
        )
        // Ports of this host that lead to the guest.
        .when(
            libc::SYS_socket,
            [0, libc::IPPROTO_TCP]
                .map(|protocol| socket(libc::AF_INET, libc::SOCK_STREAM, protocol)),
        )
}
