use pyro_api::operations::service_list::{ServiceList, ServicesListed};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;
use crate::answers;

impl Handle<ServiceList> for Engine {
    async fn handle(&self, asked: ServiceList, caller: &Caller) -> Result<ServicesListed, Error> {
        let stored = self.find_workspace(&asked.workspace_id)?;
        let stored = self.with_true_services(stored).await?;
        let services: Vec<_> = stored
            .services
            .into_values()
            .map(|service| answers::service_of_many(caller, service.record))
            .collect();
        Ok(ServicesListed {
            workspace_id: stored.record.workspace_id,
            count: services.len(),
            running_count: services.iter().filter(|service| service.runs()).count(),
            services,
        })
    }
}
