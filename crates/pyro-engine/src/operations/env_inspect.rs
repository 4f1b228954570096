use async_trait::async_trait;
use pyro_api::operations::env_inspect::EnvInspect;
use pyro_api::values::Environment;
use pyro_api::{Caller, Error, Handle};

use crate::Engine;

#[async_trait]
impl Handle<EnvInspect> for Engine {
    async fn handle(&self, inspect: EnvInspect, caller: &Caller) -> Result<Environment, Error> {
        let spec = self.named(&inspect.environment, caller).await?;
        let checked = match self.catalog().installed(spec) {
            Ok(None) => Ok(None),
            // Its digests are asked even when its stamps differ, as they do after a copy.
            _ => self.catalog().verify(spec).map(Some),
        };
        Ok(self.describe(spec, checked))
    }
}
