use pyro_api::operations::vm_network_info::{NetworkInfo, VmNetworkInfo};
use pyro_api::{Caller, Error, Handle};

use crate::Engine;

impl Handle<VmNetworkInfo> for Engine {
    async fn handle(&self, info: VmNetworkInfo, _caller: &Caller) -> Result<NetworkInfo, Error> {
        let record = self.vm(&info.vm_id).await?.record;
        Ok(NetworkInfo {
            vm_id: record.vm_id,
            network_enabled: false,
            outbound_connectivity_expected: false,
            reason: "The VM has no network device".to_owned(),
        })
    }
}
