use async_trait::async_trait;
use pyro_api::operations::service_start::{ServiceStart, ServiceStarted};
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;

#[async_trait]
impl Handle<ServiceStart> for Engine {
    async fn handle(&self, asked: ServiceStart, caller: &Caller) -> Result<ServiceStarted, Error> {
        asked.check()?;
        self.start_service(&asked, caller).await
    }
}
