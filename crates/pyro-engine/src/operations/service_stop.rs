use pyro_api::operations::service_stop::{ServiceStop, ServiceStopped};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;

impl Handle<ServiceStop> for Engine {
    async fn handle(&self, asked: ServiceStop, _caller: &Caller) -> Result<ServiceStopped, Error> {
        self.stop_service(&asked).await.map(ServiceStopped)
    }
}
