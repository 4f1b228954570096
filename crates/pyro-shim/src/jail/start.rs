//! From a plan to a program in its jail.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::geteuid;
use pyro_namespace::{Child, IdMap, NamespaceError, Namespaces, Program, forbidden_by_setting};
use pyro_wire::jail::{JailChoice, MissingWall, Wall, Walls};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::gate::{self, Gate};
use super::handed::Handed;
use super::inside::{EXEC, ROOT};
use super::plan::{Calls, Plan, Report};
use crate::THIS_PROGRAM;

/// How long a jail may take to be made. Nothing in it waits for anything but us.
const LIMIT: Duration = Duration::from_secs(20);

/// More than a report ever has.
const REPORT_BYTES: usize = 16 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum JailError {
    #[error("{source}")]
    Start {
        #[from]
        source: NamespaceError,
    },
    #[error("its jail could not be made: {source}")]
    Io {
        #[from]
        source: io::Error,
    },
    #[error("its jail could not be made: {step}: {source}")]
    Step { step: String, source: io::Error },
    #[error("it ended while its jail was made")]
    Ended,
    #[error("{source}")]
    Exec { source: io::Error },
    #[error("PYRO_JAIL is strict, and the wall `{}` is missing: {}{}", missing.wall.name(), missing.reason, fix(missing))]
    Strict { missing: MissingWall },
}

fn fix(missing: &MissingWall) -> String {
    let words = |fix: &String| format!("; what helps: {fix}");
    missing.fix.as_ref().map(words).unwrap_or_default()
}

/// A program that is to be put into a jail.
pub(crate) struct Prisoner {
    pub(crate) plan: Plan,
    pub(crate) choice: JailChoice,
    /// The words after `pyro shim`, of which the plan comes second.
    pub(crate) mode: &'static str,
    pub(crate) words: Vec<OsString>,
    /// All but the network's, or all.
    pub(crate) namespaces: Namespaces,
    pub(crate) handed: Vec<Handed>,
    /// With its descriptors and its environment.
    pub(crate) program: Program,
}

/// A program in its jail.
pub(crate) struct Jailed {
    pub(crate) child: Child,
    pub(crate) walls: Walls,
    /// To be served for as long as the program may ask, and closed by being dropped.
    pub(crate) gate: Option<Gate>,
}

impl Prisoner {
    pub(crate) fn new(plan: Plan, choice: JailChoice, binary: &Path) -> Self {
        Self {
            plan,
            choice,
            mode: "--jail",
            words: vec![binary.into()],
            namespaces: Namespaces::All,
            handed: Vec::new(),
            program: Program::new(THIS_PROGRAM, Namespaces::All),
        }
    }

    /// The process of a guest's network, which is this program.
    pub(crate) fn network(plan: Plan, choice: JailChoice, network: String) -> Self {
        Self {
            mode: "--network",
            words: vec![network.into()],
            ..Self::new(plan, choice, Path::new(THIS_PROGRAM))
        }
    }

    /// Starts it and waits until it has been executed. The calling thread must live as long as the program is
    /// to. Dropping the future kills what it started.
    pub(crate) async fn start(mut self) -> Result<Jailed, JailError> {
        let mut missing = Vec::new();
        match self.attempt(true).await {
            Err(error) => match refusal(&error) {
                Some(missing) if self.choice == JailChoice::Strict => {
                    return Err(JailError::Strict { missing });
                }
                Some(refusal) => missing.push(refusal),
                None => return Err(error),
            },
            Ok(started) => return self.finish(started, missing),
        }
        if self.plan.of_root {
            missing.push(MissingWall {
                wall: Wall::Ids,
                reason: "without a user namespace it stays root, though without its capabilities"
                    .into(),
                fix: Some("run pyro as an ordinary user".into()),
            });
        }
        let started = self.attempt(false).await?;
        self.finish(started, missing)
    }

    fn finish(
        &mut self,
        (child, gate, more): (Child, Option<Gate>, Vec<MissingWall>),
        mut missing: Vec<MissingWall>,
    ) -> Result<Jailed, JailError> {
        missing.extend(more);
        Ok(Jailed {
            child,
            walls: Walls::without(missing),
            gate,
        })
    }

