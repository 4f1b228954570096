//! Finds and kills the processes below a process, by what `/proc` says of their parents.
//!
//! Only for where no control groups are at hand: a process can be born while we look.

use std::collections::{HashMap, HashSet};
use std::fs;

/// A process that forks as fast as we look is left to whoever set its limits.
const ROUNDS: usize = 100;

/// Kills everything below `ancestor`, but not itself. Stop `ancestor` before, if it is not us:
/// what it starts meanwhile would escape.
pub(crate) fn kill_below(ancestor: i32) {
    kill_all(|| below(ancestor, &parents()));
}

/// Kills what is found, until nothing is that was not killed yet: what was born while we looked is
/// found by the next look.
pub(crate) fn kill_all(find: impl Fn() -> Vec<i32>) {
    let mut killed = HashSet::new();
    for _ in 0..ROUNDS {
        let fresh: Vec<_> = find()
            .into_iter()
            .filter(|pid| killed.insert(*pid))
            .collect();
        if fresh.is_empty() {
            return;
        }
        for pid in fresh {
            // SAFETY: `kill` has no memory effects. A descendant that ended is a zombie until
            // its parent, in the end us, collects it, so the id is still its own.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
}

/// A process that was seen, and is not another one that got its id later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pid: i32,
    begun: u64,
}

impl Seen {
    pub(crate) fn pid(self) -> i32 {
        self.pid
    }

    /// Greater for what began later.
    pub(crate) fn age_order(self) -> (u64, i32) {
        (self.begun, self.pid)
    }

    /// Whether it has not been collected, and its id is not another's now.
    pub(crate) fn is_there(self) -> bool {
        let stat = fs::read(format!("/proc/{}/stat", self.pid));
        let stat = stat.ok().and_then(|stat| stat_in(&stat));
        stat.is_some_and(|stat| stat.begun == self.begun)
    }

    pub(crate) fn signal(self, number: i32) {
        // SAFETY: `kill` has no memory effects.
        unsafe { libc::kill(self.pid, number) };
    }
}

/// Every process but this one that has neither ended nor been stopped.
pub(crate) fn running() -> Vec<Seen> {
    let us = std::process::id().cast_signed();
    let stats = stats().into_iter();
    stats
        .filter(|(pid, stat)| *pid != us && !stat.ended && !stat.stopped)
        .map(|(pid, Stat { begun, .. })| Seen { pid, begun })
        .collect()
}

/// What is below `ancestor` now.
pub(crate) fn seen_below(ancestor: i32) -> Vec<Seen> {
    let stats = stats();
    below(ancestor, &parents_in(&stats))
        .into_iter()
        .filter_map(|pid| {
            let begun = stats.get(&pid)?.begun;
            Some(Seen { pid, begun })
        })
        .collect()
}

/// The processes below `ancestor` that belong to a session or were seen, or are below such, and have
/// not ended.
pub(crate) fn left_of(ancestor: i32, session: i32, seen: &[Seen]) -> Vec<i32> {
    let stats = stats();
    let parents = parents_in(&stats);
    let is_of_it = |pid: i32| {
        stats.get(&pid).is_some_and(|stat| {
            let begun = stat.begun;
            stat.session == session || seen.contains(&Seen { pid, begun })
        })
    };
    let mut left = HashSet::new();
    for pid in below(ancestor, &parents) {
        if is_of_it(pid) {
            left.insert(pid);
            left.extend(below(pid, &parents));
        }
    }
    left.retain(|pid| stats.get(pid).is_some_and(|stat| !stat.ended));
    left.into_iter().collect()
}

/// The parent of every process.
fn parents() -> HashMap<i32, i32> {
    parents_in(&stats())
}

fn parents_in(stats: &HashMap<i32, Stat>) -> HashMap<i32, i32> {
    let each = stats.iter();
    each.map(|(pid, stat)| (*pid, stat.parent)).collect()
}

/// What `/proc` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: i32,
    session: i32,
    /// Nobody has collected it yet.
    ended: bool,
    /// By a signal, or by whoever traces it.
    stopped: bool,
    /// In ticks of the kernel's clock.
    begun: u64,
}

fn stats() -> HashMap<i32, Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return HashMap::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read(entry.path().join("stat")).ok()?;
            Some((pid, stat_in(&stat)?))
        })
        .collect()
}

/// The third, fourth, sixth and 22nd field of a `stat` file. The second is the program's name in
/// parentheses, which may itself hold anything.
fn stat_in(stat: &[u8]) -> Option<Stat> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    Some(Stat {
        ended: matches!(state, "Z" | "X"),
        stopped: matches!(state, "T" | "t"),
        parent: fields.next()?.parse().ok()?,
        session: fields.nth(1)?.parse().ok()?,
        begun: fields.nth(15)?.parse().ok()?,
    })
}

fn below(ancestor: i32, parents: &HashMap<i32, i32>) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (&pid, &parent) in parents {
        children.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut next = vec![ancestor];
    while let Some(pid) = next.pop() {
        // Taking the entry out ends even a loop, which ids that were used again could form.
        for child in children.remove(&pid).unwrap_or_default() {
            found.push(child);
            next.push(child);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;
    use crate::reaper::CHILDREN;

    #[test]
    fn what_is_born_between_two_looks_is_killed_as_well() {
        let _children = CHILDREN.blocking_lock();
        let mut sleeps = [(); 2].map(|()| Command::new("sleep").arg("20").spawn().unwrap());
        let ids = sleeps.each_ref().map(|sleep| sleep.id().cast_signed());
        let looks = Cell::new(0);
        kill_all(|| {
            looks.set(looks.get() + 1);
            ids[..looks.get().min(2)].to_vec()
        });
        for sleep in &mut sleeps {
            assert_eq!(sleep.wait().unwrap().signal(), Some(libc::SIGKILL));
        }
    }

    #[test]
    fn a_name_cannot_forge_a_parent() {
        let stat = Stat {
            parent: 42,
            session: 9,
            ended: false,
            stopped: false,
            begun: 22,
        };
        let between = b" 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23";
        let line = |first: &[u8]| [first, between].concat();
        assert_eq!(stat_in(&line(b"7 (a) R 1 (b) S 42 5 9")), Some(stat));
        let ended = Stat {
            ended: true,
            ..stat
        };
        assert_eq!(stat_in(&line(b"7 (a) Z 42 5 9")), Some(ended));
        let stopped = Stat {
            stopped: true,
            ..stat
        };
        assert_eq!(stat_in(&line(b"7 (a) t 42 5 9")), Some(stopped));
        assert_eq!(stat_in(b"7 (a) Z 42 5 9 7"), None);
        assert_eq!(stat_in(b"7 (a"), None);
        assert_eq!(stat_in(b"7 (a)"), None);
    }

    #[test]
    fn all_generations_are_found() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 0)]);
        let mut found = below(2, &parents);
        found.sort_unstable();
        assert_eq!(found, [3, 4]);
    }
}
