//! The Rust library as a surface: operations by name, over the list that every surface walks.

use std::collections::HashMap;
use std::ffi::OsString;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pyro_api::values::{Isolation, MemMib, VcpuCount};
use pyro_api::{Caller, Error, Handle, Listed, Visit, visit};
use pyro_engine::{Backend as EngineBackend, Config, Engine, Standby};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::Surface;
use crate::world::{Backend, World, eventually, pyro};

/// How much output results hold, in bytes per stream.
const KEPT: usize = 1024 * 1024;

/// How long VMs may take to be waiting.
const PATIENCE: Duration = Duration::from_secs(120);

type Answering = Pin<Box<dyn Future<Output = Result<Value, Value>> + Send>>;
type Call = fn(Arc<Engine>, Caller, Value) -> Answering;

pub struct Library {
    pub engine: Arc<Engine>,
    runtime: Runtime,
    calls: HashMap<&'static str, Call>,
}

impl Library {
    pub fn new(world: &World) -> Self {
        Self::with(config(world))
    }

    pub fn with(config: Config) -> Self {
        let mut calls = Calls(HashMap::new());
        visit::<Engine>(&mut calls);
        Self {
            engine: Arc::new(Engine::new(config)),
            runtime: Runtime::new().expect("a runtime"),
            calls: calls.0,
        }
    }
}

impl Library {
    /// Keeps small VMs waiting, and returns when they do.
    pub fn keep_standby(&self, count: usize) {
        self.want_standby(count);
        self.await_standbys(count);
    }

    pub fn want_standby(&self, count: usize) {
        self.want_standby_of(None, count);
    }

    /// The same of one kind, whatever runs get that say nothing.
    pub fn want_standby_of(&self, isolation: Option<Isolation>, count: usize) {
        let _in_runtime = self.runtime.enter();
        let mem_mib = MemMib::new(MemMib::MIN.into()).expect("the smallest is allowed");
        let standby = Standby {
            environment: "debian:12".to_owned(),
            vcpu_count: VcpuCount::default(),
            mem_mib,
            isolation,
            count,
        };
        self.engine.keep_standby(standby).expect("VMs that wait");
    }

    pub fn await_standbys(&self, count: usize) {
        eventually(&format!("{count} VMs wait"), PATIENCE, || {
            self.engine.standby_count() == count
        });
    }
}

/// The settings that a process of this world would read from its environment.
pub fn config(world: &World) -> Config {
    let mut config = Config::from_environment().expect("a configuration");
    let variables: HashMap<OsString, OsString> = world.variables().into_iter().collect();
    let path = |name: &str| variables.get(std::ffi::OsStr::new(name)).map(Into::into);
    config.state_dir = world.state_dir();
    if let Some(cache) = path("PYRO_ENVIRONMENT_CACHE_DIR") {
        config.cache_dir = cache;
    }
    let pyro = pyro();
    config.agent = path("PYRO_AGENT").or(Some(pyro.with_file_name("pyro-agent")));
    config.pyro = Some(pyro);
    config.backend = match world.backend {
        Backend::Process => EngineBackend::Process,
        Backend::Vm | Backend::Gvisor => EngineBackend::Qemu,
    };
    // As `World::variables` has it for programs.
    config.isolation = match world.backend {
        Backend::Gvisor => Isolation::Gvisor,
        Backend::Process | Backend::Vm => Isolation::Vm,
    };
    config
}

impl Surface for Library {
    fn call(&self, operation: &str, arguments: Value) -> Result<Value, Value> {
        self.call_as(Caller::new(), operation, arguments)
    }
}

impl Library {
    /// A call of somebody who listens, for instance.
    pub fn call_as(
        &self,
        caller: Caller,
        operation: &str,
        arguments: Value,
    ) -> Result<Value, Value> {
        let call = self
            .calls
            .get(operation)
            .unwrap_or_else(|| panic!("there is no operation `{operation}`"));
        let caller = caller.keeping_output(KEPT);
        self.runtime
            .block_on(call(Arc::clone(&self.engine), caller, arguments))
    }
}

struct Calls(HashMap<&'static str, Call>);

impl Visit<Engine> for Calls {
    fn operation<O: Listed>(&mut self)
    where
        Engine: Handle<O>,
    {
        self.0.insert(O::NAMES.operation, call::<O>);
    }
}

fn call<O: Listed>(engine: Arc<Engine>, caller: Caller, arguments: Value) -> Answering
where
    Engine: Handle<O>,
{
    Box::pin(async move {
        let Value::Object(arguments) = arguments else {
            panic!("arguments are an object: {arguments}");
        };
        let operation = O::read(arguments).map_err(|error| told(&error))?;
        let output = engine
            .handle(operation, &caller)
            .await
            .map_err(|error| told(&error))?;
        O::write(&output).map_err(|error| told(&error))
    })
}

fn told(error: &Error) -> Value {
    let mut value = serde_json::to_value(error).expect("an error as JSON");
    value["ok"] = Value::Bool(false);
    value
}
