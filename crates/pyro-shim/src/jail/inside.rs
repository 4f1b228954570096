//! The steps of `pyro shim --jail PLAN PROGRAM…`, until it is the program; those of a network's process,
//! which needs no exec; and what the shim is told.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::stat::umask;
use pyro_wire::jail::{MissingWall, Wall};

use super::plan::{Calls, Plan, Report};
use super::{PRIVATE, calls, filter, landlock, rights, root};
use crate::backend::control_group::ControlGroup;

/// What this process exits with when it becomes nobody else.
const FAILED: u8 = 125;

/// The step at which the program could not be executed.
pub(super) const EXEC: &str = "executing it";

/// The step that a user without a right to namespaces fails at, where he may make them all the same.
pub(super) const ROOT: &str = "making its root folder";

struct Failure {
    step: &'static str,
    source: io::Error,
}

fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Failure {
    move |source| Failure {
        step,
        source: source.into(),
    }
}

/// See [`crate::jail`].
pub(crate) fn run(plan: &OsStr, program: &OsStr, arguments: &[&OsStr]) -> ExitCode {
    let Some(plan) = read(plan) else {
        eprintln!("this is no plan of a jail");
        return FAILED.into();
    };
    let mut report = plan.report.map(take_report);
    let Err(failure) = become_program(&plan, report.as_ref(), program, arguments);
    tell_failure(report.as_mut(), &failure);
    FAILED.into()
}

/// Puts this process, which stays what it is, into its jail.
pub(crate) fn enter(plan: &OsStr) -> Result<(), ExitCode> {
    let Some(plan) = read(plan) else {
        eprintln!("this is no plan of a jail");
        return Err(FAILED.into());
    };
    let mut report = plan.report.map(take_report);
    let walled = wall_in(&plan, report.is_some()).and_then(|(missing, gate)| {
        tell_walls(report.as_ref(), missing, gate.as_ref()).map_err(step("telling of it"))
    });
    walled.map_err(|failure| {
        tell_failure(report.as_mut(), &failure);
        ExitCode::from(FAILED)
    })
}

fn read(plan: &OsStr) -> Option<Plan> {
    serde_json::from_str(plan.to_str()?).ok()
}

fn take_report(fd: RawFd) -> UnixStream {
    // SAFETY: sets a flag of a descriptor; whoever made the plan passed it for the purpose, and nobody
    // else uses it.
    unsafe {
        libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        UnixStream::from_raw_fd(fd)
    }
}

fn become_program(
    plan: &Plan,
    report: Option<&UnixStream>,
    program: &OsStr,
    arguments: &[&OsStr],
) -> Result<Infallible, Failure> {
    let (missing, gate) = wall_in(plan, report.is_some())?;
    tell_walls(report, missing, gate.as_ref()).map_err(step("telling of it"))?;
    drop(gate);
    // Its environment is what the shim chose for this process.
    Err(step(EXEC)(Command::new(program).args(arguments).exec()))
}

/// Puts up each wall that there is. With the other end of the gate, if there is to be one.
fn wall_in(plan: &Plan, with_gate: bool) -> Result<(Vec<MissingWall>, Option<OwnedFd>), Failure> {
    let mut missing = Vec::new();
    let mut lacks = |wall, reason: String| {
        missing.push(MissingWall {
            wall,
            reason,
            fix: None,
        });
    };
    if let Some(entrance) = plan.control_group {
        // SAFETY: whoever made the plan passed this descriptor for the purpose, and nobody else uses it.
        let entrance = unsafe { OwnedFd::from_raw_fd(entrance) };
        ControlGroup::enter(entrance).map_err(step("entering its control group"))?;
    }
    if let Some(score) = plan.oom_score {
        // A wish, which some containers do not grant.
        let _ = std::fs::write("/proc/self/oom_score_adj", score.to_string());
    }
    nix::sys::prctl::set_no_new_privs().map_err(step("giving up new rights"))?;
    // Those of a network's process are too many for the steps that follow, which open files themselves. What is
    // handed to it is the one file that it may read in any case.
    let is_first = plan.calls != Calls::Network;
    let mut gate = Gate::Unasked;
    if with_gate && is_first {
        gate = Gate::make(plan);
    }
    let opens_handed = !matches!(gate, Gate::Made(_));
    if plan.own_root {
        root::make(plan, opens_handed).map_err(step(ROOT))?;
    }
    // What it writes is its own, or was made for it; its root folder is there by now.
    umask(PRIVATE);
    rights::limit(&plan.limits).map_err(step("limiting what it may use"))?;
    rights::give_up(plan.of_root && plan.own_root).map_err(step("giving up its rights"))?;
    match landlock::enforce(plan, opens_handed).map_err(step("keeping to its files"))? {
        Ok(()) => {}
        Err(reason) => lacks(Wall::Landlock, reason),
    }
    if with_gate && !is_first {
        gate = Gate::make(plan);
    }
    match filter::allow(calls::needed(plan.calls, std::process::id())) {
        Ok(()) => {}
        Err(error) => lacks(Wall::SystemCalls, no_filter(&error)),
    }
    match gate {
        Gate::Made(gate) => Ok((missing, Some(gate))),
        Gate::Unasked => Ok((missing, None)),
        Gate::Refused(reason) => {
            missing.push(MissingWall {
                wall: Wall::Gate,
                reason,
                fix: None,
            });
            Ok((missing, None))
        }
    }
}

/// The program's side of the gate.
enum Gate {
    Unasked,
    Made(OwnedFd),
    Refused(String),
}

impl Gate {
    fn make(plan: &Plan) -> Self {
        match filter::ask(calls::gated(plan.calls)) {
            Ok(gate) => Self::Made(gate),
            Err(error) => Self::Refused(no_filter(&error)),
        }
    }
}

fn no_filter(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY) => "a container's own filter listens in the place of pyro's".into(),
        _ => format!("the kernel takes no filter of system calls ({error})"),
    }
}

fn tell_walls(
    report: Option<&UnixStream>,
    missing: Vec<MissingWall>,
    gate: Option<&OwnedFd>,
) -> io::Result<()> {
    let Some(report) = report else {
        return Ok(());
    };
    let text = serde_json::to_vec(&Report::Walled { missing })?;
    let fds: Vec<RawFd> = gate.map(AsRawFd::as_raw_fd).into_iter().collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let rights = if fds.is_empty() { &[][..] } else { &rights[..] };
    let told = sendmsg::<()>(
        report.as_raw_fd(),
        &[IoSlice::new(&text)],
        rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    match told == text.len() {
        true => Ok(()),
        false => Err(io::ErrorKind::WriteZero.into()),
    }
}

fn tell_failure(report: Option<&mut UnixStream>, Failure { step, source }: &Failure) {
    let told = Report::Failed {
        step: (*step).to_owned(),
        errno: source.raw_os_error().unwrap_or(libc::EINVAL),
    };
    match (report, serde_json::to_vec(&told)) {
        (Some(report), Ok(text)) => drop(report.write_all(&text)),
        _ => eprintln!("the jail could not be made: {step}: {source}"),
    }
}

/// Marks a descriptor to be closed by exec.
pub(super) fn close_on_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = nix::fcntl::FdFlag::FD_CLOEXEC;
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(flags))?;
    Ok(())
}
