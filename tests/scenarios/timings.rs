//! `PYRO_TIMINGS`: where the time of a command goes.

use pyro_tests::World;
use pyro_tests::world::finish;

crate::stories! { [process, vm, gvisor]: a_run_tells_its_steps_when_asked }

/// The time and the room of each step, and its name.
fn steps(told: &str) -> Vec<(f64, String, String)> {
    let fields = told.lines().filter_map(|line| {
        let (at, rest) = line
            .strip_prefix("[time] at_ms=")?
            .split_once(" took_ms=")?;
        let (_, rest) = rest.split_once(" room=")?;
        let (room, name) = rest.split_once(" step=")?;
        Some((at.parse().unwrap(), room.to_owned(), name.to_owned()))
    });
    fields.collect()
}

fn a_run_tells_its_steps_when_asked(world: &World) {
    let mut command = world.run(&["--mem-mib", "256"], ["echo out"]);
    let ran = finish(&mut command);
    assert_eq!(steps(&ran.err()), []);
    let ran = finish(command.env("PYRO_TIMINGS", "1"));
    assert_eq!(ran.out(), "out\n");
    let steps = steps(&ran.err());
    assert!(steps.is_sorted_by(|one, next| one.0 <= next.0), "{steps:?}");
    let at = |room: &str, name: &str| {
        let found = steps
            .iter()
            .position(|step| (&*step.1, &*step.2) == (room, name));
        found.unwrap_or_else(|| panic!("no `{name}` of {room} in {steps:?}"))
    };
    let order = [
        at("engine", "arguments understood"),
        at("engine", "record written"),
        at("shim", "control socket open"),
        at("shim", "guest set up"),
        at("engine", "line to the agent open"),
        at("agent", "process started"),
        at("engine", "command ended"),
        at("engine", "VM killed"),
        at("engine", "answer printed"),
    ];
    assert!(order.is_sorted(), "{order:?} in {steps:?}");
    // The agent may be quicker than whoever has just asked it.
    let asked = at("engine", "command asked for");
    assert!(
        (order[4]..order[6]).contains(&asked),
        "{asked} in {steps:?}"
    );
}
