use async_trait::async_trait;
use pyro_api::operations::service_stop::{ServiceStop, ServiceStopped};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;
use crate::answers;

#[async_trait]
impl Handle<ServiceStop> for Engine {
    async fn handle(&self, asked: ServiceStop, caller: &Caller) -> Result<ServiceStopped, Error> {
        let stopped = self.stop_service(&asked).await?;
        Ok(ServiceStopped(answers::service(caller, stopped)))
    }
}
