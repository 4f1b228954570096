//! Starts an agent and speaks to it as a host does.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use pyro_wire::agent::{AgentReply, AgentRequest};
use pyro_wire::exec::{Command, Exec, ExecControl, ExecEnd, ExecEvent};
use pyro_wire::fault::Fault;
use pyro_wire::frame::{self, Kind};
use pyro_wire::session::{self, Opener, Stream};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// No test needs as long; whatever does is stuck.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The workspace of an agent, with room beside it for what the agent keeps there.
pub(crate) struct Folder {
    home: TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = Self {
            home: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(folder.path()).unwrap();
        folder
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.home.path().join("workspace")
    }

    /// Where the agent keeps what belongs to the workspace.
    pub(crate) fn state(&self) -> PathBuf {
        self.home.path().join("workspace.pyro")
    }
}

pub(crate) struct Agent {
    pub(crate) folder: Folder,
    pub(crate) process: Child,
    pub(crate) opener: Opener,
    session: JoinHandle<Result<(), session::SessionError>>,
}

impl Agent {
    pub(crate) async fn start() -> Self {
        Self::start_in(Folder::new()).await
    }

    pub(crate) async fn start_in(folder: Folder) -> Self {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let process = spawn(&folder.path(), theirs.into());
        ours.set_nonblocking(true).unwrap();
        let mut channel = UnixStream::from_std(ours).unwrap();
        timeout(LIMIT, session::handshake(&mut channel))
            .await
            .unwrap()
            .unwrap();
        let (opener, session) = session::host(channel);
        Self {
            folder,
            process,
            opener,
            session: tokio::spawn(session),
        }
    }

    pub(crate) async fn ask(&self, request: &AgentRequest) -> AgentReply {
        let mut stream = self.opener.open().await.unwrap();
        frame::write_message(&mut stream, request).await.unwrap();
        timeout(LIMIT, frame::read_message(&mut stream))
            .await
            .unwrap()
            .unwrap()
    }

    /// Asks for a command and does not wait for anything.
    pub(crate) async fn begin(&self, request: Exec) -> Running {
        let mut stream = self.opener.open().await.unwrap();
        frame::write_message(&mut stream, &AgentRequest::Exec(request))
            .await
            .unwrap();
        Running { stream }
    }

    /// Runs a command that must start, to its end.
    pub(crate) async fn run(&self, request: Exec) -> Outcome {
        self.begin(request).await.finish().await.unwrap()
    }

    pub(crate) async fn sh(&self, line: &str) -> Outcome {
        self.run(shell(line)).await
    }

    /// A time limit for a command, in milliseconds, that is much more than this one needs on this
    /// host right now, and not shorter than `least`.
    pub(crate) async fn ample_ms(&self, line: &str, least: u64) -> u64 {
        let began = Instant::now();
        self.sh(line).await;
        least.max(10 * u64::try_from(began.elapsed().as_millis()).unwrap())
    }

    /// Ends the channel, as a host does that goes away, and waits for the agent's end.
    pub(crate) async fn hang_up(self) -> std::process::ExitStatus {
        self.part().await.0
    }

    /// The same, for whoever wants to see what is left.
    pub(crate) async fn part(mut self) -> (std::process::ExitStatus, Folder) {
        drop(self.opener);
        self.session.abort();
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return (status, self.folder);
            }
            assert!(Instant::now() < deadline, "the agent does not end");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills the agent in whatever it is doing, and keeps its folder.
    pub(crate) fn kill(mut self) -> Folder {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.session.abort();
        self.folder
    }

    pub(crate) fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

fn spawn(folder: &Path, channel: OwnedFd) -> Child {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pyro-agent"));
    command.arg("--process").arg(folder).stdin(Stdio::null());
    let number = channel.as_raw_fd();
    // SAFETY: the closure makes plain system calls on a descriptor that is open until after the
    // process is started.
    unsafe {
        command.pre_exec(move || {
            // Onto itself, `dup2` would leave the descriptor marked to be closed.
            let moved = if number == 3 {
                libc::fcntl(3, libc::F_SETFD, 0)
            } else {
                libc::dup2(number, 3)
            };
            if moved < 0 || libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let child = command.spawn().unwrap();
    drop(channel);
    child
}

pub(crate) struct Running {
    pub(crate) stream: Stream,
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) output: Vec<u8>,
    pub(crate) errors: Vec<u8>,
    pub(crate) end: ExecEnd,
}

impl Outcome {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }
}

impl Running {
    pub(crate) async fn event(&mut self) -> ExecEvent {
        timeout(LIMIT, frame::read_message(&mut self.stream))
            .await
            .unwrap()
            .unwrap()
    }

    pub(crate) async fn started(&mut self) -> i32 {
        match self.event().await {
            ExecEvent::Started { pid } => i32::try_from(pid).unwrap(),
            other => panic!("not started but {other:?}"),
        }
    }

    pub(crate) async fn control(&mut self, control: &ExecControl) {
        frame::write_message(&mut self.stream, control)
            .await
            .unwrap();
    }

    pub(crate) async fn input(&mut self, data: &[u8]) {
        let write = frame::write_data(&mut self.stream, Kind::Input, data);
        timeout(LIMIT, write).await.unwrap().unwrap();
    }

    /// Reads to the end: what came, or why the command did not start.
    pub(crate) async fn finish(mut self) -> Result<Outcome, Fault> {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let read = async {
            loop {
                let frame = frame::read(&mut self.stream).await.unwrap().unwrap();
                match frame.kind {
                    Kind::Output => output.extend(frame.body),
                    Kind::ErrorOutput => errors.extend(frame.body),
                    Kind::Input => panic!("input from the agent"),
                    Kind::Message => match frame.message().unwrap() {
                        ExecEvent::Started { .. } => {}
                        ExecEvent::Ended(end) => return Ok(end),
                        ExecEvent::Failed(fault) => return Err(fault),
                    },
                }
            }
        };
        let end = timeout(LIMIT, read).await.unwrap()?;
        // The end is the last frame, and the stream ends after it.
        let rest = timeout(LIMIT, frame::read(&mut self.stream)).await.unwrap();
        assert_eq!(rest.unwrap(), None);
        self.stream.shutdown().await.unwrap();
        Ok(Outcome {
            output,
            errors,
            end,
        })
    }
}

pub(crate) fn shell(line: &str) -> Exec {
    Exec::new(Command::Shell(line.as_bytes().to_vec().into()))
}

pub(crate) fn program<T: AsRef<[u8]>>(words: &[T]) -> Exec {
    let words = words.iter().map(|word| word.as_ref().to_vec().into());
    Exec::new(Command::Program(words.collect()))
}

/// Waits until a file holds a whole line, and reads it as a process id.
pub(crate) async fn pid_in(path: &Path) -> i32 {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Ok(text) = fs::read_to_string(path)
            && let Some(line) = text.strip_suffix('\n')
        {
            return line.parse().unwrap();
        }
        assert!(Instant::now() < deadline, "{} stays empty", path.display());
        sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a process lives; a zombie does not.
pub(crate) fn lives(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

pub(crate) async fn await_death(pid: i32) {
    let deadline = Instant::now() + LIMIT;
    while lives(pid) {
        assert!(Instant::now() < deadline, "{pid} lives on");
        sleep(Duration::from_millis(5)).await;
    }
}
