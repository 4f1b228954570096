//! What to start, and how it is started.
//!
//! ```text
//! caller                                  child
//! clone ────────────────────────────────▶ waits
//! writes the maps
//! "go" ─────────────────────────────────▶ becomes id 0, ends with the caller from here on
//! waits                                   exec
//!       ◀── end of file, or what failed ──
//! ```
//!
//! One process from beginning to end: `unshare --fork` and what is like it need a second one, because
//! only a child can be in a new PID namespace, and then there are two to be killed.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{Pid, getpid, pipe2};

use crate::child::{Child, pidfd};
use crate::error::NamespaceError;
use crate::forbidden;
use crate::id_map::IdMap;
use crate::in_child::{self, Failure, Ids, Plan, Step};
use crate::write_map;

/// How long a child may take from its start to exec. Nothing in it waits for anything but us.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Which namespaces a program gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// The caller's own: the program is only bound to it, and gets nothing that it was not given.
    Callers,
    /// User, mount and PID: for work on files.
    Files,
    /// IPC and UTS as well: what opens sockets of the host and nothing else.
    AllButNetwork,
    /// All that there are.
    All,
}

impl Namespaces {
    fn flags(self) -> libc::c_int {
        let files = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID;
        let but_network = files | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        match self {
            Self::Callers => 0,
            Self::Files => files,
            Self::AllButNetwork => but_network,
            Self::All => but_network | libc::CLONE_NEWNET,
        }
    }
}

/// A program that is to be started in namespaces: without arguments, with no environment,
/// and with `/dev/null` for input, output and errors, until told otherwise.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<OsString>,
    standard: [Option<OwnedFd>; 3],
    keep: Vec<OwnedFd>,
    namespaces: Namespaces,
}

