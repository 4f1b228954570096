use async_trait::async_trait;
use pyro_api::operations::demo::Demo;
use pyro_api::operations::vm_run::VmRun;
use pyro_api::values::ExecResult;
use pyro_api::{Caller, Error, Handle};

use crate::Engine;

/// An HTTPS request that succeeds when the guest reaches the internet.
const NETWORK_PROBE: &str =
    "curl --silent --show-error --head --max-time 20 https://deb.debian.org/";

#[async_trait]
impl Handle<Demo> for Engine {
    async fn handle(&self, demo: Demo, caller: &Caller) -> Result<ExecResult, Error> {
        let command = if demo.network {
            NETWORK_PROBE
        } else {
            "git --version"
        };
        let run = VmRun {
            terminal: Default::default(),
            environment: "debian:12".to_owned(),
            command: command.to_owned().into(),
            env: Default::default(),
            cwd: None,
            vcpu_count: Default::default(),
            mem_mib: Default::default(),
            timeout_seconds: Default::default(),
            ttl_seconds: Default::default(),
            network: demo.network,
            allow_host_compat: false,
            allow_net: Vec::new(),
        };
        self.run_once(&run, caller).await
    }
}
