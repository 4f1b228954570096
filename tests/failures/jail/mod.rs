//! Whoever takes over a VM's QEMU, the process of its network or its shim, gains nothing: a program takes their
//! place, started the same way with the same descriptors, and tries what an attacker would (`pyro_tests::attack`).
//!
//! First without a jail, where every attempt must work: a story that would not notice a missing wall is
//! worth nothing. Then in the jail, as root and as an ordinary user, with all walls and where the host
//! forbids namespaces.

mod attack;
mod caller;
mod hosts;
mod staged;
mod table;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use pyro_tests::attack::{Lack, Outcome, Place, Plan};
use pyro_tests::world::finish;
use pyro_tests::{Backend, World};

use self::attack::{
    Outcomes, QEMU, as_network, as_shim, as_vmm, assert_all_work,
    assert_no_shim_can_be_looked_into, assert_none_works, without_a_jail,
};
use self::caller::Caller;
use self::staged::{ATTACKER, Staged, with_plan};
use self::table::Column;
use crate::error;

crate::stories![Vm:
    who_takes_over_a_vmm_a_network_or_a_shim_gains_nothing,
    what_a_vmm_says_to_its_shim_does_no_harm,
];

/// Changes how a command is started.
type Wrap<'a> = &'a dyn Fn(Command) -> Command;

type Attack = fn(&Staged<'_>, Wrap<'_>) -> Outcomes;

/// Runs of the attacker in one place.
struct Runs {
    place: Place,
    /// The list on the page.
    name: &'static str,
    attack: Attack,
    columns: Vec<Column>,
}

impl Runs {
    fn of(place: Place) -> Self {
        let (name, attack): (_, Attack) = match place {
            Place::Vmm => ("attempts of a VMM", as_vmm),
            Place::Network => ("attempts of a network", as_network),
            Place::Shim => ("attempts of a shim", as_shim),
            Place::Beside => unreachable!("it takes nobody's place"),
        };
        Self {
            place,
            name,
            attack,
            columns: Vec::new(),
        }
    }

    fn play(&mut self, staged: &Staged<'_>) {
        let of_root = staged.caller.is_root();
        let titles = match of_root {
            true => ["root", "root, no namespaces"],
            false => ["user", "user, no namespaces"],
        };
        // A shim has no namespaces of its own in any case.
        let hosts = if self.place == Place::Shim { 1 } else { 2 };
        for (title, with_namespaces) in titles.into_iter().zip([true, false]).take(hosts) {
            let wrap = |command: Command| match with_namespaces {
                true => command,
                false => Lack::Namespaces.around(Path::new(ATTACKER), &command),
            };
            let outcomes = (self.attack)(staged, &wrap);
            let stopped = outcomes
                .values()
                .filter(|outcome| matches!(outcome, Outcome::Stopped(_)));
            println!(
                "{}, {title}: {} of {} stopped",
                self.name,
                stopped.count(),
                outcomes.len()
            );
            self.columns.push(Column {
                title,
                of_root,
                with_namespaces,
                outcomes,
            });
        }
    }
}

fn who_takes_over_a_vmm_a_network_or_a_shim_gains_nothing(world: &World) {
    let persons = World::new(Backend::Vm);
    let mut runs = [Place::Vmm, Place::Network, Place::Shim].map(Runs::of);
    let mut proven = BTreeSet::new();
    let root = Caller::root(world).map(|root| (world, root));
    for (world, caller) in root
        .into_iter()
        .chain([(&persons, Caller::person(&persons))])
    {
        let staged = Staged::new(world, caller);
        let free = without_a_jail(&staged);
        assert_all_work(&staged, &free);
        let worked = free
            .into_iter()
            .filter(|(_, outcome)| *outcome == Outcome::Worked);
        proven.extend(worked.map(|(number, _)| number));
        runs.iter_mut().for_each(|runs| runs.play(&staged));
        assert_no_shim_can_be_looked_into(&staged);
        staged.over();
        world.assert_empty();
    }
    for runs in &runs {
        println!(
            "\n{}\n\n{}",
            runs.name,
            table::table(runs.place, &runs.columns, &proven)
        );
    }
    for runs in &runs {
        assert_none_works(runs.place, &runs.columns);
        // Where root has played as well.
        if runs.columns.iter().any(|column| column.of_root) {
            table::assert_on_page(runs.name, &table::table(runs.place, &runs.columns, &proven));
        }
    }
}

/// Noise without end, and words that would mean something elsewhere.
fn what_a_vmm_says_to_its_shim_does_no_harm(world: &World) {
    let noise = Plan {
        noise: true,
        ..Plan::default()
    };
    let attacker = with_plan(world.folder(), ATTACKER, QEMU, &noise);
    let mut run = world.run(&["--mem-mib=256"], ["true"]);
    let folders = std::env::var("PATH").unwrap();
    let path = format!("{}:{folders}", attacker.parent().unwrap().display());
    run.envs([
        ("PATH", path.as_str()),
        ("PYRO_ACCELERATOR", "tcg"),
        ("PYRO_TEMPLATES", "off"),
    ]);
    let ran = finish(&mut run);
    error::tells(&ran, &["did not start"]);
    assert!(
        !ran.err().contains(['\x1b', '\x07', '\0', '\u{202e}']),
        "{}",
        ran.err()
    );
}
