use async_trait::async_trait;
use pyro_api::operations::service_logs::{ServiceLogged, ServiceLogs};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;

#[async_trait]
impl Handle<ServiceLogs> for Engine {
    async fn handle(&self, asked: ServiceLogs, caller: &Caller) -> Result<ServiceLogged, Error> {
        self.service_logs(&asked, caller).await
    }
}
