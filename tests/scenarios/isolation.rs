//! The choice of what keeps a command apart from this host, and one-shot VMs that are sandboxes of
//! gVisor's.

use std::fs;

use pyro_api::values::Isolation;
use pyro_engine::Config;
use pyro_tests::surfaces::engine::{Library, config};
use pyro_tests::world::finish;
use pyro_tests::{Surface, World, program};
use serde_json::{Value, json};

crate::stories! { [vm] [command_line, library, mcp]:
    a_command_answers_from_a_sandbox,
    a_sandbox_has_no_network_unasked,
    a_failure_for_want_of_a_kernel_names_the_vm,
    an_unknown_isolation_is_refused,
}

crate::stories! { [vm] [library, mcp]:
    a_sandbox_lives_like_a_vm,
    a_file_is_one_by_all_its_names_in_a_sandbox,
}

crate::stories! { [vm]:
    a_setting_chooses_and_a_call_says_otherwise,
    each_sandbox_is_a_fresh_one,
    input_comes_into_a_sandbox_and_its_output_out,
    no_vm_that_waits_is_taken_for_a_sandbox,
    a_sandbox_that_waits_is_taken_and_is_no_vm,
    a_runsc_that_is_none_is_told,
    doctor_says_which_kinds_run,
}

crate::stories! { [process]:
    an_unknown_setting_is_refused,
    gvisor_is_not_replaced_by_the_host,
}

/// Whether sandboxes run here; where not, a test says why it is not played.
pub(crate) fn sandboxes(world: &World) -> bool {
    world.can_run_sandboxes()
}

fn arguments(command: &str) -> Value {
    json!({
        "environment": "debian:12",
        "command": command,
        "mem_mib": 256,
        "isolation": "gvisor",
    })
}

fn run(surface: &dyn Surface, command: &str) -> Value {
    surface.call("vm_run", arguments(command)).unwrap()
}

/// `pyro run --isolation gvisor`, not started yet.
fn sandbox(world: &World, flags: &[&str], command: &str) -> std::process::Command {
    let flags = [&["--isolation", "gvisor", "--mem-mib", "256"], flags].concat();
    world.run(&flags, [command])
}

fn a_command_answers_from_a_sandbox(world: &World, surface: &dyn Surface) {
    if !sandboxes(world) {
        return;
    }
    let result = run(surface, "echo héllo; echo oops >&2; id -u; pwd");
    assert_eq!(result["stdout"], "héllo\n0\n/workspace\n");
    assert_eq!(result["stderr"], "oops\n");
    assert_eq!(result["exit_code"], 0);
    assert_eq!(result["execution_mode"], "gvisor");
    assert_eq!(result["accelerator"], "systrap");
    assert_ne!(result["accelerator_reason"], "");
    assert_eq!(result["resumed"], false);
    assert_eq!(result["advice"], Value::Null);
    assert_eq!(result["cleanup"]["reason"], "post_exec_cleanup");
    // It is gVisor's kernel that answers, and not this host's.
    let result = run(surface, "dmesg");
    let log = result["stdout"].as_str().unwrap();
    assert!(log.contains("gVisor"), "{result}");
}

fn a_sandbox_has_no_network_unasked(world: &World, surface: &dyn Surface) {
    if !sandboxes(world) {
        return;
    }
    // ENETUNREACH or EHOSTUNREACH: there is nothing to send by.
    let connect =
        "python3 -c 'import socket; print(socket.socket().connect_ex((\"192.0.2.1\", 80)))'";
    let said = run(surface, connect);
    assert!(
        ["101\n", "113\n"].contains(&said["stdout"].as_str().unwrap()),
        "{said}"
    );
    let list = "tail -n +3 /proc/net/dev | cut -d: -f1";
    let devices = run(surface, list);
    let devices = devices["stdout"].as_str().unwrap();
    assert!(
        devices.trim().is_empty() || devices.trim() == "lo",
        "{devices}"
    );
    let mut asked = arguments(list);
    asked["network"] = json!(true);
    let devices = surface.call("vm_run", asked).unwrap();
    let devices = devices["stdout"].as_str().unwrap();
    assert!(devices.contains("eth0"), "{devices}");
}

