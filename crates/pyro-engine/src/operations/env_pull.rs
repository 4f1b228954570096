use async_trait::async_trait;
use pyro_api::operations::env_pull::{EnvPull, PulledEnvironment};
use pyro_api::values::{MemMib, VcpuCount};
use pyro_api::{Caller, Error, Handle};
use pyro_catalog::Catalog;

use crate::Engine;
use crate::template::{Kind, Shape};

#[async_trait]
impl Handle<EnvPull> for Engine {
    async fn handle(&self, pull: EnvPull, caller: &Caller) -> Result<PulledEnvironment, Error> {
        let spec = self.named(&pull.environment, caller).await?;
        let installed = self.pulling(spec, caller, Catalog::pull).await?;
        // Made now for VMs of the usual size, so that the first of them wait for nothing.
        let usual = Shape {
            vcpu_count: VcpuCount::default().get(),
            mem_mib: MemMib::default().get(),
            network: false,
        };
        // The mounted one last: where there is room for one only, it is the one that pays.
        for kind in [Kind::Bare, Kind::Mounted] {
            self.template(&installed, usual, kind, caller).await?;
        }
        self.prepare_sandboxes(&installed, caller).await?;
        Ok(PulledEnvironment {
            kernel_image: installed.kernel.image.display().to_string(),
            rootfs_image: installed.rootfs.display().to_string(),
            source: installed.source.clone(),
            environment: self.describe(spec, Ok(Some(installed))),
        })
    }
}
