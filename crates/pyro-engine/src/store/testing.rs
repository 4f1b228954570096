//! Records for tests.

use super::StoredWorkspace;

/// One with a baseline of one layer.
pub(crate) fn workspace() -> StoredWorkspace {
    // As records were before there were snapshots: those load as well.
    let record = serde_json::json!({
        "record": {
            "workspace_id": "0123456789ab", "name": null, "labels": {},
            "environment": "debian:12", "environment_version": null,
            "vcpu_count": 1, "mem_mib": 256, "ttl_seconds": 600,
            "created_at": 0.0, "last_activity_at": 0.0, "expires_at": 0.0,
            "state": "stopped", "network_policy": "off", "network_enabled": false,
            "allow_host_compat": false, "guest_ip": null, "tap_name": null,
            "execution_mode": "pending", "workspace_path": "/workspace",
            "workspace_seed": {
                "mode": "empty", "seed_path": null, "destination": "/workspace",
                "entry_count": 0, "bytes_written": 0
            },
            "secrets": [], "command_count": 0, "last_command": null, "reset_count": 0,
            "last_reset_at": null, "service_count": 0, "running_service_count": 0,
            "metadata": {}, "time_left_seconds": null, "stopped_because": null,
            "workspace_started": false
        },
        "generation": 0, "layers": ["b", "w"], "baseline_layers": 1, "template": null
    });
    serde_json::from_value(record).expect("a record")
}
