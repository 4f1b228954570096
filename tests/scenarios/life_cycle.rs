//! One-shot VMs step by step: create, start, use, stop, delete, and their time to live.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyro_tests::surfaces::engine::Library;
use pyro_tests::world::eventually;
use pyro_tests::{Backend, Surface, World};
use rusqlite::Connection;
use serde_json::{Value, json};

crate::stories! { [process, vm, gvisor] [library]:
    a_vm_is_created_started_used_and_gone,
    a_stopped_vm_keeps_its_disk,
}

crate::stories! { [process] [library, mcp]:
    a_step_out_of_order_is_refused,
    a_vm_is_deleted_in_every_state,
    a_vm_that_nobody_knows_is_told,
    a_vm_has_no_network,
    a_new_vm_takes_the_sizes_it_was_given,
    the_environments_are_listed,
    a_vm_whose_time_is_over_is_deleted_when_somebody_asks,
    expired_vms_are_reaped,
    reaping_spares_the_living,
}

crate::stories! { [process, vm, gvisor]:
    an_engine_takes_its_vms_with_it,
    a_supervisor_alone_ends_a_vm_whose_time_is_over,
}

crate::stories! { [process]: engines_leave_each_others_vms_alone }

/// A VM of a story.
struct Vm<'a> {
    surface: &'a dyn Surface,
    id: String,
}

impl<'a> Vm<'a> {
    fn create(world: &World, surface: &'a dyn Surface) -> Self {
        let arguments = json!({
            "environment": "debian:12",
            "mem_mib": 256,
            "allow_host_compat": world.backend == Backend::Process,
        });
        let record = surface.call("vm_create", arguments).unwrap();
        let id = record["vm_id"].as_str().unwrap().to_owned();
        Self { surface, id }
    }

    fn call(&self, operation: &str) -> Result<Value, Value> {
        self.surface.call(operation, json!({ "vm_id": self.id }))
    }

    fn exec(&self, command: &str) -> Result<Value, Value> {
        let arguments = json!({ "vm_id": self.id, "command": command });
        self.surface.call("vm_exec", arguments)
    }

    fn state(&self) -> String {
        let record = self.call("vm_status").unwrap();
        record["state"].as_str().unwrap().to_owned()
    }

    fn is_gone(&self) -> bool {
        self.call("vm_status")
            .is_err_and(|told| told["code"] == "unknown_vm")
    }

    fn folder(&self, world: &World) -> PathBuf {
        world.state_dir().join("vms").join(&self.id)
    }

    /// Moves the end of its life in the records, which no operation would do.
    fn expire(&self, world: &World) {
        let over = seconds_since_1970() - 1.0;
        let store = Connection::open(world.state_dir().join("pyro.db")).unwrap();
        let changed = store.execute(
            "UPDATE vms SET record = json_set(record, '$.expires_at', ?1) WHERE vm_id = ?2",
            (over, &self.id),
        );
        assert_eq!(changed.unwrap(), 1);
    }
}

fn seconds_since_1970() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

fn a_vm_is_created_started_used_and_gone(world: &World, surface: &dyn Surface) {
    let before = seconds_since_1970();
    let vm = Vm::create(world, surface);
    let record = vm.call("vm_status").unwrap();
    assert_eq!(record["state"], "created");
    assert_eq!(record["execution_mode"], "pending");
    assert_eq!(record["accelerator"], Value::Null);
    assert_eq!(record["environment"], "debian:12");
    assert_eq!(record["network_enabled"], false);
    let created_at = record["created_at"].as_f64().unwrap();
    assert!((before..=seconds_since_1970()).contains(&created_at));
    let lives = record["expires_at"].as_f64().unwrap() - created_at;
    assert!((lives - 600.0).abs() < 0.001, "{lives}");
    let is_text = |facts: &Value| facts.as_object().unwrap().values().all(Value::is_string);
    assert!(is_text(&record["metadata"]), "{record}");

    let started = vm.call("vm_start").unwrap();
    assert_eq!(started["state"], "started");
    assert_eq!(vm.call("vm_status").unwrap(), started);
    let (mode, accelerators) = world.mode_and_accelerators();
    assert_eq!(started["execution_mode"], mode);
    assert!(
        accelerators.contains(&started["accelerator"].as_str().unwrap()),
        "{started}"
    );
    assert_eq!(started["metadata"]["execution_mode"], mode);
    assert!(is_text(&started["metadata"]), "{started}");

    let result = vm.exec("echo used").unwrap();
    assert_eq!(result["vm_id"], vm.id);
    assert_eq!(result["stdout"], "used\n");
    assert_eq!(
        result["cleanup"],
        json!({ "vm_id": vm.id, "deleted": true, "reason": "post_exec_cleanup" })
    );
    assert!(vm.is_gone());
}

