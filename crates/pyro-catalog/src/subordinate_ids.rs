//! The command that gives a user subordinate ids, for building without root. `scripts/setup` counts
//! the same way.

use std::fs;

/// The first id that `useradd` gives away.
const FIRST: u64 = 100_000;
const COUNT: u64 = 65_536;

/// With the first range that is after everybody else's.
pub(crate) fn command_for_this_user() -> String {
    let taken =
        ["/etc/subuid", "/etc/subgid"].map(|path| fs::read_to_string(path).unwrap_or_default());
    command(&taken.concat())
}

/// `taken` has lines such as `name:100000:65536`.
fn command(taken: &str) -> String {
    let end = |line: &str| {
        let mut numbers = line
            .split(':')
            .skip(1)
            .map(|number| number.trim().parse::<u64>());
        numbers.next()?.ok()?.checked_add(numbers.next()?.ok()?)
    };
    let first = taken.lines().filter_map(end).fold(FIRST, u64::max);
    let range = format!("{first}-{}", first.saturating_add(COUNT - 1));
    format!("sudo usermod --add-subuids {range} --add-subgids {range} $USER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_begins_where_the_last_one_ends() {
        for (taken, range) in [
            ("", "100000-165535"),
            ("me:100000:65536\n", "165536-231071"),
            ("me:300000:10\nyou:100000:65536\n", "300010-365545"),
            ("low:1000:10\n# words\nbad:1\n", "100000-165535"),
        ] {
            let wanted = format!("sudo usermod --add-subuids {range} --add-subgids {range} $USER");
            assert_eq!(command(taken), wanted, "{taken:?}");
        }
    }
}
