//! The ranges of `/etc/subuid` and `/etc/subgid`, and the command that gives a user some.

use std::fs;
use std::process::Command;

use crate::tool;

/// The first id that `useradd` gives away.
const FIRST: u64 = 100_000;
const COUNT: u64 = 65_536;

/// What a user's administrator types to give it subordinate ids: the first range that is after
/// everybody else's. `scripts/setup` counts the same way.
pub fn command_for_this_user() -> String {
    let taken =
        ["/etc/subuid", "/etc/subgid"].map(|path| fs::read_to_string(path).unwrap_or_default());
    command(&taken.concat())
}

/// The name of a user. Its account may come from a directory of the network, which a static program
/// cannot ask; `id` can.
pub(crate) fn name_of(user: u32) -> Option<String> {
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    if let Some(name) = name_in(&accounts, user) {
        return Some(name);
    }
    let mut id = Command::new("id");
    id.args(["-un", "--", &user.to_string()]);
    let (status, name) = tool::run(id).ok()?;
    (status.success() && !name.is_empty()).then_some(name)
}

fn name_in(accounts: &str, user: u32) -> Option<String> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        (number == user).then(|| name.to_owned())
    })
}

/// Where the first range of `owner`, a name or a number, begins that has this many ids.
pub(crate) fn first_of(lines: &str, owner: &str, count: u32) -> Option<u32> {
    lines.lines().find_map(|line| {
        let (name, range) = line.trim().split_once(':')?;
        let (first, length) = range.split_once(':')?;
        let (first, length): (u32, u32) = (first.trim().parse().ok()?, length.trim().parse().ok()?);
        first.checked_add(length)?;
        (name == owner && length >= count).then_some(first)
    })
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
    fn a_name_is_found_by_its_number() {
        let accounts = "root:x:0:0::/root:/bin/sh\nbroken\nme:x:1001:1001::/home/me:/bin/sh\n";
        assert_eq!(name_in(accounts, 1001).as_deref(), Some("me"));
        assert_eq!(name_in(accounts, 1002), None);
    }

    #[test]
    fn the_first_range_with_enough_is_taken() {
        let lines = "# words\nme:500:10\nyou:100000:65536\nme:200000:65536\nme:300000:65536\n";
        assert_eq!(first_of(lines, "me", 65_535), Some(200_000));
        assert_eq!(first_of(lines, "me", 10), Some(500));
        assert_eq!(first_of(lines, "me", 65_537), None);
        assert_eq!(first_of(lines, "1001", 1), None);
        assert_eq!(first_of("me:4294967295:65536\nme:x:y\nme\n", "me", 1), None);
    }

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
