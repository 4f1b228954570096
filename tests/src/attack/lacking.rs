//! A kernel that lacks something, for the programs that run on it: `attacker lacking NAME,… PROGRAM WORD…`
//! becomes that program, behind a filter that answers as such a kernel would.

use std::collections::BTreeMap;
use std::ffi::c_long;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use crate::program;

/// What it may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It makes no namespaces for anybody.
    Namespaces,
    Landlock,
    Seccomp,
    /// It has filters, and none that ask another process.
    Notification,
}

/// An answer, the call that gets it, and for which of its arguments: bits of the one at an index.
type Refused = (Errno, c_long, Option<(u8, u64)>);

impl Lack {
    const ALL: [Self; 4] = [
        Self::Namespaces,
        Self::Landlock,
        Self::Seccomp,
        Self::Notification,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Notification => "notification",
        }
    }

    /// The command on such a kernel.
    pub fn around(self, attacker: &std::path::Path, command: &Command) -> Command {
        let mut outer = Command::new(attacker);
        outer
            .args(["lacking", self.name()])
            .stdin(std::process::Stdio::null());
        program::around(outer, command)
    }

    fn refused(self) -> Vec<Refused> {
        let flags = [
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWNS,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUTS,
        ];
        match self {
            Self::Namespaces => [libc::SYS_clone, libc::SYS_unshare]
                .into_iter()
                .flat_map(|call| flags.map(|flag| (Errno::EPERM, call, Some((0, flag as u64)))))
                // Its flags are in memory, where no filter looks.
                .chain([(Errno::ENOSYS, libc::SYS_clone3, None)])
                .collect(),
            Self::Notification => vec![(
                Errno::EINVAL,
                libc::SYS_seccomp,
                Some((1, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)),
            )],
            Self::Landlock => vec![(Errno::ENOSYS, libc::SYS_landlock_create_ruleset, None)],
            Self::Seccomp => vec![
                (Errno::ENOSYS, libc::SYS_seccomp, None),
                (
                    Errno::EINVAL,
                    libc::SYS_prctl,
                    Some((0, libc::PR_SET_SECCOMP as u64)),
                ),
            ],
        }
    }
}

/// The words after `lacking`. Only returns when that fails.
pub(super) fn become_program(words: &[String]) -> ExitCode {
    let [names, program, words @ ..] = words else {
        eprintln!("usage: attacker lacking NAME,… PROGRAM WORD…");
        return ExitCode::FAILURE;
    };
    let lacks = Lack::ALL
        .into_iter()
        .filter(|lack| names.split(',').any(|name| name == lack.name()));
    let refused: Vec<_> = lacks.flat_map(Lack::refused).collect();
    let error = match install(&refused) {
        Ok(()) => Command::new(program).args(words).exec(),
        Err(error) => error,
    };
    eprintln!("{program} on a kernel without {names}: {error}");
    ExitCode::FAILURE
}

fn install(refused: &[Refused]) -> io::Result<()> {
    // A filter has one answer; the one after which there are no more comes last.
    for errno in [Errno::EPERM, Errno::EINVAL, Errno::ENOSYS] {
        let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
        for (_, call, argument) in refused.iter().filter(|(answer, ..)| *answer == errno) {
            let rules = rules.entry(*call).or_default();
            if let Some((index, bits)) = argument {
                rules.push(rule(*index, *bits).map_err(io::Error::other)?);
            }
        }
        if !rules.is_empty() {
            let answer = SeccompAction::Errno(errno as u32);
            let arch = std::env::consts::ARCH
                .try_into()
                .map_err(io::Error::other)?;
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, arch);
            let program: BpfProgram = filter
                .and_then(TryInto::try_into)
                .map_err(io::Error::other)?;
            apply_filter(&program).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

fn rule(index: u8, bits: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let holds = SeccompCmpOp::MaskedEq(bits);
    let condition = SeccompCondition::new(index, SeccompCmpArgLen::Qword, holds, bits)?;
    SeccompRule::new(vec![condition])
}
