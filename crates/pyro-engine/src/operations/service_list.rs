use async_trait::async_trait;
use pyro_api::operations::service_list::{ServiceList, ServicesListed};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;
use crate::answers::{self, Page};

#[async_trait]
impl Handle<ServiceList> for Engine {
    async fn handle(&self, asked: ServiceList, caller: &Caller) -> Result<ServicesListed, Error> {
        let stored = self.find_workspace(&asked.workspace_id)?;
        let stored = self.reconcile_services(stored).await?;
        let total = stored.services.len();
        let running = stored.services.values().filter(|one| one.record.runs());
        let running_count = running.count();
        let records = stored
            .services
            .into_values()
            .map(|service| Ok::<_, Error>(answers::service_of_many(caller, service.record)));
        let (services, next_skip) = Page::of(caller, asked.skip, None, u32::MAX).take(records)?;
        Ok(ServicesListed {
            workspace_id: stored.record.workspace_id,
            count: services.len(),
            total,
            next_skip,
            running_count,
            services,
        })
    }
}