fn a_failure_for_want_of_a_kernel_names_the_vm(world: &World, surface: &dyn Surface) {
    if !sandboxes(world) {
        return;
    }
    let wants = "truncate -s 1M /disk; mount -t ext4 /disk /mnt";
    let result = run(surface, wants);
    assert_ne!(result["exit_code"], 0, "{result}");
    let advice = result["advice"].as_str().unwrap();
    assert!(advice.contains("`--isolation vm`"), "{result}");
    // What fails for other reasons has nothing to do with it.
    assert_eq!(run(surface, "cat /none")["advice"], Value::Null);
}

fn an_unknown_isolation_is_refused(world: &World, surface: &dyn Surface) {
    let mut asked = arguments("true");
    asked["isolation"] = json!("docker");
    let told = surface.call("vm_run", asked).unwrap_err();
    let words = told.to_string();
    for word in ["docker", "auto", "vm", "gvisor"] {
        assert!(words.contains(word), "{words}");
    }
    let ran = finish(&mut world.run(&["--isolation", "docker"], ["true"]));
    assert_eq!(ran.code(), 2, "{}", ran.err());
    assert_eq!(ran.out(), "");
}

fn an_unknown_setting_is_refused(world: &World) {
    let ran = finish(world.run(&[], ["true"]).env("PYRO_ISOLATION", "docker"));
    assert_eq!(ran.code(), 1);
    assert_eq!(
        ran.err(),
        "[error] PYRO_ISOLATION must be one of auto, vm, gvisor, not `docker`\n"
    );
}

fn gvisor_is_not_replaced_by_the_host(world: &World) {
    let ran = finish(&mut world.run(&["--isolation", "gvisor", "--json"], ["true"]));
    assert_eq!(ran.code(), 1, "{}", ran.out());
    assert_eq!(ran.json()["code"], "vm_unavailable");
    let causes = ran.json()["causes"].to_string();
    assert!(causes.contains("PYRO_BACKEND"), "{causes}");
}

fn a_sandbox_lives_like_a_vm(world: &World, surface: &dyn Surface) {
    if !sandboxes(world) {
        return;
    }
    let create = json!({ "environment": "debian:12", "mem_mib": 256, "isolation": "gvisor" });
    let created = surface.call("vm_create", create).unwrap();
    let of = json!({ "vm_id": created["vm_id"] });
    let call = |operation: &str| surface.call(operation, of.clone()).unwrap();
    assert_eq!(created["state"], "created");
    assert_eq!(created["execution_mode"], "pending");
    assert_eq!(created["metadata"]["isolation"], "gvisor");
    assert_eq!(
        created["metadata"]["isolation_reason"],
        "the call asked for `gvisor`"
    );
    let started = call("vm_start");
    assert_eq!(started["execution_mode"], "gvisor");
    assert_eq!(started["accelerator"], "systrap");
    let facts = started["metadata"].as_object().unwrap();
    assert!(facts.values().all(Value::is_string), "{started}");
    assert_eq!(facts["backend"], "gvisor");
    assert!(!facts["runsc_version"].as_str().unwrap().is_empty());
    assert!(!facts.contains_key("qemu_version"), "{started}");
    assert_eq!(call("vm_status"), started);
    assert_eq!(call("vm_network_info")["network_enabled"], false);

    assert_eq!(call("vm_stop")["state"], "stopped");
    // A command deletes its VM, so what is on the disk comes from the host.
    let id = created["vm_id"].as_str().unwrap();
    let layer = world.state_dir().join("vms").join(id).join("layer/upper");
    fs::write(layer.join("mark"), "kept").unwrap();
    assert_eq!(call("vm_start")["state"], "started");
    let mut exec = of.clone();
    exec["command"] = json!("cat /mark; stat -c %a /");
    let result = surface.call("vm_exec", exec).unwrap();
    assert_eq!(result["stdout"], "kept755\n", "{result}");
    assert_eq!(result["execution_mode"], "gvisor");
    let told = surface.call("vm_status", of.clone()).unwrap_err();
    assert_eq!(told["code"], "unknown_vm");
}

