//! Command lines that are not carried out: what they say, and with which status.

use pyro_tests::World;
use pyro_tests::world::finish;

crate::stories! { [process]:
    a_mistyped_command_line_is_a_usage_error,
    a_usage_error_in_json_names_what_is_missing,
    a_value_out_of_bounds_is_a_refusal,
    a_run_without_a_command_is_refused,
    an_unknown_environment_names_the_nearest,
    a_network_is_refused_before_anything_is_made,
    help_is_not_an_error,
}

fn a_mistyped_command_line_is_a_usage_error(world: &World) {
    let lines: &[&[&str]] = &[
        &["frobnicate"],
        &["run"],
        &["run", "debian:12", "--no-such-flag", "--", "true"],
        &["run", "debian:12", "--mem-mib", "lots", "--", "true"],
        &["run", "debian:12", "--mem-mib"],
        &["run", "debian:12", "true"],
        &["env", "pull"],
        &["completions", "tcsh"],
    ];
    for line in lines {
        let ran = finish(&mut world.pyro(*line));
        assert_eq!(ran.code(), 2, "{line:?}: {}", ran.err());
        assert_eq!(ran.out(), "", "{line:?}");
        assert!(ran.err().starts_with("error: "), "{line:?}: {}", ran.err());
    }
    let ran = finish(&mut world.pyro(["run", "debian:12", "true"]));
    assert!(ran.err().contains("after `--`"), "{}", ran.err());
    let ran = finish(&mut world.pyro(["run", "--json", "debian:12", "--mem-mib", "lots"]));
    assert_eq!(ran.code(), 2);
    assert_eq!(ran.err(), "");
    assert_eq!(ran.json()["ok"], false);
    assert_eq!(ran.json()["code"], "usage");
    assert!(
        ran.json()["error"].as_str().unwrap().contains("lots"),
        "{}",
        ran.out()
    );
}

fn a_usage_error_in_json_names_what_is_missing(world: &World) {
    let ran = finish(&mut world.pyro(["run", "--json"]));
    assert_eq!(ran.code(), 2);
    let told = ran.json();
    assert_eq!(told["code"], "usage");
    assert!(
        told["error"].as_str().unwrap().contains("<ENVIRONMENT>"),
        "{told}"
    );
    assert!(
        told["hint"].as_str().unwrap().contains("Usage: pyro run"),
        "{told}"
    );
}

fn a_value_out_of_bounds_is_a_refusal(world: &World) {
    let line = ["run", "debian:12", "--mem-mib", "0", "--", "true"];
    let told = "mem_mib must be between 256 and 32768, not 0";
    let ran = finish(&mut world.pyro(line));
    assert_eq!(ran.code(), 1);
    assert_eq!(ran.err(), format!("[error] {told}\n"));

    let ran = finish(world.pyro(["run", "--json"]).args(&line[1..]));
    assert_eq!(ran.code(), 1);
    assert_eq!(ran.json()["error"], told);
    assert_eq!(ran.json()["code"], "invalid_argument");
}

fn a_run_without_a_command_is_refused(world: &World) {
    for words in [&[] as &[&str], &[""], &[" "], &["", "x"]] {
        let ran = finish(&mut world.run(&[], words));
        assert_eq!(ran.code(), 1, "{words:?}");
        assert!(
            ran.err().starts_with("[error] No command was given\n"),
            "{}",
            ran.err()
        );
        assert!(ran.err().contains("hint: "), "{}", ran.err());
    }
}

fn an_unknown_environment_names_the_nearest(world: &World) {
    let ran = finish(&mut world.pyro(["run", "debian:11", "--", "true"]));
    assert_eq!(
        ran.err(),
        "[run] phase=create environment=debian:11\n\
         [error] There is no environment `debian:11`\n  \
         cause: known environments: debian:12, debian:12-base, debian:12-build, \
         debian:13, debian:13-base, debian:13-build\n\
         hint: Did you mean `debian:12`? The image of Docker Hub is `docker.io/debian:11`\n"
    );
    assert_eq!(ran.code(), 1);
    for (typed, nearest) in [
        ("debian12", "debian:12"),
        ("debian:12-bild", "debian:12-build"),
    ] {
        let ran = finish(&mut world.pyro(["env", "inspect", typed]));
        assert!(
            ran.err().contains(&format!("Did you mean `{nearest}`?")),
            "{}",
            ran.err()
        );
    }
}

fn a_network_is_refused_before_anything_is_made(world: &World) {
    let ran = finish(&mut world.run(&["--network"], ["true"]));
    assert_eq!(ran.code(), 1);
    assert!(
        ran.err().contains(
            "[error] Commands that run on this host, without a VM, cannot have a network"
        ),
        "{}",
        ran.err()
    );
    assert!(
        ran.err().contains("hint: Leave the network off"),
        "{}",
        ran.err()
    );
}

fn help_is_not_an_error(world: &World) {
    for line in [&["--help"] as &[&str], &["run", "--help"], &["env", "-h"]] {
        let ran = finish(&mut world.pyro(line));
        assert_eq!(ran.code(), 0, "{line:?}");
        assert!(ran.out().contains("Usage: pyro"), "{}", ran.out());
        assert_eq!(ran.err(), "");
    }
}