impl Program {
    /// The path is not searched for, and is seen as the caller sees it.
    pub fn new(path: impl Into<PathBuf>, namespaces: Namespaces) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            standard: [None, None, None],
            keep: Vec::new(),
            namespaces,
        }
    }

    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub fn args(&mut self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> &mut Self {
        for argument in arguments {
            self.arg(argument);
        }
        self
    }

    /// In the place of all arguments so far.
    pub fn set_args(&mut self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> &mut Self {
        self.arguments.clear();
        self.args(arguments)
    }

    /// Other namespaces than it was made for.
    pub fn namespaces(&mut self, namespaces: Namespaces) -> &mut Self {
        self.namespaces = namespaces;
        self
    }

    pub fn env(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        let mut entry = OsString::from(name);
        entry.push("=");
        entry.push(value);
        self.environment.push(entry);
        self
    }

    pub fn stdin(&mut self, fd: impl Into<OwnedFd>) -> &mut Self {
        self.standard[0] = Some(fd.into());
        self
    }

    pub fn stdout(&mut self, fd: impl Into<OwnedFd>) -> &mut Self {
        self.standard[1] = Some(fd.into());
        self
    }

    pub fn stderr(&mut self, fd: impl Into<OwnedFd>) -> &mut Self {
        self.standard[2] = Some(fd.into());
        self
    }

    /// A descriptor that the program has under the number that it has here, above 2. It gets no other.
    pub fn keep(&mut self, fd: impl Into<OwnedFd>) -> &mut Self {
        self.keep.push(fd.into());
        self
    }

    /// Starts it, and returns when it has been executed. The map is of no use to one in [`Namespaces::Callers`]. The thread that calls this must live as long as the
    /// program is to: with the thread, it ends.
    ///
    /// Nothing of it outlives the calling process, whenever that is killed.
    pub fn start(&self, map: &IdMap) -> Result<Child, NamespaceError> {
        self.start_with(map, &[])
    }

    /// As [`Program::start`], with descriptors that this one start has beside those that are kept, above 2.
    pub fn start_with(
        &self,
        map: &IdMap,
        more: &[BorrowedFd<'_>],
    ) -> Result<Child, NamespaceError> {
        let strings = Strings::of(self)?;
        let standard = self.standard()?;
        let pipes = NamespaceError::io("a pipe for the new process could not be made");
        let (go_end, go, report, report_end) = (|| {
            let (go_end, go) = pipe()?;
            let (report, report_end) = pipe()?;
            Ok((go_end, go, report, report_end))
        })()
        .map_err(pipes)?;
        let parent = own_pidfd().map_err(NamespaceError::io(
            "this kernel has no pidfd_open (Linux 5.3)",
        ))?;
        let kept = self.keep.iter().map(AsRawFd::as_raw_fd);
        let keep: Vec<RawFd> = kept.chain(more.iter().map(AsRawFd::as_raw_fd)).collect();
        let own_maps = map.is_of_one().then(|| write_map::of_one(map));
        let ids = match (&own_maps, self.namespaces) {
            (_, Namespaces::Callers) => Ids::Callers,
            (Some(files), _) => Ids::MapsItself(files),
            (None, _) => Ids::Mapped,
        };
        let plan = Plan {
            ids,
            program: strings.program.as_ptr(),
            arguments: &strings.arguments(),
            environment: &strings.environment(),
            standard: [0, 1, 2].map(|number: usize| standard[number].as_raw_fd()),
            keep: &keep,
            go: go_end.as_raw_fd(),
            report: report_end.as_raw_fd(),
            parent: parent.as_raw_fd(),
        };
        let child = clone(self.namespaces.flags(), &plan)?;
        drop(report_end);
        if let Ids::Mapped = plan.ids {
            write_map::write(map, Pid::from_raw(child.id().cast_signed()))?;
        }
        // Never refused: its other end is open here as well.
        File::from(go)
            .write_all(&[1])
            .map_err(NamespaceError::io("the new process does not listen"))?;
        match failure(report).map_err(NamespaceError::io("the new process does not answer"))? {
            Some(failure) => Err(self.explain(failure)),
            // Executed; or killed before that, which its end will tell.
            None => Ok(child),
        }
    }

    /// The three, as descriptors above 2, so that none is overwritten on the way to its place.
    fn standard(&self) -> Result<[OwnedFd; 3], NamespaceError> {
        let place = |fd: &Option<OwnedFd>| match fd {
            Some(fd) => above_two(fd.as_fd()),
            None => {
                let null = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open("/dev/null")?;
                above_two(null.as_fd())
            }
        };
        let [input, output, errors] = &self.standard;
        (|| Ok([place(input)?, place(output)?, place(errors)?]))().map_err(NamespaceError::io(
            "the new process could not be given descriptors",
        ))
    }

    fn explain(&self, failure: Failure) -> NamespaceError {
        let error = io::Error::from_raw_os_error(failure.errno);
        match failure.step {
            // With maps it may, unless something else than the kernel's own rules says no.
            Step::BecomeRoot => {
                NamespaceError::Forbidden(forbidden::explain("becoming root in one", &error))
            }
            Step::BindToParent => NamespaceError::io("the new process cannot be bound")(error),
            Step::PassDescriptors => {
                NamespaceError::io("the new process could not take its descriptors")(error)
            }
            Step::Exec => NamespaceError::Exec {
                program: self.path.clone(),
                source: error,
            },
        }
    }
}

/// What a program is called with, as C strings that the child finds ready.
struct Strings {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Strings {
    fn of(program: &Program) -> Result<Self, NamespaceError> {
        let all = |list: &[OsString]| list.iter().map(|text| c_string(text)).collect();
        let path = c_string(program.path.as_os_str())?;
        let rest: Result<Vec<CString>, NamespaceError> = all(&program.arguments);
        let mut arguments = vec![path.clone()];
        arguments.extend(rest?);
        Ok(Self {
            program: path,
            arguments,
            environment: all(&program.environment)?,
        })
    }

    fn arguments(&self) -> Vec<*const libc::c_char> {
        pointers(&self.arguments)
    }

    fn environment(&self) -> Vec<*const libc::c_char> {
        pointers(&self.environment)
    }
}

fn c_string(text: &OsStr) -> Result<CString, NamespaceError> {
    CString::new(text.as_bytes()).map_err(|_| {
        NamespaceError::io("a program cannot be called like this")(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} has a null byte", Path::new(text).display()),
        ))
    })
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    let texts = strings.iter().map(|text| text.as_ptr());
    texts.chain([ptr::null()]).collect()
}

/// Makes the child, which goes its own way in [`in_child::run`].
fn clone(flags: libc::c_int, plan: &Plan<'_>) -> Result<Child, NamespaceError> {
    // No handler of this process may run in the child, on a copy of its state.
    let mut before = SigSet::empty();
    nix::sys::signal::pthread_sigmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::all()),
        Some(&mut before),
    )
    .map_err(|error| NamespaceError::io("signals cannot be blocked")(error.into()))?;
    let mut pidfd: libc::c_int = -1;
    let flags = flags | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and with no stack given, this is fork(2): the child goes on with a
    // copy of everything. The third argument is where CLONE_PIDFD writes, on every architecture.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::c_long::from(flags),
            0 as libc::c_long,
            &raw mut pidfd,
            0 as libc::c_long,
            0 as libc::c_long,
        )
    };
    if pid == 0 {
        // SAFETY: this is the fresh child, signals are blocked, and the plan was made as it must be.
        unsafe { in_child::run(plan) }
    }
    let error = io::Error::last_os_error();
    // Cannot fail: the mask is one that was in force.
    let _ = nix::sys::signal::pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    if pid < 0 {
        return Err(refused(error));
    }
    // SAFETY: the kernel has just made it, for us alone.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = i32::try_from(pid)
        .map_err(|_| NamespaceError::io("the new process")(io::Error::other("has no number")))?;
    Ok(Child::new(Pid::from_raw(pid), pidfd))
}

/// ENOSPC and EUSERS are what a limit of namespaces says, EINVAL a kernel that was built without some.
fn refused(error: io::Error) -> NamespaceError {
    match error.raw_os_error() {
        Some(
            libc::EPERM | libc::EACCES | libc::ENOSPC | libc::EUSERS | libc::EINVAL | libc::ENOSYS,
        ) => NamespaceError::Forbidden(forbidden::explain("clone", &error)),
        _ => NamespaceError::io("a process could not be made")(error),
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((above_two(reader.as_fd())?, above_two(writer.as_fd())?))
}

fn above_two(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: the kernel has just made it, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn own_pidfd() -> io::Result<OwnedFd> {
    above_two(pidfd(getpid())?.as_fd())
}

/// What the child has to tell, which is nothing when it has become the program.
fn failure(report: OwnedFd) -> io::Result<Option<Failure>> {
    let deadline = Instant::now() + START_TIMEOUT;
    let mut report = File::from(report);
    let mut told = Vec::new();
    let mut buffer = [0; Failure::BYTES];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(report.as_fd(), PollFlags::POLLIN)];
        match poll(
            &mut fds,
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
        ) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        match report.read(&mut buffer)? {
            0 => return Ok(Failure::from_bytes(&told)),
            count => told.extend_from_slice(&buffer[..count]),
        }
    }
}
