//! The shim's own walls. It holds secrets in its memory, and reads what a guest and a VMM say.
//!
//! ```text
//! from its start          no core file, and no process of the same user's traces it or reads its memory
//! once its guest answers  no new rights and few capabilities, a private umask, Landlock, a list of system calls
//! ```
//!
//! Not earlier: a jail is made of namespaces, mounts and an exec, which this process' children would not
//! have either. The first guest bytes that are anybody's but pyro's come after that moment, as nothing of the
//! disk is executed before somebody asks for it.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::sys::stat::umask;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::jail::{JailChoice, MissingWall, Wall};
use pyro_wire::launch::{LaunchSpec, Machine, Running};

use super::{PRIVATE, filter, rights, shim_calls};
use crate::backend::control_group::ControlGroup;
use crate::events::Events;

/// The youngest that is known here. Of what a kernel lacks, the rest is enforced.
const YOUNGEST: ABI = ABI::V6;

/// What root's shim keeps: to end a QEMU that has an id of its own, to publish low ports, and to work on files in
/// a state folder of somebody else's. (CAP_KILL, CAP_NET_BIND_SERVICE, CAP_DAC_OVERRIDE.)
const KEPT: [u32; 3] = [5, 10, 1];

/// Where it looks for its children.
const PROCESSES: &str = "/proc";
const NOWHERE: &str = "/dev/null";

/// What the gate of a network's process hands out: of the first what has that name when it is asked for.
const NAME_SERVERS: &str = "/etc/resolv.conf";
const RANDOM: [&str; 2] = ["/dev/random", "/dev/urandom"];

/// What is to stand around the shim of a VM.
pub(crate) struct OwnWalls {
    choice: JailChoice,
    /// Beside the VM's own, which is the current one.
    folders: Vec<PathBuf>,
    has_network: bool,
    /// What a test does then, in this process' place.
    taken_over: Option<fn()>,
}

impl OwnWalls {
    /// Those of a VM. The shim of a sandbox starts processes for as long as it lives, some of them by
    /// `newuidmap`, and the agent of a guest that is no guest is not walled in either.
    pub(crate) fn of(spec: &LaunchSpec, taken_over: Option<fn()>) -> Option<Self> {
        let Machine::Qemu(qemu) = &spec.machine else {
            return None;
        };
        Some(Self {
            choice: qemu.jail,
            folders: spec.folders.clone(),
            has_network: qemu.network.is_some(),
            taken_over,
        })
    }

    /// Puts them up, for good. What is missing is told with the VM's own walls, or refused.
    pub(crate) fn put_up(
        &self,
        running: &mut Running,
        group: Option<&ControlGroup>,
        events: &Events,
    ) -> Result<(), Fault> {
        let missing = self.try_put_up(group, events);
        if let (JailChoice::Strict, Some(missing)) = (self.choice, missing.first()) {
            return Err(Fault::new(
                FaultCode::Refused,
                format!(
                    "the guest was not started: PYRO_JAIL is strict, and the wall `{}` is missing: {}",
                    missing.wall.name(),
                    missing.reason
                ),
            ));
        }
        if let Some(walls) = &mut running.walls {
            missing.into_iter().for_each(|missing| walls.lack(missing));
        }
        if let Some(taken_over) = self.taken_over {
            taken_over();
        }
        Ok(())
    }

    fn try_put_up(&self, group: Option<&ControlGroup>, events: &Events) -> Vec<MissingWall> {
        let mut missing = Vec::new();
        let mut lacks = |wall, reason: String| {
            missing.push(MissingWall {
                wall,
                reason: format!("around the shim: {reason}"),
                fix: None,
            });
        };
        umask(PRIVATE);
        if let Err(error) = rights::keep_capabilities(&KEPT) {
            lacks(
                Wall::Ids,
                format!("its rights could not be given up ({error})"),
            );
        }
        if let Err(reason) = self.keep_to_files(group, events) {
            lacks(Wall::Landlock, reason);
        }
        if let Err(error) = filter::allow_all_threads(shim_calls::needed(std::process::id())) {
            lacks(
                Wall::SystemCalls,
                format!("the kernel takes no filter of system calls ({error})"),
            );
        }
        missing
    }

