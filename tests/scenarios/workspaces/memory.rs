//! What is told where the memory of a guest is used up, and by whom.

use std::time::Duration;

use pyro_tests::memory::EAT;
use pyro_tests::world::eventually;
use pyro_tests::{Surface, Workspace, World};
use serde_json::{Value, json};

crate::stories! { [vm, gvisor] [mcp]: who_was_killed_for_want_of_memory_is_told }
crate::stories! { [process] [library]: nobody_is_said_to_have_been_who_was_not }

const LONG: Duration = Duration::from_secs(60);

fn who_was_killed_for_want_of_memory_is_told(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    workspace.starts("bystander", "exec sleep 1000", json!({}));
    let opened = workspace.shell("open", json!({})).unwrap();
    let shell = json!({ "shell_id": opened["shell_id"], "plain": true });
    let shell = || workspace.shell("read", shell.clone()).unwrap();

    let eaten = workspace.exec(&format!("exec {EAT}"));
    assert_eq!(
        (&eaten["exit_code"], &eaten["oom_killed"]),
        (&json!(137), &json!(true)),
        "{eaten:#}"
    );
    assert_eq!(eaten["mem_mib"], 256);
    says_what_to_do(&eaten);
    // A child of a command that goes on.
    let eaten = workspace.exec(&format!("({EAT}) 2>/dev/null; echo $?; exit 0"));
    assert_eq!(
        (&eaten["stdout"], &eaten["oom_killed"]),
        (&json!("137\n"), &json!(true))
    );
    // Whoever was there meanwhile, or comes later, or is killed for another reason, was not.
    let other = workspace.exec("kill -9 $$");
    assert_eq!(
        (&other["exit_code"], &other["oom_killed"], &other["advice"]),
        (&json!(137), &json!(false), &Value::Null)
    );
    let bystander = workspace.of_service("status", "bystander");
    assert_eq!(bystander["oom_killed"], false, "{bystander:#}");
    assert_eq!(shell()["oom_killed"], false);
    let logs = workspace.done("logs", json!({}));
    let told = logs["entries"].as_array().unwrap().iter();
    let told: Vec<_> = told.map(|entry| &entry["oom_killed"]).collect();
    assert_eq!(told, [&json!(true), &json!(true), &json!(false)]);
    says_what_to_do(&logs);
    let newest = workspace.done("logs", json!({ "last": 1 }));
    assert_eq!(newest["advice"], Value::Null, "{newest:#}");

    // A service that ends of it, and one that lives on.
    workspace.starts("eater", &format!("exec {EAT}"), json!({}));
    eventually("the service is killed", LONG, || {
        workspace.of_service("status", "eater")["state"] == "exited"
    });
    let eater = workspace.of_service("status", "eater");
    assert_eq!(
        (&eater["exit_code"], &eater["oom_killed"]),
        (&json!(137), &json!(true)),
        "{eater:#}"
    );
    says_what_to_do(&eater);
    assert_eq!(
        workspace.of_service("status", "bystander")["advice"],
        Value::Null
    );
    workspace.starts(
        "nurse",
        &format!("{EAT}; touch killed; exec sleep 1000"),
        json!({ "ready_file": "killed" }),
    );
    let nurse = workspace.of_service("status", "nurse");
    assert_eq!(
        (&nurse["state"], &nurse["oom_killed"]),
        (&json!("running"), &json!(true)),
        "{nurse:#}"
    );
    let typed = json!({ "shell_id": opened["shell_id"], "input": EAT });
    workspace.shell("write", typed).unwrap();
    eventually("a kill in the shell", LONG, || {
        shell()["oom_killed"] == true
    });
    let shell = shell();
    assert_eq!(shell["state"], "running");
    says_what_to_do(&shell);
}

fn says_what_to_do(killed: &Value) {
    assert_eq!(killed["mem_mib"], 256, "{killed:#}");
    let hint = killed["advice"].as_str().unwrap();
    assert!(
        hint.contains("256 MiB") && hint.contains("`mem_mib`"),
        "{hint}"
    );
}

fn nobody_is_said_to_have_been_who_was_not(world: &World, surface: &dyn Surface) {
    let workspace = Workspace::new(world, surface);
    let killed = workspace.exec("kill -9 $$");
    assert_eq!(
        (&killed["exit_code"], &killed["oom_killed"]),
        (&json!(137), &json!(false))
    );
}
