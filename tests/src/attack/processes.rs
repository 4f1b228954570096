//! Attempts at other processes, and at making more of them.

use std::path::Path;

use nix::errno::Errno;

use super::call::{Attempted, Stopped, aside, c_path, call, close, open, wait};
use super::plan::Plan;

/// Nothing to a process that lives, but only who may signal it can send it.
const HARMLESS: i32 = 0;

/// What comes to the stranger when a descriptor of the attacker's is ready.
pub const BY_DESCRIPTOR: i32 = libc::SIGUSR2;

pub(super) fn kill_stranger(plan: &Plan) -> Attempted {
    call!(SYS_kill, plan.stranger, libc::SIGUSR1).map(drop)
}

pub(super) fn kill_parent(_: &Plan) -> Attempted {
    let parent = call!(SYS_getppid)?;
    if parent == 0 {
        // It is in a namespace above.
        return Err(Stopped::at("getppid", Errno::ESRCH));
    }
    call!(SYS_kill, parent, HARMLESS).map(drop)
}

pub(super) fn kill_other_shim(plan: &Plan) -> Attempted {
    call!(SYS_kill, plan.other_shim, HARMLESS).map(drop)
}

pub(super) fn kill_other_vmm(plan: &Plan) -> Attempted {
    call!(SYS_kill, plan.other_vmm, HARMLESS).map(drop)
}

pub(super) fn tgkill(plan: &Plan) -> Attempted {
    call!(SYS_tgkill, plan.stranger, plan.stranger, HARMLESS).map(drop)
}

pub(super) fn tkill(plan: &Plan) -> Attempted {
    call!(SYS_tkill, plan.stranger, HARMLESS).map(drop)
}

pub(super) fn queue(plan: &Plan) -> Attempted {
    // SAFETY: all bits zero is such a structure.
    let mut information: libc::siginfo_t = unsafe { std::mem::zeroed() };
    information.si_signo = libc::SIGUSR1;
    information.si_code = libc::SI_QUEUE;
    call!(
        SYS_rt_sigqueueinfo,
        plan.stranger,
        libc::SIGUSR1,
        &raw const information
    )
    .map(drop)
}

fn pidfd(plan: &Plan) -> Result<i32, Stopped> {
    call!(SYS_pidfd_open, plan.stranger, 0).map(|fd| fd as i32)
}

pub(super) fn by_pidfd(plan: &Plan) -> Attempted {
    let fd = pidfd(plan)?;
    let sent = call!(SYS_pidfd_send_signal, fd, HARMLESS, 0, 0);
    close(fd);
    sent.map(drop)
}

/// Has the kernel send a signal to the stranger, when this process reads a byte from itself. Whether
/// it came is seen at the stranger.
pub(super) fn by_descriptor(plan: &Plan) -> Attempted {
    let mut ends = [0i32; 2];
    call!(SYS_pipe2, ends.as_mut_ptr(), libc::O_CLOEXEC)?;
    let [reads, writes] = ends;
    let sent = call!(SYS_fcntl, reads, libc::F_SETOWN, plan.stranger)
        .and_then(|_| call!(SYS_fcntl, reads, F_SETSIG, BY_DESCRIPTOR))
        .and_then(|_| call!(SYS_fcntl, reads, libc::F_SETFL, libc::O_ASYNC))
        .and_then(|_| call!(SYS_write, writes, c"x".as_ptr(), 1));
    close(reads);
    close(writes);
    sent.map(drop)
}

const F_SETSIG: i32 = 10;

/// Aside, as what this process holds would stay with it: one that has not stopped cannot be let go.
pub(super) fn trace(plan: &Plan) -> Attempted {
    aside(|| call!(SYS_ptrace, libc::PTRACE_SEIZE, plan.stranger, 0, 0).map(drop))
}

