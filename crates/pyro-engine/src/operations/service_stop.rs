use pyro_api::operations::service_stop::{ServiceStop, ServiceStopped};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;
use crate::answers;

impl Handle<ServiceStop> for Engine {
    async fn handle(&self, asked: ServiceStop, caller: &Caller) -> Result<ServiceStopped, Error> {
        let stopped = self.stop_service(&asked).await?;
        Ok(ServiceStopped(answers::service(caller, stopped)))
    }
}
