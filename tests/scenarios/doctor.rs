//! `pyro doctor`: what works here, and how to fix what does not.

use pyro_tests::World;
use pyro_tests::world::finish;
use serde_json::Value;

use crate::no_qemu::without_qemu;

crate::stories! { [vm]:
    a_host_that_can_run_vms_passes,
    the_accelerator_is_told_with_its_reason,
    the_templates_are_counted,
    without_qemu_it_fails_and_names_the_fix,
    an_unknown_platform_is_refused,
}

fn check<'a>(diagnosis: &'a Value, name: &str) -> &'a Value {
    let checks = diagnosis["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no check `{name}` in {diagnosis}"))
}

fn a_host_that_can_run_vms_passes(world: &World) {
    let ran = finish(&mut world.pyro(["doctor"]));
    assert_eq!(ran.code(), 0, "{}", ran.out());
    let head: Vec<String> = ran.out().lines().take(2).map(str::to_owned).collect();
    assert_eq!(head, ["Platform: linux-x86_64", "Runtime: PASS"]);
    assert!(
        ran.out()
            .contains("Capabilities: vm_boot=yes guest_exec=yes"),
        "{}",
        ran.out()
    );
    assert!(!ran.out().contains("[FAIL]"), "{}", ran.out());

    let ran = finish(&mut world.pyro(["doctor", "--json"]));
    assert_eq!(ran.code(), 0);
    assert_eq!(ran.err(), "");
    let diagnosis = ran.json();
    assert_eq!(diagnosis["runtime_ok"], true);
    assert_eq!(diagnosis["issues"], Value::Array(Vec::new()));
    assert_eq!(
        diagnosis["runtime"]["capabilities"]["supports_vm_boot"],
        true
    );
}

fn the_accelerator_is_told_with_its_reason(world: &World) {
    let diagnosis = finish(&mut world.pyro(["doctor", "--json"])).json();
    let kvm = &diagnosis["kvm"];
    let (accelerator, reason) = (kvm["accelerator"].as_str(), kvm["reason"].as_str());
    assert!(["kvm", "tcg"].contains(&accelerator.unwrap()), "{kvm}");
    assert!(!reason.unwrap().is_empty(), "{kvm}");
    let detail = check(&diagnosis, "accelerator")["detail"].as_str().unwrap();
    assert!(detail.starts_with(accelerator.unwrap()), "{detail}");
    assert!(detail.ends_with(reason.unwrap()), "{detail}");
}

fn the_templates_are_counted(world: &World) {
    let told = || {
        let mut doctor = world.pyro(["doctor", "--json"]);
        let cache = world.folder().join("cache");
        doctor.env("PYRO_ENVIRONMENT_CACHE_DIR", cache);
        let diagnosis = finish(doctor.env("PYRO_TEMPLATE_LIMIT_MIB", "77")).json();
        let detail = check(&diagnosis, "templates")["detail"].as_str().unwrap();
        detail.to_owned()
    };
    let use_of_limit = "0 MiB of at most 77 MiB (PYRO_TEMPLATE_LIMIT_MIB)";
    assert_eq!(told(), format!("0 mounted, 0 bare: {use_of_limit}"));
    // What is no template is nobody's: it counts, and `env prune` removes it.
    std::fs::create_dir_all(world.folder().join("cache/templates/0-1/guest")).unwrap();
    let with_debris = "0 mounted, 0 bare, 1 that cannot be resumed";
    assert_eq!(told(), format!("{with_debris}: {use_of_limit}"));
}

fn without_qemu_it_fails_and_names_the_fix(world: &World) {
    let doctor = |flags: &[&str]| {
        let arguments = [&["doctor"], flags].concat();
        finish(&mut without_qemu(world, &arguments))
    };
    let ran = doctor(&[]);
    assert_eq!(ran.code(), 1, "{}{}", ran.out(), ran.err());
    assert!(ran.out().contains("Runtime: FAIL\n"), "{}", ran.out());
    assert!(
        ran.out()
            .contains("fix: sudo apt-get install qemu-system-x86\n"),
        "{}",
        ran.out()
    );

    let ran = doctor(&["--json"]);
    assert_eq!(ran.code(), 1);
    let diagnosis = ran.json();
    assert_eq!(diagnosis["runtime_ok"], false);
    assert_eq!(check(&diagnosis, "qemu")["outcome"], "failed");
    let issue = diagnosis["issues"][0].as_str().unwrap();
    assert!(issue.contains("apt-get install qemu-system-x86"), "{issue}");
}

fn an_unknown_platform_is_refused(world: &World) {
    let ran = finish(&mut world.pyro(["doctor", "--platform", "plan9"]));
    assert_eq!(ran.code(), 2);
    assert!(ran.err().contains("linux-x86_64"), "{}", ran.err());
}