pub(super) fn read_memory(plan: &Plan) -> Attempted {
    let mut byte = [0u8; 1];
    let here = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    let there = [plan.stranger_memory, 1];
    let read = call!(
        SYS_process_vm_readv,
        plan.stranger,
        &raw const here,
        1,
        there.as_ptr(),
        1,
        0
    )?;
    if read == 1 {
        Ok(())
    } else {
        Err(Stopped::at("process_vm_readv", Errno::EFAULT))
    }
}

pub(super) fn take_descriptor(plan: &Plan) -> Attempted {
    let fd = pidfd(plan)?;
    let taken = call!(SYS_pidfd_getfd, fd, 0, 0);
    close(fd);
    taken.map(|fd| close(fd as i32))
}

pub(super) fn limit_other(plan: &Plan) -> Attempted {
    let mut limits = [0u64; 2];
    let core = libc::RLIMIT_CORE;
    call!(SYS_prlimit64, plan.stranger, core, 0, limits.as_mut_ptr())?;
    call!(SYS_prlimit64, plan.stranger, core, limits.as_ptr(), 0).map(drop)
}

pub(super) fn slow_other(plan: &Plan) -> Attempted {
    call!(SYS_setpriority, libc::PRIO_PROCESS, plan.stranger, 5).map(drop)
}

pub(super) fn move_other(plan: &Plan) -> Attempted {
    let all = [u64::MAX; 16];
    call!(
        SYS_sched_setaffinity,
        plan.stranger,
        size_of_val(&all),
        all.as_ptr()
    )
    .map(drop)
}

pub(super) fn compare_other(plan: &Plan) -> Attempted {
    const FILE: i32 = 0;
    let own = call!(SYS_getpid)?;
    call!(SYS_kcmp, own, plan.stranger, FILE, 0, 0).map(drop)
}

pub(super) fn fork(_: &Plan) -> Attempted {
    let child = call!(SYS_clone, libc::SIGCHLD, 0, 0, 0, 0)?;
    in_child_or_wait(child)
}

pub(super) fn fork_anew(_: &Plan) -> Attempted {
    let mut arguments = [0u64; 11];
    arguments[4] = libc::SIGCHLD as u64;
    let child = call!(SYS_clone3, arguments.as_ptr(), size_of_val(&arguments))?;
    in_child_or_wait(child)
}

pub(super) fn vfork(_: &Plan) -> Attempted {
    // Without CLONE_VM: a child in this memory would run on this stack.
    let child = call!(SYS_clone, libc::CLONE_VFORK | libc::SIGCHLD, 0, 0, 0, 0)?;
    in_child_or_wait(child)
}

pub(super) fn fork_into_namespace(_: &Plan) -> Attempted {
    let child = call!(SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0)?;
    in_child_or_wait(child)
}

fn in_child_or_wait(child: i64) -> Attempted {
    if child == 0 {
        // SAFETY: ends this child without running what belongs to its parent.
        unsafe { libc::_exit(0) }
    }
    wait(child).map_err(|errno| Stopped::at("wait4", errno))
}

/// More threads than any VM has.
pub(super) fn threads(_: &Plan) -> Attempted {
    const COUNT: usize = 6000;
    let (open, closed) = (std::sync::Mutex::new(()), std::sync::Mutex::new(0));
    let held = open.lock();
    std::thread::scope(|scope| {
        let mut result = Ok(());
        for _ in 0..COUNT {
            let thread = std::thread::Builder::new().stack_size(64 * 1024);
            let made = thread.spawn_scoped(scope, || {
                drop(open.lock());
                *closed
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner) += 1;
            });
            if let Err(error) = made {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
                result = Err(Stopped::at("clone", errno));
                break;
            }
        }
        drop(held);
        result
    })
}

/// In a child where one can be made, or in the place of this process.
fn execute(program: &Path, arguments: &[&std::ffi::CStr]) -> Attempted {
    let name = c_path(program);
    let mut words: Vec<*const libc::c_char> = vec![name.as_ptr()];
    words.extend(arguments.iter().map(|word| word.as_ptr()));
    words.push(std::ptr::null());
    aside(|| {
        let none = [std::ptr::null::<libc::c_char>()];
        call!(SYS_execve, name.as_ptr(), words.as_ptr(), none.as_ptr()).map(drop)
    })
}

