//! What all calls of one process share: the runtime that carries them out, and the engines.
//!
//! Engines live as long as the process, because the one-shot VMs that they started end with them:
//! a VM that one `Pyro` object created is there for the next.

use std::fmt::Write;
use std::future::Future;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyro_api::{Error, ErrorCode};
use pyro_engine::{Config, Engine};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::AbortHandle;

use crate::convert::to_exception;

/// A handler may keep its thread for a moment, so that there are a few.
const WORKERS: usize = 4;

/// How long dropped calls may take to clear up.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Process {
    id: u32,
    handle: Handle,
    /// Taken away at the end.
    runtime: Mutex<Option<Runtime>>,
    engines: Mutex<Vec<(String, Arc<Engine>)>>,
    /// Calls that may still be going on.
    calls: Mutex<Vec<AbortHandle>>,
    closing: AtomicBool,
}

static PROCESS: OnceLock<Process> = OnceLock::new();

impl Process {
    /// That of the calling process. Refused in a child that was forked from one with a runtime:
    /// its threads did not come along, and an open SQLite database must not.
    pub(crate) fn current() -> Result<&'static Self, Error> {
        let process = match PROCESS.get() {
            Some(process) => process,
            None => {
                let runtime = Builder::new_multi_thread()
                    .worker_threads(WORKERS)
                    .thread_name("pyro")
                    .enable_all()
                    .build()
                    .map_err(|error| {
                        Error::new(
                            ErrorCode::HostIo,
                            "pyro could not start threads on this host",
                        )
                        .caused_by(&error)
                    })?;
                PROCESS.get_or_init(|| Self {
                    id: process::id(),
                    handle: runtime.handle().clone(),
                    runtime: Mutex::new(Some(runtime)),
                    engines: Mutex::default(),
                    calls: Mutex::default(),
                    closing: AtomicBool::new(false),
                })
            }
        };
        if !process.is_this() {
            return Err(Error::new(
                ErrorCode::Unsupported,
                "pyro cannot be used in this forked process",
            )
            .because(
                "its parent had used pyro before it forked, and what it had open cannot be shared",
            )
            .hint(
                "Start children with `multiprocessing.get_context(\"spawn\")` or `\"forkserver\"`, \
                 or use pyro for the first time after the fork",
            ));
        }
        if process.is_closing() {
            return Err(Error::new(
                ErrorCode::Cancelled,
                "The interpreter is shutting down",
            ));
        }
        Ok(process)
    }

    /// Whether the calling process is the one that was set up here, and not a forked child.
    pub(crate) fn is_this(&self) -> bool {
        self.id == process::id()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Carries out a call, which ends with the process at the latest.
    pub(crate) fn spawn(&self, call: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let task = self.handle.spawn(call).abort_handle();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.retain(|call| !call.is_finished());
        calls.push(task.clone());
        task
    }

    /// The engine with these settings.
    pub(crate) fn engine(&self, config: Config) -> Arc<Engine> {
        let mut settings = String::new();
        let _ = write!(settings, "{config:?}");
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, engine)) = engines.iter().find(|(known, _)| *known == settings) {
            return Arc::clone(engine);
        }
        let engine = Arc::new(Engine::new(config));
        engines.push((settings, Arc::clone(&engine)));
        engine
    }
}

/// Ends all calls and one-shot VMs of this process. For `atexit`.
#[pyfunction]
pub(crate) fn shutdown(py: Python<'_>) {
    let Some(process) = PROCESS.get().filter(|process| process.is_this()) else {
        return;
    };
    process.closing.store(true, Ordering::SeqCst);
    py.detach(|| {
        let calls = {
            let mut calls = process.calls.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *calls)
        };
        // Before the runtime is taken from under them, which some of their timers would not bear.
        calls.iter().for_each(AbortHandle::abort);
        await_end(&calls);
        let runtime = process
            .runtime
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(runtime) = runtime {
            runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
        }
        process
            .engines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    });
}

/// Waits until dropped calls have cleared up, within reason.
fn await_end(calls: &[AbortHandle]) {
    let until = Instant::now() + SHUTDOWN_TIMEOUT;
    while Instant::now() < until && !calls.iter().all(AbortHandle::is_finished) {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Leaves everything to the parent. For `os.register_at_fork`.
#[pyfunction]
pub(crate) fn after_fork_in_child() -> PyResult<()> {
    let Some(process) = PROCESS.get().filter(|process| !process.is_this()) else {
        return Ok(());
    };
    // Held by a thread that did not come along: what is open then stays open.
    if let Ok(engines) = process.engines.try_lock() {
        for (_, engine) in engines.iter() {
            engine.release_after_fork();
            // Never dropped here, as a drop would end what is the parent's.
            std::mem::forget(Arc::clone(engine));
        }
    }
    Ok(())
}

/// The process, or the exception that says why not.
pub(crate) fn current(py: Python<'_>) -> PyResult<&'static Process> {
    Process::current().map_err(|error| to_exception(py, &error))
}
