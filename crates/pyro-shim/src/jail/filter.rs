//! How the kernel is told which system calls there are.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, apply_filter_all_threads,
};

/// When a call is meant: always, or when each of these is so.
pub(super) type When = Vec<Only>;

/// This argument, of which these bits are looked at, is this. Of most the kernel reads 32 bits, and then
/// no others are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Only {
    Number {
        argument: u8,
        bits: u32,
        value: u32,
    },
    /// It leads nowhere.
    NoPointer {
        argument: u8,
    },
}

/// Calls, with each way in which one is meant.
#[derive(Default)]
pub(super) struct Rules(BTreeMap<c_long, Vec<When>>);

impl Rules {
    pub(super) fn always(mut self, calls: &[c_long]) -> Self {
        self.0.extend(calls.iter().map(|call| (*call, Vec::new())));
        self
    }

    pub(super) fn when(mut self, call: c_long, ways: impl IntoIterator<Item = When>) -> Self {
        self.0.entry(call).or_default().extend(ways);
        self
    }

    fn only(self) -> io::Result<BpfProgram> {
        let refuse = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        self.compile(refuse, SeccompAction::Allow)
    }

    fn compile(self, other: SeccompAction, these: SeccompAction) -> io::Result<BpfProgram> {
        let mut rules = BTreeMap::new();
        for (call, ways) in self.0 {
            let ways: Result<Vec<SeccompRule>, _> = ways.iter().map(rule).collect();
            rules.insert(call, ways?);
        }
        let architecture =
            TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
        SeccompFilter::new(rules, other, these, architecture)
            .and_then(BpfProgram::try_from)
            .map_err(io::Error::other)
    }
}

fn rule(when: &When) -> io::Result<SeccompRule> {
    let condition = |only: &Only| match *only {
        Only::Number {
            argument,
            bits,
            value,
        } => SeccompCondition::new(
            argument,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(bits.into()),
            value.into(),
        ),
        Only::NoPointer { argument } => {
            SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
        }
    };
    let conditions: Result<Vec<SeccompCondition>, _> = when.iter().map(condition).collect();
    conditions
        .and_then(SeccompRule::new)
        .map_err(io::Error::other)
}

/// Leaves this thread these calls: for any other the kernel says that it has none like that, so that a
/// library that has another way takes it.
pub(super) fn allow(rules: Rules) -> io::Result<()> {
    applied(apply_filter(&rules.only()?))
}

/// As [`allow`], for all threads that this process has.
pub(super) fn allow_all_threads(rules: Rules) -> io::Result<()> {
    applied(apply_filter_all_threads(&rules.only()?))
}

/// With the kernel's own answer, where there is one.
fn applied(outcome: Result<(), seccompiler::Error>) -> io::Result<()> {
    outcome.map_err(|error| match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
        other => io::Error::other(other),
    })
}

/// Has these calls wait for whoever holds what is returned. When that is closed the kernel has no such
/// calls any more.
pub(super) fn ask(rules: Rules) -> io::Result<OwnedFd> {
    /// How a program says what is to be done.
    const RETURN: u16 = 0x06;
    let trace = SeccompAction::Trace(0);
    let word = u32::from(trace.clone());
    let mut program = rules.compile(SeccompAction::Allow, trace)?;
    // The compiler of filters has no word for it.
    for step in &mut program {
        if step.code == RETURN && step.k == word {
            step.k = libc::SECCOMP_RET_USER_NOTIF;
        }
    }
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_mut_ptr().cast(),
    };
    // SAFETY: the program is as long as is said, and of the kernel's own layout.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    let listener = RawFd::try_from(listener).unwrap_or(-1);
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}
