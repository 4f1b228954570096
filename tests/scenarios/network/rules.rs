//! What can be asked for, and what is refused with words. No VM is needed for it.

use pyro_tests::surfaces::Surface;
use pyro_tests::{Workspace, World};
use serde_json::json;

crate::stories! { [process] [command_line, mcp]:
    a_network_needs_a_vm_and_exceptions_need_a_network,
}

fn a_network_needs_a_vm_and_exceptions_need_a_network(world: &World, surface: &dyn Surface) {
    let refused = |arguments, code: &str, words: &str| {
        let told = Workspace::try_with(world, surface, arguments).unwrap_err();
        assert_eq!(told["code"], code, "{told:#}");
        assert!(told.to_string().contains(words), "{words}: {told:#}");
    };
    for policy in ["egress", "egress+published-ports"] {
        refused(
            json!({ "network_policy": policy }),
            "unsupported",
            "host's network",
        );
    }
    refused(
        json!({ "allow_net": ["10.0.0.0/8"] }),
        "invalid_argument",
        "network is off",
    );
    let many: Vec<String> = (0..65).map(|number| format!("10.0.0.{number}")).collect();
    refused(
        json!({ "network_policy": "egress", "allow_net": many }),
        "invalid_argument",
        "At most 64",
    );
    // Spaces and capitals are no difference.
    refused(
        json!({ "network_policy": "EGRESS" }),
        "unsupported",
        "host's network",
    );
    // `off` is what everybody has who says nothing.
    let plain = Workspace::with(world, surface, json!({ "network_policy": "off" }));
    assert_eq!(plain.created["network_policy"], "off");
    assert_eq!(plain.created["network_enabled"], false);
}
