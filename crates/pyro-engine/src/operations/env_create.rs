use async_trait::async_trait;
use pyro_api::operations::env_create::{EnvCreate, KeptEnvironment};
use pyro_api::{Caller, Error, Handle};
use pyro_catalog::KeptName;

use crate::Engine;
use crate::error::catalog_failed;
use crate::keep::Keep;

#[async_trait]
impl Handle<EnvCreate> for Engine {
    async fn handle(&self, asked: EnvCreate, caller: &Caller) -> Result<KeptEnvironment, Error> {
        let name = KeptName::parse(&asked.environment).map_err(catalog_failed)?;
        let keep = Keep {
            workspace: asked.workspace_id,
            snapshot: asked.snapshot,
            name,
            replace: asked.replace,
            config: None,
            source: None,
        };
        let installed = self.keep(keep, caller).await?;
        Ok(KeptEnvironment {
            environment: self.describe(installed.spec, Ok(Some(installed))),
        })
    }
}