    /// Landlock is a thread's own affair, and those that are there have to be told one by one.
    fn keep_to_files(&self, group: Option<&ControlGroup>, events: &Events) -> Result<(), String> {
        let words = |error: RulesetError| error.to_string();
        let rules = self.rules(group).map_err(words)?;
        let copy = rules.try_clone().map_err(|error| error.to_string())?;
        let enforced = rules.restrict_self().map_err(words)?;
        if enforced.ruleset == RulesetStatus::NotEnforced {
            return Err(
                "this kernel has no Landlock (Linux 5.13), or it is not switched on".into(),
            );
        }
        events.run(move || {
            // What works on one thread works on the other.
            let _ = copy.restrict_self();
        });
        Ok(())
    }

    fn rules(&self, group: Option<&ControlGroup>) -> Result<RulesetCreated, RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(YOUNGEST))?
            .handle_access(AccessNet::ConnectTcp)?
            .scope(Scope::AbstractUnixSocket)?
            .create()?;
        let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
        let work = read
            | AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::MakeDir
            | AccessFs::RemoveFile
            | AccessFs::RemoveDir;
        let mut allowed = vec![
            (PathBuf::from(PROCESSES), read),
            (NOWHERE.into(), AccessFs::ReadFile | AccessFs::WriteFile),
            (".".into(), work),
            // When the VM is over, its folder may go.
            ("..".into(), AccessFs::RemoveDir.into()),
        ];
        allowed.extend(self.folders.iter().map(|folder| (folder.clone(), work)));
        // So may the group that held its QEMU: the right is one of the folder above, and of all empty ones in it.
        let above = group.and_then(ControlGroup::parent);
        allowed.extend(above.map(|folder| (folder.to_owned(), AccessFs::RemoveDir.into())));
        // A guest that is taken into use gets its chance anew.
        allowed.extend(RANDOM.map(|device| (device.into(), AccessFs::ReadFile.into())));
        if self.has_network {
            allowed.extend(places_of_name_servers().map(|folder| (folder, read)));
        }
        for (path, access) in allowed {
            // What is not there stays so.
            if let Ok(opened) = PathFd::new(&path) {
                rules = rules.add_rule(PathBeneath::new(opened, access))?;
            }
        }
        Ok(rules)
    }
}

/// Another program replaces the file by a new one, so only its folder is always the same; and that of what a
/// link leads to.
fn places_of_name_servers() -> impl Iterator<Item = PathBuf> {
    let link = Path::new(NAME_SERVERS);
    let led_to: io::Result<PathBuf> = link.canonicalize();
    let folders = [Some(link.to_owned()), led_to.ok()];
    folders
        .into_iter()
        .flatten()
        .filter_map(|file| file.parent().map(Path::to_owned))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind::PermissionDenied;
    use std::thread;

    use super::*;

    fn walls(has_network: bool) -> OwnWalls {
        OwnWalls {
            choice: JailChoice::Auto,
            folders: Vec::new(),
            has_network,
            taken_over: None,
        }
    }

    /// What happens behind these rules, on a thread of their own. Nothing where the host has no Landlock.
    fn behind(rules: RulesetCreated, what: impl FnOnce() + Send) {
        let walled = || match rules.restrict_self().unwrap().ruleset {
            RulesetStatus::NotEnforced => eprintln!("not tried: this host has no Landlock"),
            _ => what(),
        };
        thread::scope(|scope| scope.spawn(walled).join().unwrap());
    }

    fn denied<T>(done: io::Result<T>) -> bool {
        done.is_err_and(|error| error.kind() == PermissionDenied)
    }

    #[test]
    fn the_group_of_a_qemu_is_asked_and_removed_from_behind_the_walls() {
        let above = tempfile::tempdir().unwrap();
        let [path, file] = ["group", "cgroup.procs"].map(|name| above.path().join(name));
        fs::write(&file, "1").unwrap();
        let group = ControlGroup::pretended(&path, "oom_kill 1\n");
        let rules = walls(false).rules(Some(&group)).unwrap();
        behind(rules, || {
            assert!(denied(fs::read(&file)));
            assert!(denied(fs::write(&file, "2")));
            assert!(denied(fs::remove_file(&file)));
            assert!(denied(fs::read_dir(above.path())));
            assert!(denied(fs::create_dir(above.path().join("new"))));
            assert!(group.oom_killed());
            drop(group);
            assert!(!path.exists());
        });
    }
}
