//! What a VM may reach, from what was asked for to what its supervisor is told.
//!
//! A record keeps it as a fact, so that a stopped workspace has the same network when it starts
//! again. The rules themselves are the supervisor's.

use std::collections::BTreeMap;

use pyro_api::values::{AllowNet, AllowedTo};
use pyro_api::{Caller, Error, ErrorCode, Networks};
use pyro_wire::network::{Destination, Exception, Network};

use super::isolation::VmKind;

/// The fact of a record that says what a guest may reach beside the internet.
pub(crate) const ALLOW_NET: &str = "allow_net";

const BETWEEN: &str = " ";

/// There is no network device on the host, so there is no name of one.
pub(crate) const NO_TAP: &str = "user-mode";

/// The facts that a record keeps.
pub(crate) fn facts(allow: &[AllowNet]) -> Option<(String, String)> {
    let allow: Vec<String> = allow.iter().map(AllowNet::to_string).collect();
    (!allow.is_empty()).then(|| (ALLOW_NET.to_owned(), allow.join(BETWEEN)))
}

/// What the record of a VM with a network says that it may reach.
pub(crate) fn of_record(metadata: &BTreeMap<String, String>) -> Network {
    let allow = metadata.get(ALLOW_NET).map(String::as_str);
    let allow = allow.unwrap_or_default().split_whitespace();
    Network {
        allow: allow
            .filter_map(|text| text.parse().ok())
            .map(exception)
            .collect(),
    }
}

fn exception(allow: AllowNet) -> Exception {
    Exception {
        port: allow.port,
        to: match allow.to {
            AllowedTo::Block(..) => Destination::Block(allow.to.to_string()),
            AllowedTo::Name(name) => Destination::Name(name),
        },
    }
}

/// Refuses a network where a person forbade it, and for a command on this host, which has the host's
/// own network: nothing could keep it from that.
pub(crate) fn check(kind: VmKind, has_network: bool, caller: &Caller) -> Result<(), Error> {
    if !has_network {
        return Ok(());
    }
    allowed("Guests may not have a network here", caller)?;
    match kind {
        VmKind::Vm | VmKind::Gvisor => Ok(()),
        VmKind::HostProcess => Err(Error::new(
            ErrorCode::Unsupported,
            "Commands that run on this host, without a VM, cannot have a network of their own",
        )
        .because("they use the host's network, and nothing restricts that")
        .hint(
            "Leave the network off (`--network` or `network`, `--network-policy` or \
             `network_policy`), or run the command in a VM: `pyro doctor` shows what is missing \
             for that",
        )),
    }
}

/// Whether the caller may have anything to do with networks; `what` is what it may not.
pub(crate) fn allowed(what: &str, caller: &Caller) -> Result<(), Error> {
    let Networks::Forbidden { by } = caller.networks() else {
        return Ok(());
    };
    Err(Error::new(ErrorCode::Unsupported, what)
        .because(format!("{by} forbids it for models"))
        .hint(
            "Continue without a network. Whoever runs this server can allow networks by removing \
             that setting",
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_what_was_allowed() {
        let allow: Vec<AllowNet> = ["10.1.0.0/16:443", "db.example.com", "[fd00::1]:5"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let record = BTreeMap::from_iter(facts(&allow));
        let network = of_record(&record);
        let ports: Vec<_> = network.allow.iter().map(|allow| allow.port).collect();
        assert_eq!(ports, [Some(443), None, Some(5)]);
        assert_eq!(
            network.allow[0].to,
            Destination::Block("10.1.0.0/16".into())
        );
        assert_eq!(
            network.allow[1].to,
            Destination::Name("db.example.com".into())
        );
        assert_eq!(of_record(&BTreeMap::new()), Network::default());
        assert_eq!(facts(&[]), None);
    }
}
