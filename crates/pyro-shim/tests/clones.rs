//! Many guests out of one template, at once: none may have anything of another. They need what
//! `templates.rs` needs.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod harness;

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::Harness;
use harness::json_session::JsonSession;
use harness::template::{Template, output, start_all};
use pyro_wire::template::{DEVICES, MEMORY};
use serde_json::Value;

const CLONES: usize = 8;

/// How far a guest's clock may be from the host's.
const CLOCK: i128 = 100_000_000;

/// Answers each line it reads with one.
const PROGRAM: &str = r#"exec python3 -uc '
import json, os, random, re, subprocess, sys, time, uuid

def read(path):
    return open(path).read().strip()

def said(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout

def unique():
    return {
        "random": random.random(),
        "uuid4": str(uuid.uuid4()),
        "urandom": os.urandom(16).hex(),
        "kernel uuid": read("/proc/sys/kernel/random/uuid"),
        "boot id": read("/proc/sys/kernel/random/boot_id"),
        "machine id": read("/etc/machine-id"),
        "key": said("openssl", "genpkey", "-algorithm", "ed25519"),
    }

def clocks():
    return {
        "log": [float(stamp) for stamp in re.findall(r"^\[ *([\d.]+)\]", said("dmesg"), re.M)],
        "uptime": [float(read("/proc/uptime").split()[0]) for _ in range(50)],
        "monotonic": [time.monotonic_ns() for _ in range(500)],
    }

FILES = ["/root/warm", "/workspace/mine", json.__file__]

def write(mark):
    for path in FILES:
        print(mark, file=open(path, "a"))
    os.sync()
    open("/proc/sys/vm/drop_caches", "w").write("3")

def marks(_):
    return [[line for line in open(path) if line.startswith("mark ")] for path in FILES]

for line in sys.stdin:
    word, _, rest = line.strip().partition(" ")
    answer = {"now": lambda _: time.time_ns(), "unique": lambda _: unique(),
              "clocks": lambda _: clocks(), "write": write, "marks": marks}[word](rest)
    print(json.dumps(answer))
'"#;

#[test]
fn guests_of_a_mounted_template_share_nothing() {
    share_nothing(true);
}

#[test]
fn guests_of_a_bare_template_share_nothing() {
    share_nothing(false);
}

fn share_nothing(mounted: bool) {
    let template = Template::new(mounted);
    let built = template.save().unwrap();
    let files = [MEMORY, DEVICES].map(|name| template.folder().join(name));
    let before = files.clone().map(|path| fs::read(path).unwrap());
    // Time in which nobody was there.
    std::thread::sleep(Duration::from_secs(2));

    let begun = Instant::now();
    let harnesses: Vec<Harness> = (0..CLONES)
        .map(|n| template.harness(&format!("clone-{n}")))
        .collect();
    let shims = start_all(&harnesses);
    let mut talks: Vec<JsonSession> = harnesses
        .iter()
        .map(|harness| JsonSession::start(harness, PROGRAM))
        .collect();

    let mut seen = HashSet::new();
    for (number, (harness, talk)) in harnesses.iter().zip(&mut talks).enumerate() {
        assert_eq!(output(harness, "hostname"), format!("clone-{number}"));
        for (what, value) in talk.ask("unique").as_object().unwrap() {
            assert!(
                seen.insert(value.to_string()),
                "{what} is that of another guest: {value}"
            );
        }
        // The warm-up happened, and nothing of it runs any more.
        let warm = output(harness, "cat /root/warm; pgrep sleep; ls -A /workspace");
        assert_eq!(warm, if mounted { "warm" } else { "" });
        is_right(talk);
        never_went_back(&talk.ask("clocks"), built.total_ms, begun.elapsed());
    }
    assert_eq!(seen.len(), 7 * CLONES);

    for (number, talk) in talks.iter_mut().enumerate() {
        talk.ask(&format!("write mark {number}"));
    }
    for (number, talk) in talks.iter_mut().enumerate() {
        let mine = format!("[\"mark {number}\\n\"]");
        assert_eq!(
            talk.ask("marks").to_string(),
            format!("[{mine},{mine},{mine}]")
        );
    }
    for harness in &harnesses {
        assert_eq!(
            output(harness, "dmesg | grep -ci 'ext4-fs.*error'; true"),
            "0"
        );
        harness.stop(10_000, true);
    }
    drop(shims);
    let late = template.harness("late");
    let shims = start_all(std::slice::from_ref(&late));
    assert_eq!(
        output(
            &late,
            "grep -rl '^mark ' /root /workspace /usr/lib/python3*/json"
        ),
        ""
    );
    late.stop(0, true);
    drop(shims);
    assert!(files.map(|path| fs::read(path).unwrap()) == before);
}

/// Compares a guest's wall clock with the host's. Each question and its answer enclose the guest's
/// moment, so a right clock passes however slow they are, and a wrong one fails by what it is wrong
/// beyond the fastest of them.
fn is_right(talk: &mut JsonSession) {
    let now = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        i128::try_from(now.as_nanos()).unwrap()
    };
    let (mut at_least, mut at_most) = (i128::MIN, i128::MAX);
    for _ in 0..20 {
        let before = now();
        let theirs = i128::from(talk.ask("now").as_i64().unwrap());
        at_most = at_most.min(theirs - before);
        at_least = at_least.max(theirs - now());
    }
    assert!(
        at_least < CLOCK && at_most > -CLOCK,
        "the clock is {at_least} to {at_most} ns ahead"
    );
}

/// Neither while somebody looked, nor against what the kernel wrote down before the freeze; and the
/// time in which the guest lay frozen did not happen.
fn never_went_back(clocks: &Value, template_ms: u64, since_resume: Duration) {
    let series = |name: &str| -> Vec<f64> {
        let stamps = clocks[name].as_array().unwrap();
        stamps.iter().map(|stamp| stamp.as_f64().unwrap()).collect()
    };
    let (log, uptime) = (series("log"), series("uptime"));
    for stamps in [&uptime, &series("monotonic")] {
        assert!(stamps.len() > 10 && stamps.is_sorted(), "{stamps:?}");
    }
    // The log has a clock of its own, which differs by little.
    let logged = log.into_iter().reduce(f64::max).unwrap();
    assert!(logged > 0.1, "{logged}");
    assert!(logged < uptime[0] + 0.5, "{logged}, then {}", uptime[0]);
    let lived = (Duration::from_millis(template_ms) + since_resume).as_secs_f64();
    assert!(uptime[0] < lived, "up for {}, lived for {lived}", uptime[0]);
}
