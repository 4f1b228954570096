use async_trait::async_trait;
use pyro_api::operations::vm_network_info::{NetworkInfo, VmNetworkInfo};
use pyro_api::{Caller, Error, Handle};
use pyro_wire::network::{GATEWAY_V4, GUEST_MAC, GUEST_V4, PREFIX_V4};

use crate::Engine;
use crate::machine::network::{ALLOW_NET, NO_TAP};

#[async_trait]
impl Handle<VmNetworkInfo> for Engine {
    async fn handle(&self, info: VmNetworkInfo, _caller: &Caller) -> Result<NetworkInfo, Error> {
        let record = self.vm(&info.vm_id).await?.record;
        let has_network = record.network_enabled;
        let some = |text: String| has_network.then_some(text);
        let subnet = u32::from(GUEST_V4) & (u32::MAX << (32 - PREFIX_V4));
        let allowed = record.metadata.get(ALLOW_NET).cloned().unwrap_or_default();
        Ok(NetworkInfo {
            vm_id: record.vm_id,
            network_enabled: has_network,
            outbound_connectivity_expected: has_network,
            reason: match has_network {
                false => "The VM has no network device",
                true => {
                    "The VM reaches the internet, and of this host and the networks near it only \
                     what `allow_net` names"
                }
            }
            .to_owned(),
            tap_name: some(NO_TAP.to_owned()),
            guest_ip: some(GUEST_V4.to_string()),
            gateway_ip: some(GATEWAY_V4.to_string()),
            subnet_cidr: some(format!("{}/{PREFIX_V4}", std::net::Ipv4Addr::from(subnet))),
            mac_address: some(GUEST_MAC.map(|byte| format!("{byte:02x}")).join(":")),
            dns_servers: has_network.then(|| vec![GATEWAY_V4.to_string()]),
            allow_net: has_network.then(|| allowed.split_whitespace().map(str::to_owned).collect()),
        })
    }
}
