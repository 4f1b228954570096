//! Starts commands: each in a group of its own, on pipes or at a terminal, with the variables and
//! the secrets that it asked for.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::fchown;
use pyro_wire::Bytes;
use pyro_wire::exec::Exec;
use pyro_wire::fault::Fault;
use pyro_wire::shells::Size;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use crate::backend::Backend;
use crate::cgroup::{Fresh, Groups};
use crate::clock::Laps;
use crate::command::{self, StartError};
use crate::group::Group;
use crate::lock::lock;
use crate::pty::Pty;
use crate::reaper::{Exit, Reaper};
use crate::secrets::Secrets;
use crate::spawn::{PreExec, Program, SpawnError};
use crate::standstill::Starts;
use crate::user::{self, User};
use crate::variables::Variables;
use crate::witness::Seat;

/// How much output a command may be ahead of its reader.
const OUTPUT_PIPE: i32 = 1024 * 1024;

/// What every command is started with.
pub(crate) struct Launcher {
    pub(crate) backend: Backend,
    pub(crate) reaper: Arc<Reaper>,
    pub(crate) groups: Groups,
    /// For the next command on pipes, made while nobody waits for it.
    ready: Mutex<Option<Ready>>,
    /// Whether a command may start at the moment.
    pub(crate) starts: Starts,
    /// What commands may ask for, and must not be seen to say.
    pub(crate) secrets: Secrets,
    /// What commands see of the environment that the guest was made from.
    pub(crate) variables: Variables,
}

/// A command that runs.
pub(crate) struct Process<'a> {
    pub(crate) leader: i32,
    pub(crate) group: Group<'a>,
    pub(crate) exit: oneshot::Receiver<Exit>,
}

/// Whether a command's standard input is a terminal that becomes its own.
enum Terminal {
    None,
    /// With a seat for a witness where the kernel needs one.
    Own(Option<Seat>),
}

/// What takes long in a sandbox, where opening a file or looking at one is as dear as twenty other
/// calls.
struct Ready {
    /// `/dev/null`.
    nothing: File,
    shell: &'static str,
    outputs: [(pipe::Receiver, OwnedFd); 2],
}

impl Ready {
    fn make() -> io::Result<Self> {
        Ok(Self {
            nothing: File::open("/dev/null")?,
            shell: command::shell(),
            outputs: [output_pipe()?, output_pipe()?],
        })
    }
}

/// Our ends of what a command that has no terminal runs on.
pub(crate) struct Pipes {
    pub(crate) stdin: Option<pipe::Sender>,
    pub(crate) stdout: pipe::Receiver,
    pub(crate) stderr: pipe::Receiver,
}

impl Process<'_> {
    pub(crate) fn pid(&self) -> u32 {
        self.leader.cast_unsigned()
    }
}

impl Launcher {
    pub(crate) fn new(backend: Backend, reaper: Arc<Reaper>) -> Self {
        Self {
            backend,
            reaper,
            groups: Groups::default(),
            variables: Variables::default(),
            ready: Mutex::default(),
            starts: Starts::default(),
            secrets: Secrets::default(),
        }
    }

    pub(crate) fn start(
        &self,
        request: &Exec,
        laps: &mut Laps,
    ) -> Result<(Pipes, Process<'_>), StartError> {
        let Ready {
            nothing,
            shell,
            outputs: [(stdout, stdout_inside), (stderr, stderr_inside)],
        } = match lock(&self.ready).take() {
            Some(ready) => ready,
            None => Ready::make()?,
        };
        let Prepared {
            argv,
            env,
            cwd,
            user,
        } = self.prepare(request, shell)?;
        let (stdin, stdin_inside) = if request.input {
            let (inside, outside) =
                nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;
            give(&inside, user.as_ref());
            (Some(pipe::Sender::from_owned_fd(outside)?), inside)
        } else {
            (None, nothing.into())
        };
        give(&stdout_inside, user.as_ref());
        give(&stderr_inside, user.as_ref());
        let stdio = [stdin_inside, stdout_inside, stderr_inside];
        laps.reached("folder and pipes open");
        let user = user.as_ref();
        let process = self.spawn(&argv, env, stdio, &cwd, user, Terminal::None, laps)?;
        let pipes = Pipes {
            stdin,
            stdout,
            stderr,
        };
        Ok((pipes, process))
    }

    pub(crate) fn start_at_terminal(
        &self,
        request: &Exec,
        size: Size,
    ) -> Result<(Pty, Process<'_>), StartError> {
        let Prepared {
            argv,
            env,
            cwd,
            user,
        } = self.prepare(request, command::shell())?;
        self.spawn_at_terminal(&argv, env, &cwd, user.as_ref(), size)
    }

    /// Starts a program with a new terminal, as it is.
    pub(crate) fn spawn_at_terminal(
        &self,
        argv: &[OsString],
        env: BTreeMap<OsString, OsString>,
        cwd: &File,
        user: Option<&User>,
        size: Size,
    ) -> Result<(Pty, Process<'_>), StartError> {
        let (mut pty, inside) = Pty::open(size)?;
        give(&inside, user);
        let seat = pty.appoint_witness()?;
        let stdio = [inside.try_clone()?, inside.try_clone()?, inside];
        let laps = &mut Laps::begin(false);
        let process = self.spawn(argv, env, stdio, cwd, user, Terminal::Own(seat), laps)?;
        Ok((pty, process))
    }