/// In a sandbox that keeps its changes itself, and in one whose changes are in a layer of the host.
fn a_file_is_one_by_all_its_names_in_a_sandbox(world: &World, surface: &dyn Surface) {
    if !sandboxes(world) {
        return;
    }
    let change = "echo one > a; ln a b; cat b; echo two >> a; cat b; truncate -s 3 b; chmod 640 b; \
                  chown 33 a; stat -c '%s %a %u %h' a b";
    let wanted = "one\none\ntwo\n3 640 33 2\n3 640 33 2\n";
    assert_eq!(run(surface, change)["stdout"], wanted);

    let create = json!({ "environment": "debian:12", "mem_mib": 256, "isolation": "gvisor" });
    let id = surface.call("vm_create", create).unwrap()["vm_id"].take();
    let of = json!({ "vm_id": id });
    surface.call("vm_start", of.clone()).unwrap();
    let mut exec = of;
    exec["command"] = json!(change);
    let result = surface.call("vm_exec", exec).unwrap();
    assert_eq!(result["stdout"], wanted, "{result}");
}

fn a_setting_chooses_and_a_call_says_otherwise(world: &World) {
    if !sandboxes(world) {
        return;
    }
    let mode = |flags: &[&str]| {
        let flags = [&["--json", "--mem-mib", "256"], flags].concat();
        let mut run = world.run(&flags, ["true"]);
        let ran = finish(run.env("PYRO_ISOLATION", "gvisor"));
        ran.json()["execution_mode"].as_str().unwrap().to_owned()
    };
    assert_eq!(mode(&[]), "gvisor");
    assert_eq!(mode(&["--isolation", "vm"]), "guest_vsock");
    // Where sandboxes run, it is a VM with KVM alone.
    let diagnosis = finish(&mut world.pyro(["doctor", "--json"])).json();
    let auto = match diagnosis["kvm"]["accelerator"] == "kvm" {
        true => "guest_vsock",
        false => "gvisor",
    };
    assert_eq!(mode(&["--isolation", "AUTO"]), auto);
    let set = json!({ "PYRO_ACCELERATOR": "tcg", "PYRO_BACKEND": "qemu" });
    for (name, value) in set.as_object().unwrap() {
        let mut run = world.run(&["--json", "--mem-mib", "256"], ["true"]);
        let ran = finish(
            run.env("PYRO_ISOLATION", "auto")
                .env(name, value.as_str().unwrap()),
        );
        assert_eq!(ran.json()["execution_mode"], "guest_vsock", "{name}");
    }
}

fn each_sandbox_is_a_fresh_one(world: &World) {
    if !sandboxes(world) {
        return;
    }
    let write = "echo mine > /etc/mine; echo mine > /workspace/mine; rm -rf /usr/share/doc; \
                 chown 33:33 /etc/mine; mkdir -m 700 /srv/a; chown -R 33 /srv/a; ls /etc/mine";
    let look = "ls /etc/mine /workspace/mine /srv/a 2>/dev/null; ls -d /usr/share/doc";
    let ran = finish(&mut sandbox(world, &[], write));
    assert_eq!(
        (ran.code(), ran.out().as_str()),
        (0, "/etc/mine\n"),
        "{}",
        ran.err()
    );
    let ran = finish(&mut sandbox(world, &[], look));
    assert_eq!(ran.out(), "/usr/share/doc\n", "{}", ran.err());
}

fn input_comes_into_a_sandbox_and_its_output_out(world: &World) {
    if !sandboxes(world) {
        return;
    }
    let input: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
    let mut cat = sandbox(world, &["--interactive"], "cat");
    let ran = pyro_tests::world::finish_with_input(&mut cat, input.clone());
    assert_eq!(ran.code(), 0, "{}", ran.err());
    assert!(ran.stdout == input, "{} bytes", ran.stdout.len());
    assert!(ran.err().contains("execution_mode=gvisor"), "{}", ran.err());
    assert!(ran.err().contains("accelerator=systrap"), "{}", ran.err());
}

/// The next one works, and clears away what the last could not.
fn the_next_works(world: &World) {
    let ran = finish(&mut sandbox(world, &[], "echo again"));
    assert_eq!(
        (ran.code(), ran.out().as_str()),
        (0, "again\n"),
        "{}",
        ran.err()
    );
}

