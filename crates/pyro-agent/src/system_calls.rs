//! The system calls that work on files on the host needs. Any other ends the agent: with the bytes of a
//! guest before it, one that it never makes is somebody else's.
//!
//! ```text
//! files        by what is open or by name, on the disk that is its root
//! memory       never to be executed
//! threads      and no process
//! its channel  what is said over it, and the lines that come over it; no other socket
//! ```
//!
//! What is in the list but never seen in a trace is what the C library and Rust's own fall back to.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// Whatever is asked of them.
const ALWAYS: &[c_long] = &[
    // What is open.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_fstat,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_fsetxattr,
    libc::SYS_getdents64,
    libc::SYS_fcntl,
    libc::SYS_close,
    // What has a name.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_fchmodat2,
    libc::SYS_utimensat,
    // The channel.
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    // Waiting.
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    // Threads.
    libc::SYS_gettid,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    // What it asks about itself.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_uname,
];

/// What younger architectures have by other names only.
#[cfg(target_arch = "x86_64")]
const BY_OLD_NAMES: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_rename,
    libc::SYS_unlink,
    libc::SYS_chmod,
    libc::SYS_epoll_wait,
    libc::SYS_poll,
];
#[cfg(not(target_arch = "x86_64"))]
const BY_OLD_NAMES: &[c_long] = &[];

/// Keeps this thread, and those that it starts from here on, to these calls. It gets no new rights either.
pub(crate) fn keep_to_files() -> io::Result<()> {
    // Whose flags lie where no filter can look: the C library then asks by `clone`. Of two filters, the
    // kernel goes by the answer that grants less.
    let hidden = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let refuse = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let hidden = program(hidden, SeccompAction::Allow, refuse)?;
    let needed = program(needed()?, SeccompAction::KillProcess, SeccompAction::Allow)?;
    for program in [hidden, needed] {
        apply_filter(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

fn needed() -> io::Result<Rules> {
    let names = ALWAYS.iter().chain(BY_OLD_NAMES);
    let mut rules: Rules = names.map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_clone3, Vec::new());
    let thread = libc::CLONE_THREAD.unsigned_abs().into();
    let executable = libc::PROT_EXEC.unsigned_abs().into();
    let name = libc::PR_SET_NAME.unsigned_abs().into();
    for (call, argument, mask, value) in [
        (libc::SYS_clone, 0, thread, thread),
        (libc::SYS_mmap, 2, executable, 0),
        (libc::SYS_mprotect, 2, executable, 0),
        (libc::SYS_prctl, 0, u64::MAX, name),
    ] {
        let only = SeccompCondition::new(
            argument,
            SeccompCmpArgLen::Qword,
            SeccompCmpOp::MaskedEq(mask),
            value,
        );
        let rule = only.and_then(|only| SeccompRule::new(vec![only]));
        rules.insert(call, vec![rule.map_err(io::Error::other)?]);
    }
    Ok(rules)
}

fn program(rules: Rules, other: SeccompAction, these: SeccompAction) -> io::Result<BpfProgram> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    SeccompFilter::new(rules, other, these, architecture)
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitStatus};
    use std::thread;

    use super::*;

    /// Says to a copy of this program what it is to call.
    const CALL: &str = "PYRO_TEST_SYSTEM_CALL";

    /// Some that it never makes, with flags where it makes the same with others.
    const FORBIDDEN: &[(&str, c_long, [c_long; 3])] = &[
        ("socket", libc::SYS_socket, [1, 1, 0]),
        ("connect", libc::SYS_connect, [0; 3]),
        ("execve", libc::SYS_execve, [0; 3]),
        ("execveat", libc::SYS_execveat, [0; 3]),
        ("ptrace", libc::SYS_ptrace, [0; 3]),
        ("process_vm_readv", libc::SYS_process_vm_readv, [0; 3]),
        ("mount", libc::SYS_mount, [0; 3]),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, [0; 3]),
        ("unshare", libc::SYS_unshare, [0; 3]),
        ("setns", libc::SYS_setns, [0; 3]),
        ("chroot", libc::SYS_chroot, [0; 3]),
        ("mknodat", libc::SYS_mknodat, [0; 3]),
        ("ioctl", libc::SYS_ioctl, [0; 3]),
        ("kill", libc::SYS_kill, [0; 3]),
        ("bpf", libc::SYS_bpf, [0; 3]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [0; 3]),
        ("clone", libc::SYS_clone, [libc::SIGCHLD as c_long, 0, 0]),
        (
            "mmap",
            libc::SYS_mmap,
            [0, 4096, (libc::PROT_READ | libc::PROT_EXEC) as c_long],
        ),
        (
            "mprotect",
            libc::SYS_mprotect,
            [0, 0, libc::PROT_EXEC as c_long],
        ),
        (
            "prctl",
            libc::SYS_prctl,
            [libc::PR_SET_DUMPABLE as c_long, 0, 0],
        ),
    ];

    /// How a copy of this program ends that makes one call.
    fn end_of(call: &str) -> ExitStatus {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "system_calls::tests::calls"])
            .env(CALL, call)
            .output()
            .unwrap()
            .status
    }

    #[test]
    fn what_it_does_not_need_ends_it() {
        for (name, ..) in FORBIDDEN {
            let end = end_of(name);
            assert_eq!(end.signal(), Some(libc::SIGSYS), "{name}: {end}");
        }
    }

    #[test]
    fn what_it_needs_it_may() {
        let end = end_of("none of them");
        assert!(end.success(), "{end}");
    }

    #[test]
    #[ignore = "a filter lasts, so this is for a process of its own"]
    fn calls() {
        let Ok(asked) = std::env::var(CALL) else {
            return;
        };
        keep_to_files().unwrap();
        if let Some((_, call, [first, second, third])) =
            FORBIDDEN.iter().find(|(name, ..)| *name == asked)
        {
            // SAFETY: it does not come to pass: this process ends instead, as the other test sees.
            unsafe { libc::syscall(*call, *first, *second, *third, 0, 0, 0) };
            std::process::exit(0);
        }
        // Threads begin and end, and memory of all sizes is there for them.
        for size in [1, 1 << 16, 1 << 24] {
            let made = thread::Builder::new().name("worker".into());
            let made = made.spawn(move || vec![1u8; size].len()).unwrap();
            assert_eq!(made.join().unwrap(), size);
        }
        // SAFETY: asks for nothing to be done; its first argument is looked at first.
        let refused = unsafe { libc::syscall(libc::SYS_clone3, 0, 0) };
        assert_eq!(refused, -1);
        assert_eq!(
            io::Error::last_os_error().raw_os_error(),
            Some(libc::ENOSYS)
        );
    }
}
