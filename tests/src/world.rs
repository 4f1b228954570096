//! A state folder of its own for each test, and the `pyro` binary in it.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::{leftovers, played};

/// No command of a test may take longer than this.
const PATIENCE: Duration = Duration::from_secs(180);

/// What VMs of a test are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Host processes: fast, without isolation.
    Process,
    /// Real virtual machines.
    Vm,
    /// Sandboxes of gVisor.
    Gvisor,
}

pub struct World {
    pub backend: Backend,
    state: TempDir,
    extra: Vec<(OsString, OsString)>,
}

impl World {
    pub fn new(backend: Backend) -> Self {
        Self {
            backend,
            state: TempDir::with_prefix("pyro-test-").expect("a temporary folder"),
            extra: Vec::new(),
        }
    }

    /// Sets a variable for every command of this world.
    pub fn with(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.extra
            .push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    pub fn state_dir(&self) -> PathBuf {
        self.state.path().join("state")
    }

    /// A folder that goes with the world.
    pub fn folder(&self) -> &Path {
        self.state.path()
    }

    /// The variables that make a process part of this world.
    pub fn variables(&self) -> Vec<(OsString, OsString)> {
        let mut variables = vec![("PYRO_STATE_DIR".into(), self.state_dir().into())];
        variables.push(match self.backend {
            Backend::Process => ("PYRO_BACKEND".into(), "process".into()),
            // What a host does by itself depends on the host.
            Backend::Vm => ("PYRO_ISOLATION".into(), "vm".into()),
            Backend::Gvisor => ("PYRO_ISOLATION".into(), "gvisor".into()),
        });
        variables.extend(self.extra.iter().cloned());
        variables
    }

    /// `pyro` with arguments, not started yet.
    pub fn pyro<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(pyro());
        command
            .args(args)
            .envs(self.variables())
            .stdin(Stdio::null());
        command
    }

    /// `pyro run debian:12 FLAGS -- COMMAND` on this world's backend, not started yet.
    pub fn run<A: AsRef<OsStr>>(
        &self,
        flags: &[&str],
        command: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut run = self.pyro(["run", "debian:12"]);
        if self.backend == Backend::Process {
            run.arg("--allow-host-compat");
        }
        run.args(flags).arg("--").args(command);
        run
    }

    /// Seconds in which a command has begun and written a line, for timeouts that are waited for: a
    /// guest that has just booted, beside others on a busy host, takes more than one.
    pub fn seconds_to_begin(&self) -> u32 {
        match self.backend {
            Backend::Process => 1,
            Backend::Gvisor => 3,
            Backend::Vm => 5,
        }
    }

    /// What results of this world call its kind, and which accelerators it may have.
    pub fn mode_and_accelerators(&self) -> (&'static str, &'static [&'static str]) {
        match self.backend {
            Backend::Process => ("host_compat", &["none"]),
            Backend::Vm => ("guest_vsock", &["tcg", "kvm"]),
            Backend::Gvisor => ("gvisor", &["systrap"]),
        }
    }

    /// Whether VMs of this kind run here; where not, says why its stories are not played.
    pub fn can_be_played(&self) -> bool {
        self.backend != Backend::Gvisor || self.can_run_sandboxes()
    }

    /// Whether sandboxes of gVisor run here; where not, says why a story is not played.
    pub fn can_run_sandboxes(&self) -> bool {
        static SANDBOXES: OnceLock<Value> = OnceLock::new();
        let gvisor = SANDBOXES
            .get_or_init(|| finish(&mut self.pyro(["doctor", "--json"])).json()["gvisor"].clone());
        // Where no runsc is here yet, the first sandbox fetches one.
        let run = (gvisor["runs_sandboxes"] != Value::Bool(false)).then_some(());
        let why = format!("no sandbox of gVisor's runs here: {}", gvisor["reason"]);
        played(run, &why).is_some()
    }

    /// Nothing of this world is left: no process, no folder of a VM or workspace, no mark of
    /// an engine.
    pub fn assert_empty(&self) {
        leftovers::assert_none(&self.state_dir());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A failed test must not leave a VM behind either.
        leftovers::kill_all(&self.state_dir());
    }
}

/// The binary under test: `PYRO_BIN`, or the one that `make build` leaves.
pub fn pyro() -> PathBuf {
    if let Some(path) = std::env::var_os("PYRO_BIN") {
        return path.into();
    }
    let mut built: PathBuf = std::env::current_exe().expect("the path of this test");
    while built.file_name().is_some_and(|name| name != "target") {
        built.pop();
    }
    let triple = env!("PYRO_TEST_TARGET");
    built.join(triple).join("release").join("pyro")
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub took: Duration,
}

impl Ran {
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {}\n{}", self.out(), self.err()))
    }
}

/// Runs a command to its end, with a limit.
pub fn finish(command: &mut Command) -> Ran {
    Running::start(command).wait()
}

/// Runs a command with bytes on its standard input.
pub fn finish_with_input(command: &mut Command, input: Vec<u8>) -> Ran {
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    let mut stdin = running.child.stdin.take().expect("a piped stdin");
    std::thread::spawn(move || {
        // A command that does not read its input is a case of its own, not a fault of the test.
        let _ = stdin.write_all(&input);
    });
    running.wait()
}

/// A command at work, whose output is collected as it comes.
pub struct Running {
    pub child: Child,
    started: Instant,
    stdout: Collected,
    stderr: Collected,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error} (run `make build` first)"));
        let stdout = collect(child.stdout.take().expect("a piped stdout"));
        let stderr = collect(child.stderr.take().expect("a piped stderr"));
        Self {
            child,
            started: Instant::now(),
            stdout,
            stderr,
        }
    }

    /// What was written to standard output so far.
    pub fn out(&self) -> String {
        self.stdout.so_far()
    }

    /// What was written to standard error so far.
    pub fn err(&self) -> String {
        self.stderr.so_far()
    }

    /// Waits until standard output is this, but not for ever.
    pub fn await_out(&self, wanted: &str) {
        eventually(&format!("output {wanted:?}"), PATIENCE, || {
            self.out() == wanted
        });
    }

    /// Waits for the end, but not for ever.
    pub fn wait(self) -> Ran {
        self.wait_within(PATIENCE)
    }

    /// The same for a command that may take longer than others, or less.
    pub fn wait_within(mut self, patience: Duration) -> Ran {
        let deadline = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("waiting for a child") {
                break status;
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("a command did not end within {} s", patience.as_secs());
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Ran {
            status,
            took: self.started.elapsed(),
            stdout: self.stdout.whole(),
            stderr: self.stderr.whole(),
        }
    }
}

/// What a thread has read of a stream.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Collected {
    fn so_far(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn whole(self) -> Vec<u8> {
        self.thread.join().expect("collecting output");
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut bytes)
    }
}

fn collect(mut from: impl Read + Send + 'static) -> Collected {
    let bytes: Arc<Mutex<Vec<u8>>> = Arc::default();
    let into = Arc::clone(&bytes);
    let thread = std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            into.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(&buffer[..count]);
        }
    });
    Collected { bytes, thread }
}

/// Waits until something is so.
pub fn eventually(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