fn no_vm_that_waits_is_taken_for_a_sandbox(world: &World) {
    if !sandboxes(world) {
        return;
    }
    let library = Library::new(world);
    library.keep_standby(1);
    let result = run(&library, "true");
    assert_eq!(result["execution_mode"], "gvisor");
    assert_eq!(result["standby"], false);
    library.await_standbys(1);
    let mut asked = arguments("true");
    asked["isolation"] = json!("vm");
    let result = library.call("vm_run", asked).unwrap();
    assert_eq!(result["execution_mode"], "guest_vsock");
    assert_eq!(result["standby"], true);
}

fn a_sandbox_that_waits_is_taken_and_is_no_vm(world: &World) {
    if !sandboxes(world) {
        return;
    }
    let library = Library::with(Config {
        isolation: Isolation::Gvisor,
        ..config(world)
    });
    library.keep_standby(1);
    let run = |isolation: Option<&str>| {
        let mut asked = arguments("cat /proc/uptime");
        asked["isolation"] = json!(isolation);
        library.call("vm_run", asked).unwrap()
    };
    let of_vm = run(Some("vm"));
    assert_eq!(of_vm["execution_mode"], "guest_vsock");
    assert_eq!(of_vm["standby"], false);
    for isolation in [None, Some("gvisor")] {
        library.await_standbys(1);
        let result = run(isolation);
        assert_eq!(result["exit_code"], 0, "{result}");
        assert_eq!(result["execution_mode"], "gvisor");
        assert_eq!(result["standby"], true, "{result}");
    }
}

fn a_runsc_that_is_none_is_told(world: &World) {
    let folder = world.folder().join("bin");
    fs::create_dir_all(&folder).unwrap();
    let script = folder.join("runsc");
    program::script(&script, "echo something else; exit 0");
    let diagnosis = |runsc: &std::path::Path| {
        let mut doctor = world.pyro(["doctor", "--json"]);
        finish(doctor.env("PYRO_RUNSC", runsc)).json()
    };
    let checked = diagnosis(&script);
    if checked["kvm"]["accelerator"] != "kvm" {
        // Who asked for nothing but this one gets no other, and no VM.
        let mut run = world.run(&["--json", "--isolation", "auto"], ["true"]);
        let ran = finish(run.env("PYRO_RUNSC", &script));
        assert_eq!(ran.code(), 1, "{}", ran.out());
        assert_eq!(ran.json()["code"], "tool_missing", "{}", ran.out());
        let checks = checked["checks"].as_array().unwrap().iter();
        let mut of_isolation = checks.filter(|check| check["name"] == "isolation");
        assert_eq!(of_isolation.next().unwrap()["outcome"], "warning");
    }
    for runsc in [
        folder.join("missing"),
        folder.clone(),
        script,
        "/etc/passwd".into(),
        "/bin/true".into(),
    ] {
        let mut run = sandbox(world, &["--json"], "true");
        let ran = finish(run.env("PYRO_RUNSC", &runsc));
        assert_eq!(ran.code(), 1, "{}", ran.out());
        let told = ran.json();
        assert_eq!(told["code"], "tool_missing", "{told}");
        assert!(
            told["hint"].as_str().unwrap().contains("PYRO_RUNSC"),
            "{told}"
        );
        let path = runsc.display().to_string();
        assert!(told["causes"].to_string().contains(&path), "{told}");
    }
}

fn doctor_says_which_kinds_run(world: &World) {
    if !sandboxes(world) {
        return;
    }
    the_next_works(world);
    let diagnosis = finish(&mut world.pyro(["doctor", "--json"])).json();
    let gvisor = &diagnosis["gvisor"];
    assert_eq!(gvisor["runs_sandboxes"], true, "{gvisor}");
    for fact in ["runsc", "version", "released", "origin"] {
        assert!(!gvisor[fact].as_str().unwrap().is_empty(), "{gvisor}");
    }
    let nonsense = finish(world.pyro(["doctor", "--json"]).env("PYRO_RUNSC", "/none")).json();
    assert_eq!(nonsense["gvisor"]["runs_sandboxes"], false);
    assert!(
        nonsense["gvisor"]["reason"]
            .as_str()
            .unwrap()
            .contains("/none")
    );
    // VMs run without it.
    assert_eq!(nonsense["runtime_ok"], true);
}
