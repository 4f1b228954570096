//! Which ids of the namespace mean which ids outside of it.

use std::fs;

use nix::unistd::{getegid, geteuid};
use serde::{Deserialize, Serialize};

use crate::error::NamespaceError;
use crate::forbidden::Forbidden;
use crate::subordinate_ids;

/// How many ids follow 0. The highest that distributions use is nobody, 65534; and a range of the
/// usual size, 65536, is enough.
pub(crate) const COUNT: u32 = 65_535;

/// Where the ids begin that root gives to its namespaces. It is in no file, so it must be where
/// nobody else looks: `useradd` gives away up to 600,100,000 (SUB_UID_MAX), systemd's containers get
/// 524,288 to 1,879,048,191, and what systemd calls foreign begins at 2,147,352,576.
const FIRST_OF_ROOT: u32 = 2_000_000_000;

/// The users and groups of a namespace. Files that were made under one map make sense under an equal
/// one only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    pub users: Ids,
    pub groups: Ids,
}

/// 0 is `root` outside, 1 is `first`, 2 is `first + 1`, and so on, `count` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    pub root: u32,
    pub first: u32,
    pub count: u32,
}

impl IdMap {
    /// The map for whoever runs this process: the same one every time, unless its ids were changed.
    pub fn of_caller() -> Result<Self, NamespaceError> {
        let (user, group) = (geteuid().as_raw(), getegid().as_raw());
        if user == 0 {
            return Ok(Self {
                users: of_root(group_or_user("uid_map")?)?,
                groups: Ids {
                    root: group,
                    ..of_root(group_or_user("gid_map")?)?
                },
            });
        }
        let name = subordinate_ids::name_of(user);
        let names = [name.as_deref(), Some(&user.to_string())].map(|name| name.map(str::to_owned));
        let first = |file: &str| {
            let lines = fs::read_to_string(file).unwrap_or_default();
            names
                .iter()
                .flatten()
                .find_map(|name| subordinate_ids::first_of(&lines, name, COUNT))
                .ok_or_else(|| no_ids(file, &lines, &names))
        };
        Ok(Self {
            users: Ids {
                root: user,
                first: first("/etc/subuid")?,
                count: COUNT,
            },
            groups: Ids {
                root: group,
                first: first("/etc/subgid")?,
                count: COUNT,
            },
        })
    }
}

impl IdMap {
    /// 0 is whoever runs this process, and there is nobody else. Needs no subordinate ids.
    pub fn of_caller_alone() -> Self {
        let alone = |root| Ids {
            root,
            first: 0,
            count: 0,
        };
        Self {
            users: alone(geteuid().as_raw()),
            groups: alone(getegid().as_raw()),
        }
    }

    pub(crate) fn is_of_one(&self) -> bool {
        self.users.count == 0 && self.groups.count == 0
    }
}

impl Ids {
    /// The lines that the kernel reads: id inside, id outside, how many.
    pub(crate) fn lines(&self) -> [[u32; 3]; 2] {
        [[0, self.root, 1], [1, self.first, self.count]]
    }
}

fn group_or_user(file: &'static str) -> Result<String, NamespaceError> {
    fs::read_to_string(format!("/proc/self/{file}")).map_err(NamespaceError::io(
        "the ids of this namespace cannot be read",
    ))
}

/// `own` is the map of the namespace that root is in. A container that is no ordinary user's has all
/// ids; one that is has few, and all of them are subordinate to somebody already.
fn of_root(own: String) -> Result<Ids, NamespaceError> {
    let first = [FIRST_OF_ROOT, 1]
        .into_iter()
        .find(|first| is_mapped(&own, *first, COUNT))
        .ok_or_else(|| {
            NamespaceError::Forbidden(Forbidden::new(
                format!("root has fewer than {COUNT} ids to give away in this container"),
                "start the container with more ids (`podman run` by a user with 65536 subordinate ids)",
            ))
        })?;
    Ok(Ids {
        root: 0,
        first,
        count: COUNT,
    })
}

/// Whether one line of a map covers all of these.
fn is_mapped(map: &str, first: u32, count: u32) -> bool {
    let (first, end) = (u64::from(first), u64::from(first) + u64::from(count));
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(inside)), Some(Ok(_)), Some(Ok(length))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        inside <= first && end <= inside.saturating_add(length)
    })
}

fn no_ids(file: &str, lines: &str, names: &[Option<String>]) -> NamespaceError {
    let has_few = names
        .iter()
        .flatten()
        .any(|name| subordinate_ids::first_of(lines, name, 1).is_some());
    let reason = if has_few {
        format!("this user's ranges in {file} are smaller than {COUNT} subordinate ids")
    } else {
        format!("this user has no subordinate ids in {file}")
    };
    NamespaceError::Forbidden(Forbidden::new(
        reason,
        subordinate_ids::command_for_this_user(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_gives_away_ids_that_its_own_namespace_has() {
        let first = |map: &str| of_root(map.to_owned()).ok().map(|ids| ids.first);
        let whole = "         0          0 4294967295\n";
        assert_eq!(first(whole), Some(FIRST_OF_ROOT));
        let podman = "         0       1001          1\n         1     100000      65536\n";
        assert_eq!(first(podman), Some(1));
        assert_eq!(first("0 1001 1\n"), None);
        assert_eq!(first("0 100000 65535\n"), None);
        assert_eq!(first("nonsense\n\n0 x 4294967295\n"), None);
    }

    #[test]
    fn few_ids_are_told_from_none() {
        let reason = |lines: &str| {
            let names = [Some("me".to_owned()), Some("1001".to_owned())];
            no_ids("/etc/subuid", lines, &names).to_string()
        };
        assert!(reason("me:100000:1000\n").contains("smaller than"));
        assert!(reason("1001:100000:1000\n").contains("smaller than"));
        assert!(reason("you:100000:65536\n").contains("has no subordinate ids"));
    }

    #[test]
    fn a_map_is_remembered() {
        let ids = Ids {
            root: 1001,
            first: 100_000,
            count: COUNT,
        };
        let map = IdMap {
            users: ids,
            groups: ids,
        };
        let text = serde_json::to_string(&map).unwrap();
        assert_eq!(serde_json::from_str::<IdMap>(&text).unwrap(), map);
        assert_eq!(ids.lines(), [[0, 1001, 1], [1, 100_000, 65_535]]);
    }
}
