//! What `pyro run` tells about itself, and that none of it is on standard output.

use pyro_tests::World;
use pyro_tests::world::{Ran, finish};

crate::stories! { [vm, gvisor]: a_run_tells_its_phases_and_its_result_as_the_readme_shows }

crate::stories! { [process]:
    a_run_on_the_host_says_so,
    what_the_command_says_stays_between_the_lines,
}

fn a_run_tells_its_phases_and_its_result_as_the_readme_shows(world: &World) {
    // The first VM of its size may have a template to build.
    finish(&mut world.pyro(["run", "debian:12", "--", "true"]));
    let ran = finish(&mut world.pyro(["run", "debian:12", "--", "git", "--version"]));
    let (mode, _) = world.mode_and_accelerators();
    assert_eq!(
        told(&ran),
        format!(
            "[run] phase=create environment=debian:12\n\
             [run] phase=start vm_id=ID\n\
             [run] phase=execute vm_id=ID\n\
             [run] environment=debian:12 execution_mode={mode} exit_code=0 duration_ms=N \
             accelerator=A\n"
        )
    );
    assert!(ran.out().starts_with("git version 2.39."), "{}", ran.out());
    assert_eq!(ran.out().lines().count(), 1);
}

fn a_run_on_the_host_says_so(world: &World) {
    let ran = finish(&mut world.run(&[], ["exit 3"]));
    assert_eq!(
        told(&ran),
        "[run] phase=create environment=debian:12\n\
         [run] phase=start vm_id=ID\n\
         [run] phase=execute vm_id=ID\n\
         [run] environment=debian:12 execution_mode=host_compat exit_code=3 duration_ms=N accelerator=A\n"
    );
    assert_eq!(ran.out(), "");
    assert_eq!(ran.code(), 3);
}

fn what_the_command_says_stays_between_the_lines(world: &World) {
    let ran = finish(&mut world.run(&[], ["echo out; echo '[error] mine' >&2"]));
    assert_eq!(ran.out(), "out\n");
    let told = told(&ran);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[3], "[error] mine");
    assert_eq!(lines.len(), 5, "{told}");
}

/// Standard error, with ids, durations and the accelerator of this host filtered.
fn told(ran: &Ran) -> String {
    let word = |word: &str| match word.split_once('=') {
        Some(("vm_id", id)) => {
            let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
            assert!(id.len() == 12 && id.chars().all(hex), "{id}");
            "vm_id=ID".to_owned()
        }
        Some(("duration_ms", number)) => {
            number.parse::<u64>().unwrap();
            "duration_ms=N".to_owned()
        }
        Some(("accelerator", name)) => {
            assert!(["kvm", "tcg", "systrap", "none"].contains(&name), "{name}");
            "accelerator=A".to_owned()
        }
        _ => word.to_owned(),
    };
    ran.err()
        .lines()
        .map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" ") + "\n")
        .collect()
}
