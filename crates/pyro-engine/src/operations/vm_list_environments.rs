use async_trait::async_trait;
use pyro_api::operations::vm_list_environments::{Environments, VmListEnvironments};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;

#[async_trait]
impl Handle<VmListEnvironments> for Engine {
    async fn handle(&self, _: VmListEnvironments, _caller: &Caller) -> Result<Environments, Error> {
        Ok(Environments {
            catalog_version: pyro_catalog::CATALOG_VERSION.to_owned(),
            environments: self.environments(),
        })
    }
}
