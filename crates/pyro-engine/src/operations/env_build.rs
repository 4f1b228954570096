use async_trait::async_trait;
use pyro_api::operations::env_build::{BuiltEnvironment, EnvBuild};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;

#[async_trait]
impl Handle<EnvBuild> for Engine {
    async fn handle(&self, asked: EnvBuild, caller: &Caller) -> Result<BuiltEnvironment, Error> {
        self.build_environment(&asked, caller).await
    }
}