fn a_stopped_vm_keeps_its_disk(world: &World, surface: &dyn Surface) {
    let vm = Vm::create(world, surface);
    vm.call("vm_start").unwrap();
    assert_eq!(vm.call("vm_stop").unwrap()["state"], "stopped");
    assert_eq!(vm.state(), "stopped");
    // A command deletes its VM, so what is on the disk comes from elsewhere: from the host, or
    // from the kernel, which counts in the disk how often it was mounted.
    let (command, expected) = match world.backend {
        Backend::Process => {
            fs::write(vm.folder(world).join("workspace/mark"), "kept").unwrap();
            ("cat mark", "kept")
        }
        Backend::Gvisor => {
            let layer = vm.folder(world).join("layer/upper");
            fs::write(layer.join("mark"), "kept").unwrap();
            ("cat /mark", "kept")
        }
        Backend::Vm => ("od -An -tu2 -j1076 -N2 /dev/vda", "2"),
    };
    let started = vm.call("vm_start").unwrap();
    assert_eq!(started["state"], "started");
    let from = match world.backend {
        Backend::Vm if std::env::var("PYRO_TEMPLATES").as_deref() != Ok("off") => json!("bare"),
        _ => Value::Null,
    };
    assert_eq!(started["metadata"]["resumed_template"], from);
    assert_eq!(
        started["metadata"]["resumed"],
        (from != Value::Null).to_string()
    );
    let result = vm.exec(command).unwrap();
    assert_eq!(result["stdout"].as_str().unwrap().trim(), expected);
}

fn a_step_out_of_order_is_refused(world: &World, surface: &dyn Surface) {
    let wrong = |answer: Result<Value, Value>, state: &str| {
        let told = answer.unwrap_err();
        assert_eq!(told["code"], "wrong_state", "{told}");
        let words = told["error"].as_str().unwrap();
        assert!(
            words.contains(&format!("is {state} and cannot be ")),
            "{words}"
        );
    };
    let vm = Vm::create(world, surface);
    wrong(vm.exec("true"), "created");
    vm.call("vm_start").unwrap();
    wrong(vm.call("vm_start"), "started");
    vm.call("vm_stop").unwrap();
    wrong(vm.exec("true"), "stopped");
    assert_eq!(vm.call("vm_stop").unwrap()["state"], "stopped");
    vm.call("vm_start").unwrap();
    assert_eq!(vm.exec("exit 5").unwrap()["exit_code"], 5);
}

fn a_vm_is_deleted_in_every_state(world: &World, surface: &dyn Surface) {
    for steps in [
        &[] as &[&str],
        &["vm_stop"],
        &["vm_start"],
        &["vm_start", "vm_stop"],
        &["vm_start", "vm_stop", "vm_start"],
    ] {
        let vm = Vm::create(world, surface);
        for step in steps {
            vm.call(step).unwrap();
        }
        assert_eq!(
            vm.call("vm_delete").unwrap(),
            json!({ "vm_id": vm.id, "deleted": true, "reason": "explicit_delete" }),
        );
        assert!(vm.is_gone(), "{steps:?}");
        assert!(!vm.folder(world).exists(), "{steps:?}");
    }
}

fn a_vm_that_nobody_knows_is_told(_: &World, surface: &dyn Surface) {
    for operation in [
        "vm_status",
        "vm_start",
        "vm_stop",
        "vm_delete",
        "vm_network_info",
    ] {
        for vm_id in ["0123456789ab", "", "../../etc", "\0"] {
            let told = surface
                .call(operation, json!({ "vm_id": vm_id }))
                .unwrap_err();
            assert_eq!(told["code"], "unknown_vm", "{operation}: {told}");
        }
    }
}

fn a_vm_has_no_network(world: &World, surface: &dyn Surface) {
    let vm = Vm::create(world, surface);
    let info = vm.call("vm_network_info").unwrap();
    assert_eq!(info["network_enabled"], false);
    assert_eq!(info["outbound_connectivity_expected"], false);
    assert!(!info["reason"].as_str().unwrap().is_empty());
    vm.call("vm_delete").unwrap();
    for operation in ["vm_create", "vm_run"] {
        let mut arguments = json!({
            "environment": "debian:12",
            "network": true,
            "allow_host_compat": true,
        });
        if operation == "vm_run" {
            arguments["command"] = json!("true");
        }
        let told = surface.call(operation, arguments).unwrap_err();
        assert_eq!(told["code"], "unsupported", "{told}");
    }
}

fn a_new_vm_takes_the_sizes_it_was_given(_: &World, surface: &dyn Surface) {
    let record = surface
        .call(
            "vm_create",
            json!({
                "environment": "debian:12-base",
                "vcpu_count": 8,
                "mem_mib": 32_768,
                "ttl_seconds": 60,
                "allow_host_compat": true,
            }),
        )
        .unwrap();
    assert_eq!(record["environment"], "debian:12-base");
    assert_eq!(record["vcpu_count"], 8);
    assert_eq!(record["mem_mib"], 32_768);
    assert_eq!(record["ttl_seconds"], 60);
    assert_eq!(record["allow_host_compat"], true);
    surface
        .call("vm_delete", json!({ "vm_id": record["vm_id"] }))
        .unwrap();
}

