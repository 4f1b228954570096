//! The server of tools: in process, and on the standard streams of this process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use nix::unistd::{dup2_stdin, dup2_stdout};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyro_api::{Error, Profile};
use pyro_engine::Standby;
use pyro_mcp::{InProcess, Settings, Stdio};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::call::Call;
use crate::convert::{arguments, raised, to_python};
use crate::engine::Engine;
use crate::process::current;

/// The environment of VMs that are kept waiting for `vm_run`, where `PYRO_STANDBY` asks for some.
const USUAL: &str = "debian:12";

/// Set to anything: tell of every call on standard error.
const LOG: &str = "PYRO_MCP_LOG";

/// How soon a signal is answered.
const ATTENTIVE: Duration = Duration::from_millis(20);

/// The tools of one profile.
#[pyclass(frozen, module = "pyro_mcp._pyro")]
pub(crate) struct Server {
    engine: Arc<pyro_engine::Engine>,
    profile: Profile,
    tools: InProcess<pyro_engine::Engine>,
}

#[pymethods]
impl Server {
    #[new]
    fn new(py: Python<'_>, engine: &Engine, profile: &str) -> PyResult<Self> {
        let profile = Profile::from_str(profile, false).map_err(|_| {
            let names: Vec<String> = Profile::value_variants()
                .iter()
                .filter_map(|profile| {
                    Some(format!("`{}`", profile.to_possible_value()?.get_name()))
                })
                .collect();
            let error = Error::invalid(format!(
                "profile must be one of {}, not `{profile}`",
                names.join(", ")
            ));
            raised(py, &error)
        })?;
        Ok(Self {
            engine: Arc::clone(&engine.engine),
            profile,
            tools: InProcess::new(Arc::clone(&engine.engine), profile),
        })
    }

    /// Every tool as a client would see it.
    fn tools<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let tools = self.tools.tools().map_err(|error| raised(py, &error))?;
        to_python(py, &tools.into())
    }

    /// Begins a call whose result is the one that a client would get.
    #[pyo3(signature = (name, given, *, bell=false))]
    fn start(
        &self,
        py: Python<'_>,
        name: &str,
        given: &Bound<'_, PyDict>,
        bell: bool,
    ) -> PyResult<Call> {
        let process = current(py)?;
        let arguments = arguments(given, self.tools.arguments(name))?;
        Call::begin(process, false, bell, |_| self.tools.call(name, arguments))
    }

    /// Serves on standard input and output until the client goes away or a signal's handler
    /// raises an exception.
    fn serve(&self, py: Python<'_>) -> PyResult<()> {
        let process = current(py)?;
        let _streams = Streams::keep()?;
        let stdio = Stdio::take()?;
        let settings = Settings {
            profile: self.profile,
            version: env!("CARGO_PKG_VERSION"),
            log: std::env::var_os(LOG).is_some(),
        };
        let standby = Standby::usual(USUAL, self.engine.config().standby);
        let (end, told) = oneshot::channel::<()>();
        let engine = Arc::clone(&self.engine);
        let mut served = process.handle().spawn(async move {
            if standby.count > 0 {
                engine.keep_standby(standby)?;
            }
            let told = async {
                let _ = told.await;
            };
            let ended = pyro_mcp::serve(engine, settings, stdio, told).await;
            ended.map(drop).map_err(|error| {
                Error::new(pyro_api::ErrorCode::HostIo, "pyro cannot serve here").caused_by(&error)
            })
        });
        let mut end = Some(end);
        let mut raising = None;
        loop {
            let over = py.detach(|| {
                let wait = async { timeout(ATTENTIVE, &mut served).await };
                process.handle().block_on(wait)
            });
            match over {
                Ok(Ok(outcome)) => {
                    return match raising {
                        Some(exception) => Err(exception),
                        None => outcome.map_err(|error| raised(py, &error)),
                    };
                }
                Ok(Err(broken)) => {
                    let error =
                        Error::new(pyro_api::ErrorCode::Internal, "pyro broke").caused_by(&broken);
                    return Err(raised(py, &error));
                }
                Err(_) => {
                    if let Err(exception) = py.check_signals() {
                        raising = Some(exception);
                        if let Some(end) = end.take() {
                            let _ = end.send(());
                        }
                    }
                }
            }
        }
    }
}

/// The standard streams, which come back when serving is over.
struct Streams {
    input: OwnedFd,
    output: OwnedFd,
}

impl Streams {
    fn keep() -> io::Result<Self> {
        Ok(Self {
            input: File::from(io::stdin().as_fd().try_clone_to_owned()?).into(),
            output: File::from(io::stdout().as_fd().try_clone_to_owned()?).into(),
        })
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        let _ = dup2_stdin(&self.input);
        let _ = dup2_stdout(&self.output);
    }
}
