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
    let mut killed = HashSet::new();
    for _ in 0..ROUNDS {
        let fresh: Vec<_> = below(ancestor, &parents())
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

/// The processes below `ancestor` that belong to a session and have not ended.
pub(crate) fn of_session(ancestor: i32, session: i32) -> Vec<i32> {
    let stats = stats();
    let inside = |pid: &i32| {
        stats
            .get(pid)
            .is_some_and(|stat| stat.session == session && !stat.ended)
    };
    let parents = stats
        .iter()
        .map(|(pid, stat)| (*pid, stat.parent))
        .collect();
    below(ancestor, &parents)
        .into_iter()
        .filter(inside)
        .collect()
}

/// The parent of every process.
fn parents() -> HashMap<i32, i32> {
    let stats = stats().into_iter();
    stats.map(|(pid, stat)| (pid, stat.parent)).collect()
}

/// What `/proc` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: i32,
    session: i32,
    /// Nobody has collected it yet.
    ended: bool,
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

/// The third, fourth and sixth field of a `stat` file. The second is the program's name in
/// parentheses, which may itself hold anything.
fn stat_in(stat: &[u8]) -> Option<Stat> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    Some(Stat {
        ended: matches!(fields.next()?, "Z" | "X"),
        parent: fields.next()?.parse().ok()?,
        session: fields.nth(1)?.parse().ok()?,
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
    use super::*;

    #[test]
    fn a_name_cannot_forge_a_parent() {
        let stat = Stat {
            parent: 42,
            session: 9,
            ended: false,
        };
        assert_eq!(stat_in(b"7 (a) R 1 (b) S 42 7 9 0"), Some(stat));
        let ended = Stat {
            ended: true,
            ..stat
        };
        assert_eq!(stat_in(b"7 (a) Z 42 7 9 0"), Some(ended));
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