    async fn attempt(
        &mut self,
        own_root: bool,
    ) -> Result<(Child, Option<Gate>, Vec<MissingWall>), JailError> {
        let (report, theirs) = StdUnixStream::pair()?;
        report.set_nonblocking(true)?;
        let report = UnixStream::from_std(report)?;
        let of_root = geteuid().is_root();
        self.plan.own_root = own_root;
        self.plan.of_root = of_root;
        self.plan.report = Some(theirs.as_raw_fd());
        let plan = serde_json::to_string(&self.plan).map_err(io::Error::from)?;
        let words = [OsStr::new("shim"), OsStr::new(self.mode), OsStr::new(&plan)];
        let words = words.map(OsStr::to_owned).into_iter();
        self.program
            .set_args(words.chain(self.words.iter().cloned()));
        self.program.namespaces(match own_root {
            true => self.namespaces,
            false => Namespaces::Callers,
        });
        let map = match of_root && own_root {
            true => IdMap::of_caller()?,
            false => IdMap::of_caller_alone(),
        };
        let child = self.program.start_with(&map, &[theirs.as_fd()])?;
        drop(theirs);
        let made = timeout(LIMIT, self.await_exec(&report, &child)).await;
        let (gate, missing) =
            made.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))?;
        Ok((child, gate, missing))
    }

    async fn await_exec(
        &mut self,
        report: &UnixStream,
        child: &Child,
    ) -> Result<(Option<Gate>, Vec<MissingWall>), JailError> {
        let (missing, listener) = match receive(report).await? {
            (Some(Report::Walled { missing }), listener) => (missing, listener),
            (Some(Report::Failed { step, errno }), _) => return Err(failed(step, errno)),
            (None, _) => return Err(JailError::Ended),
        };
        if let (JailChoice::Strict, Some(missing)) = (self.choice, missing.first()) {
            return Err(JailError::Strict {
                missing: missing.clone(),
            });
        }
        let handed = std::mem::take(&mut self.handed);
        let executes = self.plan.calls != Calls::Network;
        let gate = listener.map(|listener| Gate::new(listener, child.id(), executes, handed));
        let mut gate = gate.transpose()?;
        tokio::select! {
            // Its exec closes the other end.
            told = receive(report) => {
                if let (Some(Report::Failed { step, errno }), _) = told? {
                    return Err(failed(step, errno));
                }
            }
            error = gate::serve(&mut gate) => return Err(error.into()),
        }
        Ok((gate, missing))
    }
}

fn failed(step: String, errno: i32) -> JailError {
    let source = io::Error::from_raw_os_error(errno);
    match step == EXEC {
        true => JailError::Exec { source },
        false => JailError::Step { step, source },
    }
}

/// That namespaces are not to be had here, if that is what an error says.
fn refusal(error: &JailError) -> Option<MissingWall> {
    let (reason, fix) = match error {
        JailError::Start {
            source: error @ NamespaceError::Forbidden(_),
        } => (error.to_string(), error.fix().map(str::to_owned)),
        // A user who may make namespaces, and do nothing in them.
        JailError::Step { step, source }
            if step == ROOT && source.kind() == io::ErrorKind::PermissionDenied =>
        {
            let said = format!("{step}: {source}");
            match forbidden_by_setting(&said) {
                Some(forbidden) => (forbidden.reason, Some(forbidden.fix)),
                None => (said, None),
            }
        }
        _ => return None,
    };
    Some(MissingWall {
        wall: Wall::Namespaces,
        reason,
        fix,
    })
}

/// What is told, with a descriptor if one comes along; nothing at the end.
async fn receive(report: &UnixStream) -> io::Result<(Option<Report>, Option<OwnedFd>)> {
    let mut text = vec![0; REPORT_BYTES];
    let received = report.async_io(Interest::READABLE, || {
        let mut rights = nix::cmsg_space!(RawFd);
        let mut parts = [IoSliceMut::new(&mut text)];
        let message = recvmsg::<()>(
            report.as_raw_fd(),
            &mut parts,
            Some(&mut rights),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )?;
        let fds = message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        // SAFETY: the kernel has just made it, for us alone.
        let fd = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        Ok((message.bytes, fd))
    });
    let (length, fd) = match received.await {
        Ok(received) => received,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => (0, None),
        Err(error) => return Err(error),
    };
    let report = match length {
        0 => None,
        _ => Some(serde_json::from_slice(&text[..length])?),
    };
    Ok((report, fd))
}
