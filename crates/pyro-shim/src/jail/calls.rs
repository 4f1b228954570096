//! Which system calls a VMM and a network's process need.
//!
//! Not among them, for either: to execute (once, by the gate), to start a process, to signal another, to
//! look into one, to make a file, to change one's name, owner, mode or times, to mount, namespaces, keyrings, BPF,
//! perf, io_uring, userfaultfd, modules.
//!
//! What is in the list but seldom seen in a trace is what the C library falls back to.

use libc::c_long;

use super::filter::{Only, Rules, When};
use super::plan::Calls;

/// What is open, memory, time, threads, and what one asks about oneself.
pub(super) const ALWAYS: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    // Sockets that are there.
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_eventfd2,
    libc::SYS_signalfd4,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    // Threads.
    libc::SYS_gettid,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_getcpu,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_madvise,
    // What it asks about itself.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrandom,
    libc::SYS_uname,
    libc::SYS_sysinfo,
];

/// What younger architectures have by other names only.
#[cfg(target_arch = "x86_64")]
pub(super) const BY_OLD_NAMES: &[c_long] = &[
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_time,
    // The register of threads' own data.
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const BY_OLD_NAMES: &[c_long] = &[];

/// Of files that are open: a disk, and a saved guest.
const OF_A_DISK: &[c_long] = &[
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_fallocate,
    libc::SYS_ftruncate,
    libc::SYS_fadvise64,
    libc::SYS_copy_file_range,
    libc::SYS_msync,
];

/// What is asked of a descriptor: no signals, no leases, no notices.
pub(super) const FCNTL: &[libc::c_int] = &[
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_GET_SEALS,
];

/// What is asked of a terminal, a pipe or a socket, to learn what it is.
pub(super) const IOCTL: &[u32] = &[0x5401, 0x541b, 0x5421];

/// The type of all requests of KVM, in the middle of their numbers.
const KVM_TYPE: Only = Only::Number {
    argument: 1,
    bits: 0xff00,
    value: 0xae00,
};

/// The names of threads, the slack of timers, filters on top, names of memory; and what is asked.
pub(super) const PRCTL: &[libc::c_int] = &[
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_TIMERSLACK,
    libc::PR_GET_TIMERSLACK,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_GET_SECCOMP,
    libc::PR_SET_SECCOMP,
    libc::PR_CAPBSET_READ,
    libc::PR_GET_DUMPABLE,
    // PR_SET_VMA.
    0x5356_4d41,
];

/// What a thread may not have of its own.
const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// How sockets are told apart, without the flags that go with the type.
const SOCKET_TYPE: u32 = 0xf;

pub(super) const fn is(argument: u8, value: u32) -> Only {
    Only::Number {
        argument,
        bits: u32::MAX,
        value,
    }
}

pub(super) fn each(argument: u8, values: &[libc::c_int]) -> Vec<When> {
    let of = |value: &libc::c_int| vec![is(argument, value.cast_unsigned())];
    values.iter().map(of).collect()
}

/// How a call opens a file for reading, without making or changing one; or for both, which is the gate's.
fn opening(argument: u8, mode: libc::c_int) -> When {
    let bits =
        libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | (libc::O_TMPFILE & !libc::O_DIRECTORY);
    vec![Only::Number {
        argument,
        bits: bits.cast_unsigned(),
        value: mode.cast_unsigned(),
    }]
}

/// What waits for the shim. A network's process does not even open a file to read it by itself.
pub(super) fn gated(calls: Calls) -> Rules {
    if calls == Calls::Network {
        let rules = Rules::default().always(&[libc::SYS_openat]);
        #[cfg(target_arch = "x86_64")]
        let rules = rules.always(&[libc::SYS_open]);
        return rules;
    }
    let both = libc::O_RDWR;
    let rules = Rules::default()
        .always(&[libc::SYS_execve])
        .when(libc::SYS_openat, [opening(2, both)]);
    #[cfg(target_arch = "x86_64")]
    let rules = rules.when(libc::SYS_open, [opening(1, both)]);
    rules
}

/// A thread, in no namespace of its own.
pub(super) fn thread() -> When {
    vec![Only::Number {
        argument: 0,
        bits: (libc::CLONE_THREAD | NAMESPACES).cast_unsigned(),
        value: libc::CLONE_THREAD.cast_unsigned(),
    }]
}

/// A socket of this family, kind and protocol.
pub(super) fn socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> When {
    let kind = Only::Number {
        argument: 1,
        bits: SOCKET_TYPE,
        value: kind.cast_unsigned(),
    };
    vec![
        is(0, family.cast_unsigned()),
        kind,
        is(2, protocol.cast_unsigned()),
    ]
}

/// All that there is, for a process of this number. The gate's calls are among them.
pub(super) fn needed(calls: Calls, process: u32) -> Rules {
    let reading = |argument| [libc::O_RDONLY, libc::O_RDWR].map(|mode| opening(argument, mode));
    let without_listener = Only::Number {
        argument: 1,
        bits: u32::try_from(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER).unwrap_or(u32::MAX),
        value: 0,
    };
    let rules = Rules::default()
        .always(ALWAYS)
        .always(BY_OLD_NAMES)
        .when(libc::SYS_openat, reading(2))
        .when(libc::SYS_fcntl, each(1, FCNTL))
        .when(libc::SYS_prctl, each(0, PRCTL))
        .when(libc::SYS_clone, [thread()])
        // Of its own threads.
        .when(libc::SYS_tgkill, [vec![is(0, process)]])
        // More filters.
        .when(libc::SYS_seccomp, [vec![without_listener]]);
    #[cfg(target_arch = "x86_64")]
    let rules = rules.when(libc::SYS_open, reading(1));
    match calls {
        Calls::Vmm => vmm(rules),
        Calls::VmmWithKvm => vmm(rules).when(libc::SYS_ioctl, [vec![KVM_TYPE]]),
        Calls::Network => network(rules),
    }
}

fn vmm(rules: Rules) -> Rules {
    // Locks of its disk.
    let locks = [libc::F_OFD_GETLK, libc::F_OFD_SETLK];
    rules
        .always(OF_A_DISK)
        .always(&[libc::SYS_execve])
        .when(libc::SYS_fcntl, each(1, &locks))
        // To ask, of itself.
        .when(
            libc::SYS_prlimit64,
            [vec![is(0, 0), Only::NoPointer { argument: 2 }]],
        )
        .when(
            libc::SYS_ioctl,
            IOCTL.iter().map(|request| vec![is(1, *request)]),
        )
}

fn network(rules: Rules) -> Rules {
    let mut sockets = Vec::new();
    for (family, ping) in [
        (libc::AF_INET, libc::IPPROTO_ICMP),
        (libc::AF_INET6, libc::IPPROTO_ICMPV6),
    ] {
        for protocol in [0, libc::IPPROTO_TCP] {
            sockets.push(socket(family, libc::SOCK_STREAM, protocol));
        }
        for protocol in [0, libc::IPPROTO_UDP, ping] {
            sockets.push(socket(family, libc::SOCK_DGRAM, protocol));
        }
    }
    // The addresses of this host's interfaces are asked for by it.
    for kind in [libc::SOCK_RAW, libc::SOCK_DGRAM] {
        sockets.push(socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE));
    }
    rules
        .always(&[libc::SYS_connect, libc::SYS_bind])
        .when(libc::SYS_socket, sockets)
        // Between its own tasks: connected, and never to anybody else.
        .when(
            libc::SYS_socketpair,
            [socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)],
        )
        .when(
            libc::SYS_ioctl,
            IOCTL.iter().map(|request| vec![is(1, *request)]),
        )
        // Of itself. It has no right to more than it has.
        .when(libc::SYS_prlimit64, [vec![is(0, 0)]])
}
