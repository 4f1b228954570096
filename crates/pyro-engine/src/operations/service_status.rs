use async_trait::async_trait;
use pyro_api::operations::service_status::{ServiceShown, ServiceStatus};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;
use crate::answers;

#[async_trait]
impl Handle<ServiceStatus> for Engine {
    async fn handle(&self, asked: ServiceStatus, caller: &Caller) -> Result<ServiceShown, Error> {
        let found = self.find_service(&asked.workspace_id, &asked.service_name);
        let (_, service) = found.await?;
        Ok(ServiceShown(answers::service(caller, service.record)))
    }
}