fn the_environments_are_listed(_: &World, surface: &dyn Surface) {
    let listed = surface.call("vm_list_environments", json!({})).unwrap();
    let environments = listed["environments"].as_array().unwrap();
    let told: Vec<(&Value, &Value)> = environments
        .iter()
        // Beside what somebody may have kept.
        .filter(|entry| entry["distribution"] == "debian")
        .map(|entry| (&entry["name"], &entry["distribution_version"]))
        .collect();
    let expected = ["12", "13"].map(|version| {
        ["", "-base", "-build"]
            .map(|kind| (json!(format!("debian:{version}{kind}")), json!(version)))
    });
    let expected: Vec<(&Value, &Value)> = expected
        .iter()
        .flatten()
        .map(|(name, version)| (name, version))
        .collect();
    assert_eq!(told, expected);
}

fn a_vm_whose_time_is_over_is_deleted_when_somebody_asks(world: &World, surface: &dyn Surface) {
    for started in [false, true] {
        for operation in ["vm_status", "vm_start", "vm_stop", "vm_network_info"] {
            let vm = Vm::create(world, surface);
            if started {
                vm.call("vm_start").unwrap();
            }
            vm.expire(world);
            let told = vm.call(operation).unwrap_err();
            assert_eq!(told["code"], "vm_expired", "{operation}: {told}");
            assert!(vm.is_gone(), "{operation}");
            assert!(!vm.folder(world).exists(), "{operation}");
        }
    }
}

fn expired_vms_are_reaped(world: &World, surface: &dyn Surface) {
    let vms = [(); 3].map(|()| Vm::create(world, surface));
    vms[1].call("vm_start").unwrap();
    vms[2].call("vm_start").unwrap();
    vms[2].call("vm_stop").unwrap();
    for vm in &vms {
        vm.expire(world);
    }
    let mut expected: Vec<&str> = vms.iter().map(|vm| vm.id.as_str()).collect();
    expected.sort_unstable();
    let reaped = surface.call("vm_reap_expired", json!({})).unwrap();
    assert_eq!(reaped, json!({ "count": 3, "deleted_vm_ids": expected }));
    assert!(vms.iter().all(Vm::is_gone));
    assert!(vms.iter().all(|vm| !vm.folder(world).exists()));
}

fn reaping_spares_the_living(world: &World, surface: &dyn Surface) {
    let vm = Vm::create(world, surface);
    let reap = || surface.call("vm_reap_expired", json!({})).unwrap();
    assert_eq!(reap()["count"], 0);
    vm.call("vm_start").unwrap();
    assert_eq!(reap()["count"], 0);
    assert_eq!(vm.exec("echo alive").unwrap()["stdout"], "alive\n");
}

fn an_engine_takes_its_vms_with_it(world: &World) {
    let library = Library::new(world);
    let (created, started) = (Vm::create(world, &library), Vm::create(world, &library));
    started.call("vm_start").unwrap();
    let folders = [created.folder(world), started.folder(world)];
    assert!(folders.iter().all(|folder| folder.is_dir()));
    drop(library);
    eventually("the running VM is gone", Duration::from_secs(10), || {
        !folders[1].exists()
    });
    // What was never started is nobody's process; the next engine clears it away.
    let next = Library::new(world);
    Vm::create(world, &next).call("vm_delete").unwrap();
    assert!(!folders[0].exists());
}

fn engines_leave_each_others_vms_alone(world: &World) {
    let (one, other) = (Library::new(world), Library::new(world));
    let (mine, theirs) = (Vm::create(world, &one), Vm::create(world, &other));
    mine.call("vm_start").unwrap();
    theirs.call("vm_start").unwrap();
    assert_eq!(
        other.call("vm_reap_expired", json!({})).unwrap()["count"],
        0
    );
    assert_eq!(theirs.exec("echo theirs").unwrap()["stdout"], "theirs\n");
    drop(other);
    assert_eq!(mine.state(), "started");
    assert_eq!(mine.exec("echo mine").unwrap()["stdout"], "mine\n");
}

fn a_supervisor_alone_ends_a_vm_whose_time_is_over(world: &World) {
    let library = Library::new(world);
    let vm = Vm::create(world, &library);
    vm.call("vm_start").unwrap();
    vm.call("vm_stop").unwrap();
    // The launch file of the VM that ran, with an end that is near.
    let folder = vm.folder(world);
    let path = folder.join("launch.json");
    let mut launch: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let lives = Duration::from_secs(8).as_secs_f64();
    launch["expires_at_ms"] = json!(((seconds_since_1970() + lives) * 1000.0) as u64);
    fs::write(&path, launch.to_string()).unwrap();

    let mut shim = world.pyro(["shim"]);
    shim.arg(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut shim = shim.spawn().unwrap();
    let owner = shim.stdin.take();
    eventually("it runs", Duration::from_secs(7), || {
        folder.join("control.sock").exists()
    });
    eventually("its time is over", Duration::from_secs(30), || {
        shim.try_wait().unwrap().is_some()
    });
    assert!(!folder.exists());
    drop(owner);
    vm.expire(world);
    assert_eq!(vm.call("vm_status").unwrap_err()["code"], "vm_expired");
}
