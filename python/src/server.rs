//! The server of tools: in process, and on the standard streams of this process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use clap::ValueEnum;
use nix::unistd::{dup2_stdin, dup2_stdout};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyro_api::{Error, ErrorCode, Profile};
use pyro_mcp::{InProcess, Settings, Stdio};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::call::Call;
use crate::convert::{arguments, to_exception, to_python};
use crate::engine::Engine;
use crate::process::current;

/// Set to anything: tell of every call on standard error.
const LOG: &str = "PYRO_MCP_LOG";

/// The tools of one profile.
#[pyclass(frozen, module = "pyro_mcp._pyro")]
pub(crate) struct Server {
    engine: Arc<pyro_engine::Engine>,
    profile: Profile,
    tools: InProcess,
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
            to_exception(py, &error)
        })?;
        let tools = InProcess::new(&engine.engine, profile);
        Ok(Self {
            engine: Arc::clone(&engine.engine),
            profile,
            tools: tools.map_err(|error| to_exception(py, &error))?,
        })
    }

    /// Every tool as a client would see it.
    fn tools<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let tools = self
            .tools
            .tools()
            .map_err(|error| to_exception(py, &error))?;
        to_python(py, &tools.into())
    }

    /// Begins a call whose result is the one that a client would get.
    #[pyo3(signature = (name, given, *, wakeup=false))]
    fn start(
        &self,
        py: Python<'_>,
        name: &str,
        given: &Bound<'_, PyDict>,
        wakeup: bool,
    ) -> PyResult<Call> {
        let process = current(py)?;
        let arguments = arguments(given, self.tools.arguments(name))?;
        Call::begin(process, false, wakeup, |_| self.tools.call(name, arguments))
    }

    /// Begins to serve on standard input and output, until the client goes away or the call is
    /// cancelled. The streams are the process's again when the call is over.
    #[pyo3(signature = (*, wakeup=false))]
    fn serve(&self, py: Python<'_>, wakeup: bool) -> PyResult<Call> {
        let process = current(py)?;
        let streams = Streams::keep()?;
        let stdio = Stdio::take()?;
        let settings = Settings {
            profile: self.profile,
            version: env!("CARGO_PKG_VERSION"),
            log: std::env::var_os(LOG).is_some(),
        };
        let engine = Arc::clone(&self.engine);
        let (stop, told) = oneshot::channel::<()>();
        let call = Call::begin(process, false, wakeup, |_| async move {
            let _streams = streams;
            let told = async {
                let _ = told.await;
            };
            let ended = pyro_mcp::serve(engine, settings, stdio, told).await;
            ended.map(|_| Value::Null).map_err(|error| {
                Error::new(ErrorCode::HostIo, "pyro cannot serve here").caused_by(&error)
            })
        })?;
        Ok(call.stopped_by(stop))
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
