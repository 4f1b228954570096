//! Whether a service may publish ports, and what came of it.

use pyro_api::values::{NetworkPolicy, PortRequests, PublishedPort};
use pyro_api::{Caller, Error, ErrorCode};
use pyro_wire::fault::FaultCode;
use pyro_wire::shim::{Publish, Published, WantedPort};

use crate::engine::Engine;
use crate::machine::network;
use crate::machine::shim_client::{self, ShimError};
use crate::store::StoredWorkspace;
use crate::workspace::errors::shim_unreachable;

/// Refuses ports where a person forbade them, or the workspace's policy does.
pub(crate) fn may_publish(
    stored: &StoredWorkspace,
    ports: &PortRequests,
    caller: &Caller,
) -> Result<(), Error> {
    if ports.is_empty() {
        return Ok(());
    }
    network::allowed("Ports may not be published here", caller)?;
    let record = &stored.record;
    if record.network_policy == NetworkPolicy::EgressPublishedPorts {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::Unsupported,
        format!(
            "Workspace `{}` may not publish ports",
            record.workspace_id
        ),
    )
    .because(format!("its network policy is `{}`", record.network_policy))
    .hint(
        "Create one with `--network-policy egress+published-ports` (`network_policy`), or reach the \
         service with `pyro workspace exec` (`workspace_exec`)",
    ))
}

impl Engine {
    /// Binds the ports for a service that is about to be started. They are given up when it does not
    /// come, whatever becomes of this process.
    pub(crate) async fn publish(
        &self,
        stored: &StoredWorkspace,
        instance: u64,
        ports: &PortRequests,
    ) -> Result<Vec<PublishedPort>, Error> {
        if ports.is_empty() {
            return Ok(Vec::new());
        }
        let ports = ports.iter().map(|port| WantedPort {
            host_port: port.host_port,
            guest_port: port.guest_port,
        });
        let request = Publish {
            instance,
            ports: ports.collect(),
        };
        match shim_client::publish(&self.vm_of(stored), request).await {
            Ok(published) => Ok(published.into_iter().map(shown).collect()),
            Err(ShimError::Failed { fault }) => {
                let (code, hint) = match fault.code {
                    FaultCode::Conflict => (
                        ErrorCode::Conflict,
                        "Give another port of this host, or none for any free one",
                    ),
                    FaultCode::Refused => (
                        ErrorCode::InvalidArgument,
                        "Give another port of this host, or none for any free one",
                    ),
                    _ => (ErrorCode::HostIo, "Nothing was started"),
                };
                Err(Error::new(
                    code,
                    "The service was not started: its ports cannot be published",
                )
                .because(fault.message)
                .hint(hint))
            }
            Err(error) => Err(shim_unreachable(
                &stored.record.workspace_id,
                "publish ports",
                &error,
            )),
        }
    }

    /// Gives up the ports of a service. They go with it anyway; this is for whoever looks at once.
    pub(crate) async fn unpublish(&self, stored: &StoredWorkspace, instance: u64) {
        let _ = shim_client::unpublish(&self.vm_of(stored), instance).await;
    }
}

fn shown(published: Published) -> PublishedPort {
    PublishedPort {
        host: "127.0.0.1".to_owned(),
        host_port: published.host_port,
        guest_port: published.guest_port,
        protocol: "tcp".to_owned(),
    }
}
