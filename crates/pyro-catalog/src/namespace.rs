//! The namespace that builds happen in: root of its own, mounts of its own, pids of its own.
//!
//! Both cases share the path: root gets private mounts and pids; an ordinary user also a user
//! namespace in which the caller is root and the ids of `/etc/subuid` are everybody else. So
//! files may belong to whom they must, and `kill -9` of pyro ends everything in there.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::child::{self, Ended};
use crate::{CatalogError, NoMonitor, subordinate_ids};

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

/// Tells whether an ordinary user can build here. For root that is no question.
pub fn user_namespaces() -> Result<(), CatalogError> {
    if is_root() {
        return Ok(());
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

/// Turns what `unshare` said, and what the kernel's switches say, into a reason and a fix.
pub(crate) fn explain(said: &str) -> CatalogError {
    explain_with(said, is_root(), &read_setting)
}

fn explain_with(said: &str, root: bool, setting: &dyn Fn(&str) -> Option<String>) -> CatalogError {
    let is = |name: &str, value: &str| setting(name).is_some_and(|found| found == value);
    let says = |word: &str| said.contains(word);
    let ids;
    let (reason, fix) = if root {
        (
            format!("root may not create namespaces here ({said})"),
            "run the container with CAP_SYS_ADMIN (`docker run --privileged`), or pull the \
             environment on the host and mount its cache",
        )
    } else if is("kernel/unprivileged_userns_clone", "0") {
        (
            "user namespaces are switched off".to_owned(),
            "sudo sysctl kernel.unprivileged_userns_clone=1",
        )
    } else if is("user/max_user_namespaces", "0") {
        (
            "no user namespaces are allowed".to_owned(),
            "sudo sysctl user.max_user_namespaces=15000",
        )
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        (
            format!("AppArmor restricts user namespaces ({said})"),
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        )
    } else if says("newuidmap") || says("newgidmap") {
        (
            format!("`newuidmap` is missing or failed ({said})"),
            "sudo apt-get install uidmap",
        )
    } else if says("subuid") || says("subgid") || says("no line matching user") {
        ids = subordinate_ids::command_for_this_user();
        (
            format!("this user has no subordinate ids ({said})"),
            ids.as_str(),
        )
    } else if says("unrecognized option") {
        (
            "`unshare` is older than util-linux 2.38".to_owned(),
            "run the pull as root, with the same cache folder",
        )
    } else {
        (
            format!("`unshare` failed ({said})"),
            "run the pull as root, with the same cache folder",
        )
    };
    CatalogError::UserNamespaces {
        reason,
        fix: fix.to_owned(),
    }
}

fn read_setting(name: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_known_refusal_comes_with_what_to_do() {
        let fix = |said: &str, root, switch: &str, value: &str| {
            let setting = |name: &str| (name == switch).then(|| value.to_owned());
            match explain_with(said, root, &setting) {
                CatalogError::UserNamespaces { fix, .. } => fix,
                other => panic!("{other}"),
            }
        };
        let refused = "unshare: unshare failed: Operation not permitted";
        assert!(fix(refused, true, "", "").contains("CAP_SYS_ADMIN"));
        assert!(fix(refused, false, "kernel/unprivileged_userns_clone", "0").contains("sysctl"));
        assert!(fix(refused, false, "user/max_user_namespaces", "0").contains("sysctl"));
        let apparmor = "kernel/apparmor_restrict_unprivileged_userns";
        assert!(fix(refused, false, apparmor, "1").contains("apparmor"));
        assert!(!fix(refused, false, apparmor, "0").contains("apparmor"));
        assert!(fix("failed to execute newuidmap", false, "", "").contains("uidmap"));
        let no_ids = "unshare: no line matching user \"me\" in /etc/subuid";
        assert!(fix(no_ids, false, "", "").contains("--add-subuids"));
        let old = "unshare: unrecognized option '--map-auto'";
        assert!(fix(old, false, "", "").contains("as root"));
    }
}
