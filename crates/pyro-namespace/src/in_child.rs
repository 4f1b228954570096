//! From clone(2) to exec(2), in the child.
//!
//! The child is a copy of one thread of a process that may have had many, so nothing here may
//! allocate, lock or call into the C library's notion of threads: system calls only, on memory that
//! was made ready before. `setresuid` of the C library, for one, would wait for threads
//! that are not in the copy.

use std::ffi::{CString, c_char};
use std::os::fd::RawFd;

use libc::{c_int, c_long, c_ulong};

/// What the child does about its ids.
#[derive(Clone, Copy)]
pub(crate) enum Ids<'a> {
    /// They stay: it is in no namespace of its own.
    Callers,
    /// Its parent writes the maps, and it becomes id 0.
    Mapped,
    /// It writes them itself, which anybody may where only the own ids are in them: files, and what
    /// is to be in them. By that it is id 0, in the groups that it was in.
    MapsItself(&'a [(CString, Vec<u8>)]),
}

/// What the child needs, made by the parent.
pub(crate) struct Plan<'a> {
    pub(crate) ids: Ids<'a>,
    pub(crate) program: *const c_char,
    /// Each ends with a null pointer.
    pub(crate) arguments: &'a [*const c_char],
    pub(crate) environment: &'a [*const c_char],
    /// Become 0, 1 and 2. None of these and of the following is below 3.
    pub(crate) standard: [RawFd; 3],
    pub(crate) keep: &'a [RawFd],
    /// Readable when the maps are written.
    pub(crate) go: RawFd,
    /// Where a [`Failure`] is told. Closed by exec.
    pub(crate) report: RawFd,
    /// A pidfd, readable when the parent is gone.
    pub(crate) parent: RawFd,
}

/// What went wrong in the child, as it travels to the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) errno: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    BecomeRoot = 1,
    BindToParent = 2,
    PassDescriptors = 3,
    Exec = 4,
}

impl Failure {
    pub(crate) const BYTES: usize = 5;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let [a, b, c, d] = self.errno.to_ne_bytes();
        [self.step as u8, a, b, c, d]
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [step, errno @ ..] = <[u8; Self::BYTES]>::try_from(bytes).ok()?;
        let step = [
            Step::BecomeRoot,
            Step::BindToParent,
            Step::PassDescriptors,
            Step::Exec,
        ]
        .into_iter()
        .find(|known| *known as u8 == step)?;
        Some(Self {
            step,
            errno: i32::from_ne_bytes(errno),
        })
    }
}

/// Becomes the program, or ends.
///
/// # Safety
///
/// To be called in a fresh child with all signals blocked, once. The pointers of the plan must lead
/// to C strings, and its lists must end with null.
pub(crate) unsafe fn run(plan: &Plan<'_>) -> ! {
    // SAFETY: as promised by the caller.
    let failure = unsafe { steps(plan) };
    let bytes = failure.to_bytes();
    // SAFETY: the bytes are as many as said; `_exit` runs nothing of this process.
    unsafe {
        libc::write(plan.report, bytes.as_ptr().cast(), bytes.len());
        libc::_exit(127)
    }
}

