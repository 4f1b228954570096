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
            network: demo.network,
            ..VmRun::new("debian:12", command.to_owned().into())
        };
        self.run_once(&run, caller).await
    }
}
