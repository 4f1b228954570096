//! An engine as Python holds it.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyro_api::{Caller, Error};
use pyro_engine::{Backend, Config, Standby};

use crate::call::Call;
use crate::convert::{arguments, misuse_error, to_exception};
use crate::operations::method;
use crate::process::current;

/// How much of each output stream a result holds, in bytes, head and tail together.
const KEPT_OUTPUT: usize = 1024 * 1024;

/// The environment of VMs that are kept waiting for `vm_run`, where `PYRO_STANDBY` asks for some.
const DEFAULT_ENVIRONMENT: &str = "debian:12";

/// Carries out operations by name.
#[pyclass(frozen, module = "pyro_mcp._pyro")]
pub(crate) struct Engine {
    pub(crate) engine: Arc<pyro_engine::Engine>,
}

#[pymethods]
impl Engine {
    /// Settings that are not given come from the environment.
    #[new]
    #[pyo3(signature = (*, pyro, agent, backend=None, state_dir=None, cache_dir=None))]
    fn new(
        py: Python<'_>,
        pyro: PathBuf,
        agent: PathBuf,
        backend: Option<&str>,
        state_dir: Option<PathBuf>,
        cache_dir: Option<PathBuf>,
    ) -> PyResult<Self> {
        let config = || -> Result<Config, Error> {
            let mut config = Config::from_environment()?;
            config.pyro = Some(pyro);
            config.agent = Some(agent);
            if let Some(backend) = backend {
                config.backend = match backend {
                    "auto" => Backend::Auto,
                    // The contract's first word is its only kind of VM.
                    "qemu" | "firecracker" => Backend::Qemu,
                    "process" | "mock" => Backend::Process,
                    other => {
                        return Err(Error::invalid(format!(
                            "backend_name must be one of auto, qemu, process, not `{other}`"
                        )));
                    }
                };
            }
            if let Some(folder) = state_dir {
                config.state_dir = folder;
            }
            if let Some(folder) = cache_dir {
                config.cache_dir = folder;
            }
            Ok(config)
        };
        let config = config().map_err(|error| to_exception(py, &error))?;
        let process = current(py)?;
        let standby = Standby::usual(DEFAULT_ENVIRONMENT, config.standby);
        let engine = process.engine(config);
        if standby.count > 0 {
            let _runtime = process.handle().enter();
            let kept = engine.keep_standby(standby);
            kept.map_err(|error| to_exception(py, &error))?;
        }
        Ok(Self { engine })
    }

    /// Begins an operation. With `output` a callback is told what a command prints; with `wakeup`
    /// an event loop is told when there is something to take.
    #[pyo3(signature = (operation, given, *, output=false, wakeup=false))]
    fn start(
        &self,
        py: Python<'_>,
        operation: &str,
        given: &Bound<'_, PyDict>,
        output: bool,
        wakeup: bool,
    ) -> PyResult<Call> {
        let process = current(py)?;
        let method = method(operation).ok_or_else(|| misuse_error("there is no such operation"))?;
        let declared = &method.arguments;
        let arguments = declared
            .normalize(arguments(given, Some(declared))?)
            .map_err(|error| to_exception(py, &error))?;
        Call::begin(process, output, wakeup, |sink| {
            let mut caller = Caller::new().keeping_output(KEPT_OUTPUT);
            if let Some(sink) = sink {
                caller = caller.with_events(sink);
            }
            (method.execute)(Arc::clone(&self.engine), arguments, caller)
        })
    }
}