unsafe fn steps(plan: &Plan<'_>) -> Failure {
    // A child of one that hides its memory would hide its own, and `newuidmap` be kept
    // from its maps. What it holds as a copy is gone with exec.
    // SAFETY: sets a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1 as c_ulong, 0, 0, 0) };
    // The end of the pipe would not tell that the parent is gone: other children may have its other
    // end as well, for as long as they wait themselves.
    loop {
        // SAFETY: system calls; poll gets as many entries as there are.
        unsafe {
            let mut ends = [readable(plan.parent), readable(plan.go)];
            let ready = libc::poll(ends.as_mut_ptr(), 2, -1);
            if ready > 0 && ends[0].revents == 0 {
                break;
            }
            if ready > 0 || errno() != libc::EINTR {
                // Nobody is left to hear of it.
                libc::_exit(127);
            }
        }
    }
    // SAFETY: each only makes system calls on descriptors and strings of the plan.
    unsafe {
        for (step, done) in [
            (
                Step::BecomeRoot,
                become_root as unsafe fn(&Plan<'_>) -> bool,
            ),
            (Step::BindToParent, bind_to_parent),
            (Step::PassDescriptors, pass_descriptors),
        ] {
            if !done(plan) {
                return Failure {
                    step,
                    errno: errno(),
                };
            }
        }
        reset_signals();
        libc::execve(
            plan.program,
            plan.arguments.as_ptr(),
            plan.environment.as_ptr(),
        );
    }
    Failure {
        step: Step::Exec,
        errno: errno(),
    }
}

unsafe fn become_root(plan: &Plan<'_>) -> bool {
    match plan.ids {
        Ids::Callers => return true,
        Ids::Mapped => {}
        // SAFETY: writes to files of its own.
        Ids::MapsItself(files) => return files.iter().all(|file| unsafe { write_whole(file) }),
    }
    // SAFETY: system calls without pointers but a null one with length 0.
    unsafe {
        libc::syscall(libc::SYS_setgroups, 0 as c_long, std::ptr::null::<u32>()) == 0
            && libc::syscall(libc::SYS_setresgid, 0 as c_long, 0 as c_long, 0 as c_long) == 0
            && libc::syscall(libc::SYS_setresuid, 0 as c_long, 0 as c_long, 0 as c_long) == 0
    }
}

/// The kernel takes a map in one write, or nothing.
unsafe fn write_whole((path, text): &(CString, Vec<u8>)) -> bool {
    // SAFETY: system calls; the pointers lead to as many bytes as is said.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file == -1 {
            return false;
        }
        let written = libc::write(file, text.as_ptr().cast(), text.len());
        let error = errno();
        libc::close(file);
        *libc::__errno_location() = error;
        usize::try_from(written) == Ok(text.len())
    }
}

/// After the change of ids, which takes the signal back.
unsafe fn bind_to_parent(plan: &Plan<'_>) -> bool {
    // SAFETY: system calls; poll gets one entry.
    unsafe {
        let signal = libc::SIGKILL as c_ulong;
        if libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) != 0 {
            return false;
        }
        // It may have died before that line. From inside a PID namespace it has no number, so
        // getppid(2) tells nothing.
        let mut parent = readable(plan.parent);
        if libc::poll(&raw mut parent, 1, 0) != 0 {
            libc::_exit(127);
        }
        // A terminal of the parent is not the child's. Fails for a leader of a group, which a fresh
        // child is not.
        libc::setsid();
    }
    true
}

unsafe fn pass_descriptors(plan: &Plan<'_>) -> bool {
    for (number, fd) in (0..).zip(plan.standard) {
        // SAFETY: in this process, about to become another program, nobody owns 0, 1 and 2.
        if unsafe { libc::dup2(fd, number) } == -1 {
            return false;
        }
    }
    // What somebody forgot to mark would be open in there as well. Kernels before 5.11 cannot, and
    // there it is.
    // SAFETY: marks descriptors; the program that owned them is not this one.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3 as c_long,
            c_long::from(u32::MAX),
            c_long::from(libc::CLOSE_RANGE_CLOEXEC),
        )
    };
    plan.keep
        .iter()
        // SAFETY: clears a flag of a descriptor.
        .all(|fd| unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) } != -1)
}

const fn readable(fd: RawFd) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

/// What was ignored or blocked would stay so across exec.
unsafe fn reset_signals() {
    /// As many as there are, and the size of a set of them, for the kernel.
    const SIGNALS: c_long = 64;
    const SET_BYTES: c_long = SIGNALS / 8;
    // The kernel's `sigaction` and its set, of which all zero mean the default action and no signal.
    // Not by the C library, which refuses its own two signals.
    let (default, none) = ([0_u64; 4], 0_u64);
    // SAFETY: both are as large as the kernel reads; the handlers were of a program that ends
    // here. Signals without a choice are refused.
    unsafe {
        for signal in 1..=SIGNALS {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                SET_BYTES,
            );
        }
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            c_long::from(libc::SIG_SETMASK),
            &raw const none,
            std::ptr::null_mut::<u64>(),
            SET_BYTES,
        );
    }
}

fn errno() -> c_int {
    // SAFETY: the C library's own variable of this thread, which the copy has.
    unsafe { *libc::__errno_location() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_travels() {
        let failure = Failure {
            step: Step::Exec,
            errno: libc::ENOENT,
        };
        assert_eq!(Failure::from_bytes(&failure.to_bytes()), Some(failure));
        assert_eq!(Failure::from_bytes(&[9, 0, 0, 0, 0]), None);
        assert_eq!(Failure::from_bytes(&[]), None);
    }
}
