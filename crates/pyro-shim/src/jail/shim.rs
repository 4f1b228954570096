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

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::sys::stat::umask;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::jail::{JailChoice, MissingWall, Wall};
use pyro_wire::launch::{LaunchSpec, Machine, Running};

use super::{PRIVATE, filter, name_servers, rights, shim_calls};
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

const RANDOM: [&str; 2] = ["/dev/random", "/dev/urandom"];

/// What is to stand around the shim of a VM.
pub(crate) struct OwnWalls {
    choice: JailChoice,
    /// Beside the VM's own, which is the current one.
    folders: Vec<PathBuf>,
    /// What it reads of them for the process of a network: files, and folders with nothing else in them.
    name_servers: Vec<PathBuf>,
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
        let name_servers: &[&str] = match &qemu.network {
            Some(_) => &name_servers::PLACES,
            None => &[],
        };
        Some(Self {
            choice: qemu.jail,
            folders: spec.folders.clone(),
            name_servers: name_servers.iter().map(PathBuf::from).collect(),
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
        let servers = self.name_servers.iter();
        allowed.extend(servers.map(|place| (place.clone(), AccessFs::ReadFile.into())));
        for (path, access) in allowed {
            // What is not there stays so.
            if let Ok(opened) = PathFd::new(&path) {
                rules = rules.add_rule(PathBeneath::new(opened, access))?;
            }
        }
        Ok(rules)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind::PermissionDenied;
    use std::io::{self, Read};
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::thread;

    use super::*;
    use crate::jail::Handed;

    fn walls(name_servers: &[&Path]) -> OwnWalls {
        OwnWalls {
            choice: JailChoice::Auto,
            folders: Vec::new(),
            name_servers: name_servers.iter().map(PathBuf::from).collect(),
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
        let rules = walls(&[]).rules(Some(&group)).unwrap();
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

    /// Name servers that are found by a link, in a folder of somebody's who replaces that file; and the same without.
    #[test]
    fn of_the_folder_of_the_name_servers_their_file_alone_is_read() {
        let here = tempfile::tempdir().unwrap();
        let [etc, run] = ["etc", "run"].map(|name| here.path().join(name));
        let [link, file, shadow] = ["link", "resolv.conf", "shadow"].map(|name| etc.join(name));
        let target = run.join("stub.conf");
        let put = |path: &Path, text: &str| {
            let new = path.with_extension("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, path).unwrap();
        };
        for folder in [&etc, &run] {
            fs::create_dir(folder).unwrap();
        }
        for (path, text) in [(&file, "first"), (&shadow, "a secret"), (&target, "stub")] {
            put(path, text);
        }
        symlink(&target, &link).unwrap();
        let handed = [&file, &link].map(|path| Handed::named(path.clone()));
        let read = |which: usize| {
            let mut text = String::new();
            handed[which].open()?.read_to_string(&mut text)?;
            io::Result::Ok(text)
        };
        let rules = walls(&[&file, &link, &run]).rules(None).unwrap();
        let behind_them = |what: &(dyn Fn() + Sync)| behind(rules.try_clone().unwrap(), what);

        behind_them(&|| {
            assert_eq!(
                (read(0).unwrap(), read(1).unwrap()),
                ("first".into(), "stub".into())
            );
            assert!(denied(fs::read(&shadow)));
            assert!(denied(fs::read_dir(&etc)));
            assert!(denied(fs::read_dir(&run)));
            assert!(denied(fs::write(&file, "mine")));
            assert!(denied(fs::write(&target, "mine")));
        });
        fs::write(&file, "the same file").unwrap();
        put(&target, "another");
        behind_them(&|| {
            assert_eq!(read(0).unwrap(), "the same file");
            assert_eq!(read(1).unwrap(), "another");
        });
        // What took its place cannot be opened, and what was there before is read, each time as a whole.
        put(&file, "another file");
        behind_them(&|| {
            assert!(denied(fs::read(&file)));
            assert_eq!(read(0).unwrap(), "the same file");
            assert_eq!(read(0).unwrap(), "the same file");
        });
        fs::remove_file(&file).unwrap();
        symlink(&target, &file).unwrap();
        behind_them(&|| assert_eq!(read(0).unwrap(), "another"));
        fs::remove_file(&file).unwrap();
        behind_them(&|| {
            assert!(read(0).is_err_and(|error| error.kind() == io::ErrorKind::NotFound))
        });
    }
}
