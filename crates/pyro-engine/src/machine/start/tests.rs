//! With a shim that is played by a script: its launch file tells what a start asked for.

use std::collections::BTreeMap;
use std::fs;

use pyro_api::values::ExecutionMode;
use pyro_wire::frame;
use pyro_wire::launch::{LAUNCH_FILE, LaunchEvent, Running};

use super::*;
use crate::Config;
use crate::owned_files::testing::set_pyro;

fn record() -> VmRecord {
    VmRecord {
        vm_id: "0123456789ab".into(),
        environment: "kept".into(),
        environment_version: None,
        vcpu_count: 1,
        mem_mib: 1,
        ttl_seconds: 600,
        created_at: 0.0,
        expires_at: 600.0,
        state: VmState::Created,
        network_enabled: false,
        allow_host_compat: true,
        guest_ip: None,
        tap_name: None,
        execution_mode: ExecutionMode::Pending,
        accelerator: None,
        metadata: BTreeMap::new(),
    }
}

/// A guest that never answered has left nothing on the disk that is its own: what is there is still of others.
#[tokio::test]
async fn a_disk_is_new_until_a_guest_on_it_has_answered() {
    let here = tempfile::tempdir().unwrap();
    let answer = here.path().join("answer");
    set_pyro(here.path(), "cat HERE/answer 2> /dev/null");
    let mut config = Config::from_environment().unwrap();
    config.state_dir = here.path().join("state");
    config.cache_dir = here.path().join("cache");
    config.pyro = Some(here.path().join("pyro"));
    config.agent = Some(here.path().join("agent"));
    let engine = Engine::new(config);
    let mut record = record();
    engine.put(&record).unwrap();
    let folder = engine.folder(&record.vm_id);
    folder.create().unwrap();

    let mut start = async || {
        let caller = Caller::new();
        let started = engine
            .start_vm(&mut record, &Base::HostProcess, &caller)
            .await;
        let written = fs::read(folder.join(LAUNCH_FILE)).unwrap();
        let spec: LaunchSpec = serde_json::from_slice(&written).unwrap();
        (started.is_ok(), spec.new_disk)
    };
    assert_eq!(start().await, (false, true));
    assert_eq!(start().await, (false, true), "after a start that failed");
    let running = Running {
        backend: "process".into(),
        accelerator: "none".into(),
        accelerator_reason: "it is no VM".into(),
        vmm_version: None,
        agent_version: String::new(),
        kernel_release: String::new(),
        boot_ms: 1,
        boot_attempts: 1,
        booted_kernel: None,
        resumed: false,
        walls: None,
    };
    let mut ready = Vec::new();
    frame::write_message(&mut ready, &LaunchEvent::Ready(running))
        .await
        .unwrap();
    fs::write(&answer, ready).unwrap();
    assert_eq!(start().await, (true, true));
    assert_eq!(start().await, (true, false), "after a start that went well");
    fs::remove_file(&answer).unwrap();
    assert_eq!(start().await, (false, false), "and for good");
    assert_eq!(start().await, (false, false));
}