    /// Does beforehand what the next command would wait for. On the host that is next to nothing, and
    /// pipes that nobody uses count there.
    pub(crate) fn get_ready(&self) {
        if !self.backend.is_guest() {
            return;
        }
        self.groups.create_ahead();
        // An error shows again when the command starts.
        *lock(&self.ready) = Ready::make().ok();
    }

    /// Checks a request, and finds what it is started with.
    fn prepare(&self, request: &Exec, shell: &str) -> Result<Prepared, StartError> {
        command::check(request)?;
        let mut argv = command::argv(&self.backend, &request.command)?;
        let secrets = self.secrets.environment(&request.secret_env)?;
        let user = self.user(request.user.as_ref())?;
        let folder = command::folder(&self.backend, request.cwd.as_ref());
        let cwd = command::open_folder(&folder)?;
        let own = self.variables.all();
        let given = || own.iter().chain(&request.env).chain(&secrets);
        let who = user.as_ref();
        let mut env = command::environment(&self.backend, who, shell, &folder, given());
        if command::is_shell(&argv, &request.command) {
            command::keep_path(&mut argv, &mut env, given());
        }
        Ok(Prepared {
            argv,
            env,
            cwd,
            user,
        })
    }

    /// Who runs a command. Without a word about it that is whoever the agent is.
    pub(crate) fn user(&self, asked: Option<&Bytes>) -> Result<Option<User>, StartError> {
        let found = asked.map(|asked| user::find(&self.backend, asked));
        let found = found.transpose().map_err(Fault::from);
        found.map_err(StartError::from)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "everything that a new process differs by"
    )]
    fn spawn(
        &self,
        argv: &[OsString],
        env: BTreeMap<OsString, OsString>,
        stdio: [OwnedFd; 3],
        cwd: &File,
        user: Option<&User>,
        terminal: Terminal,
        laps: &mut Laps,
    ) -> Result<Process<'_>, StartError> {
        let program = Program::new(argv, env, stdio)?;
        let ahead = matches!(terminal, Terminal::None);
        let mut fresh = match ahead {
            true => self.groups.take(),
            // A terminal is taken by the first process that tries.
            false => self.groups.create(),
        };
        laps.reached("group made");
        let mut spawned = self.run(&program, fresh.as_ref(), cwd, user, &terminal);
        // Whoever is root in the guest may have removed a group that was made ahead.
        if ahead
            && matches!(spawned, Err(SpawnError::PreExec(_)))
            && let Some(lost) = fresh.take()
        {
            self.groups.clear_away(lost.cgroup);
            fresh = self.groups.create();
            spawned = self.run(&program, fresh.as_ref(), cwd, user, &terminal);
        }
        laps.reached("process started");
        // Our copies of the command's ends: with them we would wait for ourselves, and a terminal
        // would never be hung up.
        drop((program, terminal));
        let cgroup = fresh.map(|fresh| fresh.cgroup);
        let leader = match spawned {
            Ok(pid) => pid,
            Err(error) => {
                if let Some(cgroup) = cgroup {
                    self.groups.clear_away(cgroup);
                }
                return Err(command::why_not(argv, error));
            }
        };
        // No await since the process was started, see `Reaper`.
        let exit = self.reaper.watch(leader);
        let group = Group::new(&self.groups, self.reaper.clone(), leader, cgroup);
        Ok(Process {
            leader,
            group,
            exit,
        })
    }

    fn run(
        &self,
        program: &Program,
        fresh: Option<&Fresh>,
        cwd: &File,
        user: Option<&User>,
        terminal: &Terminal,
    ) -> Result<i32, SpawnError> {
        program.spawn(&PreExec {
            cwd: cwd.as_raw_fd(),
            cgroup_procs: fresh.map(|fresh| fresh.procs.as_raw_fd()),
            dies_with_parent: matches!(self.backend, Backend::Process { .. }),
            loses_protection: matches!(self.backend, Backend::Vm),
            controlling_terminal: matches!(terminal, Terminal::Own(_)),
            witness: match terminal {
                Terminal::Own(Some(seat)) => Some(seat.as_raw_fd()),
                _ => None,
            },
            user: user.map(|user| &user.credentials),
        })
    }
}

struct Prepared {
    argv: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    cwd: File,
    user: Option<User>,
}

/// Makes a command's end of a pipe or terminal its user's, who may then open it by name
/// (`/dev/stdout`) as well. A kernel that does not allow it leaves the descriptor itself, which most
/// programs use.
fn give(inside: &OwnedFd, user: Option<&User>) {
    if let Some(user) = user {
        let _ = fchown(inside, Some(user.credentials.owner().0), None);
    }
}

/// A pipe for output: our end, which does not block, and the command's, which does.
fn output_pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (outside, inside) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    // A smaller pipe is only slower; an ordinary user may have used up what it is granted.
    let _ = fcntl(&outside, FcntlArg::F_SETPIPE_SZ(OUTPUT_PIPE));
    Ok((pipe::Receiver::from_owned_fd(outside)?, inside))
}
