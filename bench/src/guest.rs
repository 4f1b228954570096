//! A VM of an engine in this process, started to be weighed.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use pyro_api::operations::vm_create::VmCreate;
use pyro_api::operations::vm_delete::VmDelete;
use pyro_api::operations::vm_start::VmStart;
use pyro_api::values::{Isolation, MemMib, TtlSeconds, VcpuCount, VmRecord};
use pyro_api::{Caller, Error, Handle};
use pyro_engine::Engine;
use pyro_wire::shim::{ShimReply, ShimRequest};

use super::pyro::ENVIRONMENT;
use super::shim;

/// Of which rows of guests tell.
pub(crate) const KINDS: [Isolation; 2] = [Isolation::Vm, Isolation::Gvisor];

/// What a guest of this kind is called.
pub(crate) fn noun(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Gvisor => "sandbox",
        Isolation::Auto | Isolation::Vm => "VM",
    }
}

pub(crate) struct Guest {
    engine: Arc<Engine>,
    pub(crate) record: VmRecord,
    folder: PathBuf,
}

impl Guest {
    pub(crate) async fn start(
        engine: &Arc<Engine>,
        isolation: Isolation,
        mem_mib: MemMib,
    ) -> Result<Self, Error> {
        let caller = Caller::new();
        let create = VmCreate {
            environment: ENVIRONMENT.to_owned(),
            vcpu_count: VcpuCount::default(),
            mem_mib,
            ttl_seconds: TtlSeconds::new(TtlSeconds::MAX.into()).unwrap_or_default(),
            network: false,
            allow_host_compat: false,
            allow_net: Vec::new(),
            isolation: Some(isolation),
        };
        let created: VmRecord = engine.handle(create, &caller).await?;
        let start = VmStart {
            vm_id: created.vm_id,
        };
        let record: VmRecord = engine.handle(start, &caller).await?;
        let vms = engine.config().state_dir.join("vms");
        Ok(Self {
            engine: Arc::clone(engine),
            folder: vms.join(&record.vm_id),
            record,
        })
    }

    pub(crate) async fn delete(&self) -> Result<(), Error> {
        let vm_id = self.record.vm_id.clone();
        self.engine
            .handle(VmDelete { vm_id }, &Caller::new())
            .await?;
        Ok(())
    }

    /// The processes that keep the VM: shim and QEMU, or shim and all of gVisor's.
    pub(crate) async fn processes(&self) -> Result<Vec<u32>> {
        let reply = shim::ask(&self.folder, &ShimRequest::Status).await?;
        let ShimReply::Status(status) = &reply else {
            bail!("the shim answered something else: {reply:?}");
        };
        Ok(family(status.shim_pid))
    }
}

/// A process and all that it started.
fn family(first: u32) -> Vec<u32> {
    let mut found = vec![first];
    let mut looked_at = 0;
    while let Some(parent) = found.get(looked_at) {
        let threads = std::fs::read_dir(format!("/proc/{parent}/task"));
        let lists: Vec<String> = threads
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
            .collect();
        let children = lists.iter().flat_map(|list| list.split_whitespace());
        found.extend(children.filter_map(|child| child.parse::<u32>().ok()));
        looked_at += 1;
    }
    found
}
