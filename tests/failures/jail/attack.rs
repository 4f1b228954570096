//! The attacker at work, without a jail and in it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use pyro_tests::attack::{ATTEMPTS, BY_DESCRIPTOR, Outcome, Place, Stopped, read_report};
use pyro_tests::world::{Running, eventually, finish};

use super::Wrap;
use super::staged::{ATTACKER, IN_PYRO, Staged};
use super::table::{self, Column};
use crate::error;

pub(super) const QEMU: &str = "qemu-system-x86_64";

/// What came of each attempt.
pub(super) type Outcomes = BTreeMap<usize, Outcome>;

/// Starts the attacker until it has made all attempts: one that ends it is the last it can tell of.
fn all_attempts(staged: &Staged<'_>, start: &dyn Fn(usize) -> String) -> Outcomes {
    let mut all = Outcomes::new();
    let mut from = 0;
    loop {
        let told = start(from);
        let (outcomes, over) = read_report(&told);
        let last = outcomes.keys().next_back().copied();
        all.extend(outcomes);
        if over {
            break;
        }
        from = last.unwrap_or_else(|| panic!("nothing was told in:\n{told}")) + 1;
    }
    seen_at_the_stranger(staged, &mut all);
    all
}

/// Who has a signal sent by the kernel is not told whether it came.
fn seen_at_the_stranger(staged: &Staged<'_>, outcomes: &mut Outcomes) {
    let came = staged.signals() & (1 << (BY_DESCRIPTOR - 1)) != 0;
    let number = ATTEMPTS
        .iter()
        .position(|attempt| attempt.name == "signal it by a descriptor's owner");
    let outcome = number.and_then(|number| outcomes.get_mut(&number));
    if let Some(outcome @ Outcome::Worked) = outcome
        && !came
    {
        *outcome = Outcome::Stopped(Stopped::at("SIGIO", Errno::EPERM));
    }
}

/// Without a jail: as whoever runs pyro, with files of the same kind in its hands.
pub(super) fn without_a_jail(staged: &Staged<'_>) -> Outcomes {
    let own = staged.plan.home.join("own");
    fs::create_dir(&own).unwrap();
    for file in ["disk", "kernel", "launch.json"] {
        fs::write(own.join(file), "something").unwrap();
    }
    let _control = std::os::unix::net::UnixListener::bind(own.join("control.sock")).unwrap();
    staged.caller.give(&own);
    let kernel = own.join("kernel");
    all_attempts(staged, &|from| {
        let attacker = staged.attacker(ATTACKER, QEMU, from);
        let arguments = [
            "-chardev",
            "none",
            "-add-fd",
            "fd=0,set=1",
            "-kernel",
            kernel.to_str().unwrap(),
        ];
        // A shell in between, so that the attacker's parent is the same user's, and leaves something open.
        let line = "\"$0\" \"$@\" 9< \"$HOME/.ssh/id_ed25519\"; exit $?";
        let shell = ["-c", line, attacker.to_str().unwrap()];
        let words = [&shell[..], &arguments].concat();
        let mut command = staged.caller.program(Path::new("/bin/sh"), &[], &words);
        let disk = File::options()
            .read(true)
            .write(true)
            .open(own.join("disk"))
            .unwrap();
        command.stdin(Stdio::from(disk));
        Running::start(&mut command).wait().err()
    })
}

/// In the place of QEMU.
pub(super) fn as_vmm(staged: &Staged<'_>, wrap: Wrap<'_>) -> Outcomes {
    all_attempts(staged, &|from| {
        let attacker = staged.attacker(ATTACKER, QEMU, from);
        let usual = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
        let path = format!("{}:{usual}", attacker.parent().unwrap().display());
        let variables = [
            ("PATH", Path::new(&path)),
            ("PYRO_ENVIRONMENT_CACHE_DIR", &staged.plan.cache),
            ("PYRO_ACCELERATOR", Path::new("tcg")),
            ("PYRO_TEMPLATES", Path::new("off")),
        ];
        let run = [
            "run",
            "debian:12",
            "--isolation=vm",
            "--mem-mib=256",
            "--",
            "true",
        ];
        let ran = finish(&mut wrap(staged.caller.pyro(&variables, &run)));
        assert_ne!(ran.code(), 0, "{}", ran.out());
        ran.err()
    })
}

/// A run in a VM whose pyro is the attacker's own, which is the shim and the network's process as well.
fn run_by(staged: &Staged<'_>, pyro: &Path, words: &[&str]) -> Command {
    let agent = staged.caller.agent();
    let variables = [
        ("PYRO_ENVIRONMENT_CACHE_DIR", staged.plan.cache.as_path()),
        ("PYRO_BIN", pyro),
        ("PYRO_AGENT", &agent),
        ("PYRO_TEMPLATES", Path::new("off")),
    ];
    let run = ["run", "debian:12", "--isolation=vm", "--mem-mib=256"];
    let run: Vec<&str> = run.iter().chain(words).copied().collect();
    staged.caller.program(pyro, &variables, &run)
}

