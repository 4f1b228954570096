//! Many at once.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal::SIGKILL;
use pyro_tests::world::{Running, eventually, finish};
use pyro_tests::{Ran, World, cache, leftovers};

use crate::background_command::BackgroundCommand;
use crate::unprivileged_user::{Person, agent};
use crate::{error, records};

crate::stories![Vm:
    eight_machines_at_once_all_answer,
    pulls_of_one_environment_at_once_build_it_once,
    runs_beside_prunes_find_what_they_need,
];

mod on_the_host {
    use super::*;
    crate::stories![Process:
        fifty_quick_runs_at_once_all_answer,
        many_may_be_the_first_in_a_state_folder,
    ];
}

fn all_answer(world: &World, number: usize) {
    let flags = ["--mem-mib", "256", "--timeout-seconds", "120"];
    let runs: Vec<Running> = (0..number)
        .map(|which| Running::start(&mut world.run(&flags, ["echo", &format!("run {which}")])))
        .collect();
    for (which, run) in runs.into_iter().enumerate() {
        assert_eq!(error::none(&run.wait()), format!("run {which}\n"));
    }
    assert_eq!(records::count(world), 0);
}

fn eight_machines_at_once_all_answer(world: &World) {
    all_answer(world, 8);
}

fn fifty_quick_runs_at_once_all_answer(world: &World) {
    all_answer(world, 50);
}

/// Making the database, and closing it as the last one, are moments of their own.
fn many_may_be_the_first_in_a_state_folder(world: &World) {
    for round in 0..30 {
        let state = world.folder().join(format!("state-{round}"));
        let first = || {
            let mut prune = world.pyro(["env", "prune"]);
            prune.env("PYRO_STATE_DIR", &state);
            Running::start(prune.env("PYRO_ENVIRONMENT_CACHE_DIR", world.folder()))
        };
        let all: Vec<Running> = (0..4).map(|_| first()).collect();
        for one in all {
            error::none(&one.wait());
        }
    }
}

/// How long a pull may take that builds, and before it one that waits for another: minutes beside
/// guests that have the processors.
const BUILD: Duration = Duration::from_secs(600);

/// The one real build of these tests: an ordinary user's, in a home that nobody else may enter.
fn pulls_of_one_environment_at_once_build_it_once(world: &World) {
    let person = Person::of(world);
    let platform = person.home().join(".cache/pyro/environments/linux-x86_64");
    let pull = || person.pyro(["env", "pull", "debian:12-base"]);

    // One that is killed in the middle leaves something to clear away.
    let killed = BackgroundCommand::start(world, &mut pull());
    let is_half_made = || {
        let mut names = names(&platform).into_iter();
        let partial = names.find(|name| name.starts_with(".partial-"));
        partial.is_some_and(|name| platform.join(name).join("build/root/usr").exists())
    };
    eventually("packages are there", BUILD, is_half_made);
    killed.signal(SIGKILL);
    killed.ends_at_once();
    assert!(is_half_made());

    let pulls: Vec<Running> = (0..2).map(|_| Running::start(&mut pull())).collect();
    let wait = |pull: Running| pull.wait_within(BUILD);
    let pulls: Vec<_> = pulls.into_iter().map(wait).collect();
    for pull in &pulls {
        error::none(pull);
    }
    let (waited, built): (Vec<_>, Vec<_>) = pulls
        .iter()
        .map(Ran::err)
        .partition(|told| told.contains("another pyro is pulling"));
    assert_eq!((waited.len(), built.len()), (1, 1));
    assert_tells_each_step(&built[0]);
    let (partial, whole): (Vec<_>, Vec<_>) = names(&platform)
        .into_iter()
        .filter(|name| !name.starts_with(".lock-"))
        // Where KVM does not work, gVisor's program is fetched, too.
        .filter(|name| !name.contains("runsc"))
        .partition(|name| name.starts_with(".partial-"));
    assert_eq!(
        (partial.len(), whole.len()),
        (0, 3),
        "an image, its kernel and its initramfs: {whole:?}"
    );

    // As large as VMs are by default, for which the pull has made a template.
    let mut run = person.pyro(["run", "debian:12-base", "--", "id -u"]);
    assert_eq!(error::none(&finish(&mut run)), "0\n");
    leftovers::assert_none(&person.state_dir());
}

/// How far a pull is, by steps that are always the same. What is made of a new image for its guests
/// counts for itself.
fn assert_tells_each_step(told: &str) {
    let mut shares = Vec::new();
    let mut words = String::new();
    for line in told
        .lines()
        .take_while(|line| !line.starts_with("[pull] phase=ready"))
        .filter_map(|line| line.strip_prefix("[progress] "))
    {
        if let Some((share, said)) = line.split_once(" % ") {
            shares.push(share.parse::<u32>().unwrap());
            words += said;
        }
    }
    assert!(shares.is_sorted(), "{told}");
    assert!(
        shares[0] <= 2 && (90..=100).contains(shares.last().unwrap()),
        "{told}"
    );
    for step in [
        "downloading packages",
        "installing packages",
        "downloading the kernel",
        "writing the disk image",
    ] {
        assert!(words.contains(step), "{step}: {told}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// A copy of the tests' cache, which a pull finds sound. It makes no templates: those would be of another
/// agent than those of the runs.
fn own_cache(world: &World) -> PathBuf {
    let cache = cache::copy(world);
    let mut pull = world.pyro(["env", "pull", "debian:12"]);
    pull.env("PYRO_ENVIRONMENT_CACHE_DIR", &cache);
    error::none(&finish(pull.env("PYRO_TEMPLATES", "off")));
    cache
}

fn runs_beside_prunes_find_what_they_need(world: &World) {
    let cache = own_cache(world);
    let over = AtomicBool::new(false);
    let prunes = std::thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            let mut prunes = 0;
            while !over.load(Ordering::Relaxed) {
                let mut prune = world.pyro(["env", "prune"]);
                error::none(&finish(prune.env("PYRO_ENVIRONMENT_CACHE_DIR", &cache)));
                prunes += 1;
            }
            prunes
        });
        // Each with an agent of its own, so that each makes an initramfs, which is the one thing
        // of the cache that a run may have to write.
        for number in 0..3 {
            let own = world.folder().join(format!("agent-{number}"));
            std::fs::copy(agent(), &own).unwrap();
            let mut run = world.run(&["--mem-mib", "256"], ["echo fine"]);
            run.env("PYRO_ENVIRONMENT_CACHE_DIR", &cache)
                .env("PYRO_AGENT", own);
            let ran = finish(&mut run);
            if ran.code() != 0 {
                over.store(true, Ordering::Relaxed);
            }
            assert_eq!(error::none(&ran), "fine\n");
        }
        over.store(true, Ordering::Relaxed);
        pruning.join().unwrap()
    });
    assert!(prunes > 3, "{prunes}");
}
