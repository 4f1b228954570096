//! What programs read: JSON documents, completion scripts, manual pages.

use pyro_tests::World;
use pyro_tests::world::{Ran, finish};
use serde_json::Value;

crate::stories! { [vm, gvisor]: the_demo_answers_in_json_without_being_asked }

crate::stories! { [process]:
    a_result_is_one_document_and_nothing_else,
    a_failure_is_one_document_and_nothing_else,
    a_demo_that_fails_answers_in_json_too,
    the_version_is_that_of_the_contract,
    every_shell_gets_its_completions,
    every_command_has_a_manual_page,
}

/// The one document of a command that says nothing else: sorted, ASCII, one line break at the end.
fn document(ran: &Ran) -> Value {
    assert_eq!(ran.err(), "");
    let text = ran.out();
    assert!(text.is_ascii(), "{text}");
    assert!(text.starts_with("{\n") && text.ends_with("\n}\n"), "{text}");
    let keys: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("  \""))
        .collect();
    assert!(keys.is_sorted(), "{keys:?}");
    ran.json()
}

fn the_demo_answers_in_json_without_being_asked(world: &World) {
    let ran = finish(&mut world.pyro(["demo"]));
    let result = document(&ran);
    assert_eq!(ran.code(), 0);
    let (mode, _) = world.mode_and_accelerators();
    assert_eq!(result["execution_mode"], mode);
    let version = result["stdout"].as_str().unwrap();
    assert!(version.starts_with("git version "), "{version}");
}

fn a_result_is_one_document_and_nothing_else(world: &World) {
    let ran = finish(&mut world.run(&["--json"], ["echo h\u{e9}llo; echo oops >&2; exit 3"]));
    let result = document(&ran);
    assert_eq!(result["stdout"], "h\u{e9}llo\n");
    assert_eq!(result["stderr"], "oops\n");
    assert_eq!(result["exit_code"], 3);
    assert_eq!(ran.code(), 3);
    assert!(ran.out().contains(r"h\u00e9llo\n"), "{}", ran.out());
}

fn a_failure_is_one_document_and_nothing_else(world: &World) {
    let ran = finish(&mut world.pyro(["run", "debian:11", "--json", "--", "true"]));
    let told = document(&ran);
    assert_eq!(ran.code(), 1);
    assert_eq!(told["ok"], false);
    assert_eq!(told["code"], "unknown_environment");
    assert_eq!(told["error"], "There is no environment `debian:11`");
    assert_eq!(
        told["causes"][0],
        "known environments: debian:12, debian:12-base, debian:12-build, \
         debian:13, debian:13-base, debian:13-build"
    );
    assert_eq!(
        told["hint"],
        "Did you mean `debian:12`? The image of Docker Hub is `docker.io/debian:11`"
    );
}

fn a_demo_that_fails_answers_in_json_too(world: &World) {
    let ran = finish(&mut world.pyro(["demo", "--network"]));
    let told = document(&ran);
    assert_eq!(told["ok"], false);
    assert_eq!(told["code"], "vm_unavailable");
    assert_eq!(ran.code(), 1);
}

fn the_version_is_that_of_the_contract(world: &World) {
    for flag in ["--version", "-V"] {
        let ran = finish(&mut world.pyro([flag]));
        assert_eq!(ran.out(), format!("pyro {}\n", pyro_api::CONTRACT_VERSION));
        assert_eq!(ran.code(), 0);
    }
}

fn every_shell_gets_its_completions(world: &World) {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = finish(&mut world.pyro(["completions", shell]));
        assert_eq!(ran.code(), 0, "{shell}: {}", ran.err());
        assert!(ran.out().contains("timeout-seconds"), "{shell}");
    }
}

fn every_command_has_a_manual_page(world: &World) {
    let mut pages = vec![Vec::new()];
    while let Some(words) = pages.pop() {
        let ran = finish(world.pyro(["man"]).args(&words));
        assert_eq!(ran.code(), 0, "{words:?}: {}", ran.err());
        let title = [vec!["pyro".to_owned()], words.clone()].concat().join("-");
        assert!(
            ran.out().contains(&format!(".TH {title} ")),
            "{}",
            ran.out()
        );
        let tree = words.iter().fold(pyro_cli::command(), |command, word| {
            command.find_subcommand(word).unwrap().clone()
        });
        pages.extend(tree.get_subcommands().map(|below| {
            let word = below.get_name().to_owned();
            [words.clone(), vec![word]].concat()
        }));
    }
}
