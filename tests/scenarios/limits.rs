//! Sizes and times: what is refused, and what a command really gets.

use std::time::Duration;

use pyro_tests::surfaces::{cli::CommandLine, engine::Library};
use pyro_tests::world::{eventually, finish};
use pyro_tests::{Backend, Surface, World};
use serde_json::json;

crate::stories! { [process] [command_line, library, mcp]:
    sizes_out_of_bounds_are_refused_in_the_same_words,
    what_is_no_number_is_refused,
    numbers_in_strings_are_understood,
}

crate::stories! { [process]:
    a_timeout_ends_everything_and_says_so,
    a_vm_that_does_not_fit_is_refused_with_the_names_of_those_that_run,
    a_vm_larger_than_all_the_memory_is_refused,
}

crate::stories! { [vm]: a_guest_has_what_was_asked_for }

fn refusal(surface: &dyn Surface, name: &str, value: serde_json::Value) -> serde_json::Value {
    let mut arguments = json!({
        "environment": "debian:12",
        "command": "true",
        "allow_host_compat": true,
    });
    arguments[name] = value;
    surface.call("vm_run", arguments).expect_err(name)
}

fn sizes_out_of_bounds_are_refused_in_the_same_words(_: &World, surface: &dyn Surface) {
    let century = i64::from(u32::MAX);
    let bounds = [
        ("vcpu_count", 1, 8),
        ("mem_mib", 256, 32_768),
        ("timeout_seconds", 1, century),
        ("ttl_seconds", 60, 3_600),
    ];
    for (name, min, max) in bounds {
        for given in [0, -1, min - 1, max + 1, i64::MAX, i64::MIN] {
            let told = refusal(surface, name, json!(given));
            assert_eq!(told["code"], "invalid_argument", "{told}");
            let words = told["error"].as_str().unwrap();
            let expected = format!("{name} must be between {min} and {max}, not {given}");
            assert!(words.contains(&expected), "{words}");
        }
    }
}

fn what_is_no_number_is_refused(_: &World, surface: &dyn Surface) {
    for name in ["vcpu_count", "mem_mib", "timeout_seconds", "ttl_seconds"] {
        for given in ["many", "", "1.5", "1e3", "0x10", "512M", "\u{663}"] {
            let told = refusal(surface, name, json!(given));
            let code = told["code"].as_str().unwrap();
            assert!(["usage", "invalid_argument"].contains(&code), "{told}");
            let words = told["error"].as_str().unwrap();
            assert!(
                words.contains(&format!("must be a whole number, not `{given}`")),
                "{words}"
            );
        }
    }
}

fn numbers_in_strings_are_understood(_: &World, surface: &dyn Surface) {
    let result = surface.call(
        "vm_run",
        json!({
            "environment": "debian:12",
            "command": "true",
            "mem_mib": "256",
            "timeout_seconds": "5",
            "allow_host_compat": true,
        }),
    );
    assert_eq!(result.unwrap()["exit_code"], 0);
}

fn a_timeout_ends_everything_and_says_so(world: &World) {
    let stubborn = "trap '' TERM HUP INT; echo early; echo aside >&2; \
                    setsid sleep 1000 & (setsid sh -c 'sleep 1000 & sleep 1000' &); sleep 1000";
    let seconds = world.seconds_to_begin().to_string();
    let ran = finish(&mut world.run(&["--timeout-seconds", &seconds], [stubborn]));
    assert_eq!(ran.code(), 124);
    assert_eq!(ran.out(), "early\n");
    assert!(ran.err().contains("\naside\n"), "{}", ran.err());
    assert!(
        ran.err()
            .contains("[run] timed out: the command and everything it started were ended after "),
        "{}",
        ran.err()
    );
}

/// MiB that VMs may use together when they get one twentieth of this host.
fn a_twentieth_of_the_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = text
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap();
    total.parse::<u64>().unwrap() / 1024 / 20
}

fn a_vm_that_does_not_fit_is_refused_with_the_names_of_those_that_run(world: &World) {
    let large = (a_twentieth_of_the_memory() * 6 / 10).max(256).to_string();
    let run = |command: &str| {
        let mut run = world.run(&["--mem-mib", &large], [command]);
        run.env("PYRO_MEMORY_SHARE", "0.05");
        run
    };
    let library = Library::new(world);
    let vm = library
        .call(
            "vm_create",
            json!({ "environment": "debian:12", "mem_mib": large, "allow_host_compat": true }),
        )
        .unwrap();
    let vm_id = vm["vm_id"].as_str().unwrap();
    library.call("vm_start", json!({ "vm_id": vm_id })).unwrap();

    let ran = finish(&mut run("true"));
    assert_eq!(ran.code(), 1);
    let told = ran.err();
    assert!(
        told.contains(&format!("[error] A VM of {large} MiB does not fit")),
        "{told}"
    );
    assert!(
        told.contains(&format!("cause: running now: {vm_id} ({large} MiB)\n")),
        "{told}"
    );
    assert!(told.contains("PYRO_MEMORY_SHARE"), "{told}");

    drop(library);
    eventually("the memory is free again", Duration::from_secs(10), || {
        finish(&mut run("true")).code() == 0
    });
}

fn a_vm_larger_than_all_the_memory_is_refused(world: &World) {
    let mut run = world.run(&["--mem-mib", "32768", "--json"], ["true"]);
    let told = finish(run.env("PYRO_MEMORY_SHARE", "0.01")).json();
    assert_eq!(told["code"], "memory_limit");
    assert!(
        told["hint"]
            .as_str()
            .unwrap()
            .starts_with("Give it less with `--mem-mib`"),
        "{told}"
    );
}

fn a_guest_has_what_was_asked_for(world: &World) {
    assert_eq!(world.backend, Backend::Vm);
    let result = CommandLine(world)
        .call(
            "vm_run",
            json!({
                "environment": "debian:12",
                "command": "nproc; awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo",
                "vcpu_count": 3,
                "mem_mib": 700,
            }),
        )
        .unwrap();
    let numbers: Vec<u64> = result["stdout"]
        .as_str()
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(numbers[0], 3);
    // The kernel keeps some for itself.
    assert!((600..=700).contains(&numbers[1]), "{numbers:?}");
}
