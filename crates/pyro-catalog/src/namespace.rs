//! The namespace that builds happen in: root of its own, mounts of its own, pids of its own.
//!
//! Both cases share the path: root gets private mounts and pids; an ordinary user also a user
//! namespace in which the caller is root and the ids of `/etc/subuid` are everybody else. So
//! files may belong to whom they must, and `kill -9` of pyro ends everything in there.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pyro_namespace::Forbidden;

use crate::child::{self, Ended};
use crate::{CatalogError, NoMonitor};

const USER_FLAGS: [&str; 3] = ["--user", "--map-root-user", "--map-auto"];
const FLAGS: [&str; 4] = ["--mount", "--pid", "--fork", "--kill-child"];
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A command that runs its arguments inside the namespace.
pub(crate) fn command() -> Command {
    let mut command = child::command("unshare");
    if !is_root() {
        command.args(USER_FLAGS);
    }
    command.args(FLAGS).arg("--");
    command
}

/// Removes a tree whose files belong to ids that only exist in a user namespace.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    if is_root() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut command = command();
    command.args(["rm", "-rf", "--"]).arg(path);
    let deadline = Duration::from_secs(120);
    match child::run(command, deadline, &NoMonitor, &mut |_| {})? {
        Ended::Exited(status) if status.success() => Ok(()),
        _ => Err(io::Error::other("rm failed inside the user namespace")),
    }
}

/// The ids that files of an environment may have.
const IDS: u64 = 65_536;

/// Tells whether this user can build here. For root that is a question only where it is root of a namespace.
pub fn user_namespaces() -> Result<(), CatalogError> {
    if is_root() {
        let maps = ["/proc/self/uid_map", "/proc/self/gid_map"];
        let count = |map: &str| fs::read_to_string(map).map_or(IDS, |map| ids(&map));
        return match maps.map(count).into_iter().min() {
            Some(few) if few < IDS => Err(few_ids(few)),
            _ => Ok(()),
        };
    }
    let mut words = Vec::new();
    let mut probe = command();
    probe.arg("true");
    let ended = child::run(probe, PROBE_TIMEOUT, &NoMonitor, &mut |line| {
        words.push(line.to_owned())
    });
    match ended {
        Ok(Ended::Exited(status)) if status.success() => Ok(()),
        _ => Err(explain(&words.join("; "))),
    }
}

/// How many ids a map of `/proc` has, of which each line is: id inside, id outside, count.
fn ids(map: &str) -> u64 {
    let counts = map
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2));
    let counts = counts.filter_map(|count| count.parse::<u64>().ok());
    counts.fold(0, u64::saturating_add)
}

fn few_ids(count: u64) -> CatalogError {
    CatalogError::UserNamespaces {
        reason: format!(
            "root is root of a user namespace with {count} of the {IDS} ids that files of an environment may have"
        ),
        fix: "run pyro outside of it, or in one made with `unshare --map-root-user --map-auto`"
            .to_owned(),
    }
}

/// Turns what `unshare` said, and what the kernel's switches say, into a reason and a fix.
pub(crate) fn explain(said: &str) -> CatalogError {
    explain_with(said, is_root(), pyro_namespace::forbidden_by_setting(said))
}

fn explain_with(said: &str, root: bool, by_setting: Option<Forbidden>) -> CatalogError {
    let says = |word: &str| said.contains(word);
    let (reason, fix) = if root {
        (
            format!("root may not create namespaces here ({said})"),
            "run the container with CAP_SYS_ADMIN (`docker run --privileged`), or pull the \
             environment on the host and mount its cache"
                .to_owned(),
        )
    } else if let Some(Forbidden { reason, fix }) = by_setting {
        (reason, fix)
    } else if says("newuidmap") || says("newgidmap") {
        (
            format!("`newuidmap` is missing or failed ({said})"),
            "sudo apt-get install uidmap".to_owned(),
        )
    } else if says("subuid") || says("subgid") || says("no line matching user") {
        (
            format!("this user has no subordinate ids ({said})"),
            pyro_namespace::command_for_this_user(),
        )
    } else if says("unrecognized option") {
        (
            "`unshare` is older than util-linux 2.38".to_owned(),
            "run the pull as root, with the same cache folder".to_owned(),
        )
    } else {
        (
            format!("`unshare` failed ({said})"),
            "run the pull as root, with the same cache folder".to_owned(),
        )
    };
    CatalogError::UserNamespaces { reason, fix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_counted_over_all_lines() {
        assert_eq!(ids("         0       1000          1\n"), 1);
        assert_eq!(ids("0 1000 1\n1 100000 65536\n"), 65_537);
        assert_eq!(ids("0 0 4294967295\n"), u64::from(u32::MAX));
        assert!(few_ids(1).to_string().contains("with 1 of the 65536 ids"));
    }

    #[test]
    fn each_known_refusal_comes_with_what_to_do() {
        let fix = |said: &str, root, by_setting| match explain_with(said, root, by_setting) {
            CatalogError::UserNamespaces { fix, .. } => fix,
            other => panic!("{other}"),
        };
        let refused = "unshare: unshare failed: Operation not permitted";
        let switched_off = Forbidden {
            reason: "switched off".into(),
            fix: "sudo sysctl".into(),
        };
        assert!(fix(refused, true, None).contains("CAP_SYS_ADMIN"));
        assert!(fix(refused, true, Some(switched_off.clone())).contains("CAP_SYS_ADMIN"));
        assert!(fix(refused, false, Some(switched_off)).contains("sysctl"));
        assert!(fix(refused, false, None).contains("as root"));
        assert!(fix("failed to execute newuidmap", false, None).contains("uidmap"));
        let no_ids = "unshare: no line matching user \"me\" in /etc/subuid";
        assert!(fix(no_ids, false, None).contains("--add-subuids"));
        let old = "unshare: unrecognized option '--map-auto'";
        assert!(fix(old, false, None).contains("as root"));
    }
}
