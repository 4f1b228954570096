//! `vm_run`: what comes back of one command.

use pyro_tests::{Backend, Surface, World};
use serde_json::{Value, json};

crate::stories! { [process, vm, gvisor] [command_line, library, mcp]:
    a_command_answers_with_its_output,
    an_exit_status_is_the_commands_own,
    a_signal_is_told_apart,
    a_timeout_keeps_what_was_written,
    binary_output_is_marked,
    a_background_process_does_not_hold_the_call,
}

fn run(world: &World, surface: &dyn Surface, command: &str) -> Value {
    surface.call("vm_run", arguments(world, command)).unwrap()
}

fn arguments(world: &World, command: &str) -> Value {
    json!({
        "environment": "debian:12",
        "command": command,
        "mem_mib": 256,
        "allow_host_compat": world.backend == Backend::Process,
    })
}

fn a_command_answers_with_its_output(world: &World, surface: &dyn Surface) {
    let result = run(world, surface, "echo héllo; echo oops >&2");
    assert_eq!(result["stdout"], "héllo\n");
    assert_eq!(result["stderr"], "oops\n");
    assert_eq!(result["exit_code"], 0);
    assert_eq!(result["stdout_encoding"], "utf-8");
    assert_eq!(result["command"], "echo héllo; echo oops >&2");
    assert_eq!(result["cleanup"]["deleted"], true);
    assert_eq!(result["cleanup"]["reason"], "post_exec_cleanup");
    let (mode, accelerators) = world.mode_and_accelerators();
    assert_eq!(result["execution_mode"], mode);
    let accelerator = result["accelerator"].as_str().unwrap();
    assert!(accelerators.contains(&accelerator), "{accelerator}");
}

fn an_exit_status_is_the_commands_own(world: &World, surface: &dyn Surface) {
    assert_eq!(run(world, surface, "exit 7")["exit_code"], 7);
}

fn a_signal_is_told_apart(world: &World, surface: &dyn Surface) {
    let result = run(world, surface, "kill -9 $$");
    assert_eq!(result["exit_code"], 137);
    assert_eq!(result["signal"], 9);
    assert_eq!(result["timed_out"], false);
}

fn a_timeout_keeps_what_was_written(world: &World, surface: &dyn Surface) {
    let mut arguments = arguments(world, "echo early; (setsid sleep 1000 &) ; sleep 1000");
    arguments["timeout_seconds"] = json!(world.seconds_to_begin());
    let result = surface.call("vm_run", arguments).unwrap();
    assert_eq!(result["exit_code"], 124);
    assert_eq!(result["timed_out"], true);
    assert_eq!(result["stdout"], "early\n");
}

fn binary_output_is_marked(world: &World, surface: &dyn Surface) {
    let result = run(world, surface, r"printf 'a\377b'");
    assert_eq!(result["stdout"], "a\u{fffd}b");
    assert_eq!(result["stdout_encoding"], "utf-8-replaced");
    assert_eq!(result["stdout_bytes"], 3);
}

fn a_background_process_does_not_hold_the_call(world: &World, surface: &dyn Surface) {
    let result = run(world, surface, "sleep 1000 & echo started");
    assert_eq!(result["stdout"], "started\n");
    assert_eq!(result["timed_out"], false);
}