/// In the place of the network's process, beside a QEMU that is one.
pub(super) fn as_network(staged: &Staged<'_>, wrap: Wrap<'_>) -> Outcomes {
    all_attempts(staged, &|from| {
        let pyro = staged.attacker(IN_PYRO, "pyro", from);
        let mut command = wrap(run_by(staged, &pyro, &["--network", "--", "sleep 1000"]));
        let mut report = fifo(staged, &pyro.with_file_name("report"));
        let run = Running::start(&mut command);
        let mut told = Vec::new();
        eventually("the attempts are over", Duration::from_secs(60), || {
            // An error where there is nothing yet; the end where nobody writes, or nobody does any more.
            report.read_to_end(&mut told).is_ok() && !told.is_empty()
        });
        signal(&run.child, Signal::SIGINT);
        run.wait();
        String::from_utf8_lossy(&told).into_owned()
    })
}

/// In the place of the shim, of a QEMU that is one.
pub(super) fn as_shim(staged: &Staged<'_>, wrap: Wrap<'_>) -> Outcomes {
    all_attempts(staged, &|from| {
        let pyro = staged.attacker(IN_PYRO, "pyro", from);
        let report = pyro.with_file_name("report of a shim");
        fs::write(&report, "").unwrap();
        staged.caller.give(&report);
        let ran = finish(&mut wrap(run_by(staged, &pyro, &["--", "echo it goes on"])));
        // Whatever it tried, it is a shim that works.
        assert_eq!(error::none(&ran), "it goes on\n");
        let told = fs::read_to_string(&report).unwrap();
        fs::remove_file(&report).unwrap();
        told
    })
}

/// As a program of the same user's, at the shim of somebody's workspace. Root may look into any process.
pub(super) fn assert_no_shim_can_be_looked_into(staged: &Staged<'_>) {
    if staged.caller.is_root() {
        return;
    }
    let attacker = staged.attacker_at(ATTACKER, "beside", staged.plan.other_shim);
    let ran = finish(&mut staged.caller.program(&attacker, &[], &["beside"]));
    let (outcomes, over) = read_report(&ran.err());
    assert!(over, "{}", ran.err());
    let tried: Vec<usize> = table::of(Place::Beside).map(|(number, _)| number).collect();
    assert_eq!(outcomes.keys().copied().collect::<Vec<_>>(), tried);
    for (number, outcome) in &outcomes {
        let is_refused = matches!(outcome, Outcome::Stopped(stopped)
            if [Errno::EACCES, Errno::EPERM].contains(&stopped.errno));
        assert!(is_refused, "{}: {outcome:?}", ATTEMPTS[*number].name);
    }
}

/// A pipe by name, to be read without waiting.
fn fifo(staged: &Staged<'_>, path: &Path) -> File {
    let _ = fs::remove_file(path);
    nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o600)).unwrap();
    staged.caller.give(path);
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    options.open(path).unwrap()
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    kill(pid, signal).expect("a signal to pyro");
}

/// That each is an attempt: it works, or the host has a reason of its own against it.
pub(super) fn assert_all_work(staged: &Staged<'_>, outcomes: &Outcomes) {
    let root = staged.caller.is_root();
    let idle: Vec<String> = ATTEMPTS
        .iter()
        .enumerate()
        .filter(|(number, _)| outcomes.get(number) != Some(&Outcome::Worked))
        .filter(|(_, attempt)| attempt.refused_anyway(root).is_none())
        .filter(|(number, _)| !is_lacking(outcomes.get(number)))
        .map(|(number, attempt)| format!("{}: {:?}", attempt.name, outcomes.get(&number)))
        .collect();
    assert!(
        idle.is_empty(),
        "not an attempt, as nothing comes of it without a jail:\n{idle:#?}"
    );
}

/// Whether this kernel does not have such a call.
fn is_lacking(outcome: Option<&Outcome>) -> bool {
    matches!(outcome, Some(Outcome::Stopped(stopped)) if stopped.errno == Errno::ENOSYS)
}

/// That each is stopped, in each run.
pub(super) fn assert_none_works(place: Place, columns: &[Column]) {
    let holes: Vec<String> = columns
        .iter()
        .flat_map(|column| table::of(place).map(move |attempt| (column, attempt)))
        .map(|(column, (number, attempt))| (column, attempt, column.outcomes.get(&number)))
        // What is known to be open is open, or it would not be known.
        .filter(|(column, attempt, outcome)| {
            matches!(outcome, Some(Outcome::Stopped(_)))
                == column.known_open(place, attempt).is_some()
        })
        .map(|(column, attempt, outcome)| {
            format!("{}: {}: {outcome:?}", column.title, attempt.name)
        })
        .collect();
    assert!(
        holes.is_empty(),
        "{place:?}: not stopped, or known not to be and stopped:\n{holes:#?}"
    );
}
