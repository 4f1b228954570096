//! Why namespaces are refused here, and what to do about it.

use std::fmt;
use std::path::Path;

/// A refusal: why, and a command or a step that helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    pub reason: String,
    pub fix: String,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl Forbidden {
    pub(crate) fn new(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            fix: fix.into(),
        }
    }
}

/// The setting of the kernel that keeps this user from user namespaces; `said` is how that showed.
pub fn forbidden_by_setting(said: &str) -> Option<Forbidden> {
    by_setting(said, &read_setting)
}

/// What a refused system call means, `what` being what it was to do.
pub(crate) fn explain(what: &str, error: &std::io::Error) -> Forbidden {
    let said = format!("{what}: {error}");
    explain_with(&said, nix::unistd::geteuid().is_root(), &read_setting)
}

fn explain_with(said: &str, root: bool, setting: &dyn Fn(&str) -> Option<String>) -> Forbidden {
    // What binds root is the container it is in, not the settings for ordinary users.
    let by_setting = by_setting(said, setting);
    match by_setting {
        Some(forbidden) if !root || is(setting, "user/max_user_namespaces", "0") => forbidden,
        _ if root => Forbidden::new(
            format!("root may not create namespaces here ({said})"),
            "run the container with CAP_SYS_ADMIN (`docker run --privileged`)",
        ),
        _ => Forbidden::new(
            format!("user namespaces are refused here ({said})"),
            "in a container, run it with `--security-opt seccomp=unconfined --security-opt \
             apparmor=unconfined`",
        ),
    }
}

fn by_setting(said: &str, setting: &dyn Fn(&str) -> Option<String>) -> Option<Forbidden> {
    if is(setting, "kernel/unprivileged_userns_clone", "0") {
        Some(Forbidden::new(
            "user namespaces are switched off",
            "sudo sysctl kernel.unprivileged_userns_clone=1",
        ))
    } else if is(setting, "user/max_user_namespaces", "0") {
        Some(Forbidden::new(
            "no user namespaces are allowed",
            "sudo sysctl user.max_user_namespaces=15000",
        ))
    } else if is(setting, "kernel/apparmor_restrict_unprivileged_userns", "1") {
        Some(Forbidden::new(
            format!("AppArmor restricts user namespaces ({said})"),
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ))
    } else {
        None
    }
}

fn is(setting: &dyn Fn(&str) -> Option<String>, name: &str, value: &str) -> bool {
    setting(name).is_some_and(|found| found == value)
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
        let fix = |root, switch: &str, value: &str| {
            let setting = |name: &str| (name == switch).then(|| value.to_owned());
            explain_with("clone: Operation not permitted", root, &setting).fix
        };
        let apparmor = "kernel/apparmor_restrict_unprivileged_userns";
        assert!(fix(true, "", "").contains("CAP_SYS_ADMIN"));
        assert!(fix(true, apparmor, "1").contains("CAP_SYS_ADMIN"));
        assert!(fix(true, "user/max_user_namespaces", "0").contains("sysctl"));
        assert!(fix(false, "kernel/unprivileged_userns_clone", "0").contains("sysctl"));
        assert!(fix(false, "user/max_user_namespaces", "0").contains("sysctl"));
        assert!(fix(false, apparmor, "1").contains("apparmor"));
        assert!(fix(false, apparmor, "0").contains("seccomp"));
    }
}