pub(super) fn shell(_: &Plan) -> Attempted {
    execute(Path::new("/bin/sh"), &[c"-c", c"exit 0"])
}

pub(super) fn itself(plan: &Plan) -> Attempted {
    let as_called = std::env::args_os().next().unwrap_or_default();
    execute(Path::new(&as_called), &[c"--version"])
        .or_else(|_| execute(&plan.program, &[c"--version"]))
}

pub(super) fn set_user_id(plan: &Plan) -> Attempted {
    execute(&plan.set_user_id, &[c"--version"])
}

/// A program that is in no file.
pub(super) fn from_memory(_: &Plan) -> Attempted {
    let fd = call!(SYS_memfd_create, c"program".as_ptr(), 0)?;
    // The least that is a program: it exits with status 0.
    call!(SYS_write, fd, LEAST_PROGRAM.as_ptr(), LEAST_PROGRAM.len())?;
    let none = [std::ptr::null::<libc::c_char>()];
    let empty = c"";
    let done = aside(|| {
        call!(
            SYS_execveat,
            fd,
            empty.as_ptr(),
            none.as_ptr(),
            none.as_ptr(),
            libc::AT_EMPTY_PATH
        )
        .map(drop)
    });
    close(fd as i32);
    done
}

/// An ELF file for x86-64 of one segment: `mov eax, 60; xor edi, edi; syscall`.
const LEAST_PROGRAM: &[u8] = &{
    let mut program = [0u8; 129];
    let header: [u8; 120] = [
        0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, // the kind of file
        2, 0, 62, 0, 1, 0, 0, 0, 0x78, 0, 0x40, 0, 0, 0, 0, 0, // begins at 0x400078
        64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // segments at 64
        0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0, // one of them
        1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // loaded, to read and execute
        0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, // at 0x400000
        129, 0, 0, 0, 0, 0, 0, 0, 129, 0, 0, 0, 0, 0, 0, 0, // all of the file
        0, 0x10, 0, 0, 0, 0, 0, 0, // in pages
    ];
    let code = [0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
    let mut at = 0;
    while at < header.len() {
        program[at] = header[at];
        at += 1;
    }
    while at < program.len() {
        program[at] = code[at - header.len()];
        at += 1;
    }
    program
};

/// Lives on when the supervisor dies.
pub(super) fn outlive(_: &Plan) -> Attempted {
    let before = death_signal()?;
    call!(SYS_prctl, libc::PR_SET_PDEATHSIG, 0, 0, 0, 0)?;
    let is_gone = death_signal()? == 0;
    let _ = call!(SYS_prctl, libc::PR_SET_PDEATHSIG, before, 0, 0, 0);
    if is_gone {
        Ok(())
    } else {
        Err(Stopped::at("prctl", Errno::EAGAIN))
    }
}

fn death_signal() -> Result<i32, Stopped> {
    let mut signal = 0i32;
    call!(SYS_prctl, libc::PR_GET_PDEATHSIG, &raw mut signal, 0, 0, 0)?;
    Ok(signal)
}

/// Writes its memory to a file when it crashes.
pub(super) fn dump_core(_: &Plan) -> Attempted {
    let limits = [1u64 << 30, 1 << 30];
    let mut before = [0u64; 2];
    let core = libc::RLIMIT_CORE;
    call!(SYS_prlimit64, 0, core, limits.as_ptr(), before.as_mut_ptr())?;
    let _ = call!(SYS_prlimit64, 0, core, before.as_ptr(), 0);
    Ok(())
}

pub(super) fn enter_namespace(plan: &Plan) -> Attempted {
    let fd = open(&Plan::of(plan.stranger, "ns/net"), libc::O_RDONLY)?;
    let entered = call!(SYS_setns, fd, libc::CLONE_NEWNET);
    close(fd);
    entered.map(drop)
}
