//! The files of a plan as rules of Landlock. Where there is a root folder of one's own it says the same a
//! second time; where there is none it is what keeps the program to its files.

use std::io;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::plan::{Calls, Plan};

/// The youngest that is known here. Of what a kernel lacks, the rest is enforced.
const YOUNGEST: ABI = ABI::V6;

/// The rights to files, all of which the oldest Landlock knows, but for cutting them short.
const LEAST: ABI = ABI::V1;

/// Enforces the rules on this thread. The words say why not, or not all.
pub(super) fn enforce(plan: &Plan, with_handed: bool) -> io::Result<Result<(), String>> {
    match rules(plan, with_handed) {
        Ok(RulesetStatus::FullyEnforced) => Ok(Ok(())),
        Ok(RulesetStatus::PartiallyEnforced) => Ok(Ok(())),
        Ok(RulesetStatus::NotEnforced) => Ok(Err(
            "this kernel has no Landlock (Linux 5.13), or it is not switched on".into(),
        )),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn rules(plan: &Plan, with_handed: bool) -> Result<RulesetStatus, RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(YOUNGEST))?
        .scope(Scope::from_all(YOUNGEST))?;
    // Nobody listens.
    rules = rules.handle_access(match plan.calls {
        Calls::Network => AccessNet::BindTcp.into(),
        Calls::Vmm | Calls::VmmWithKvm => AccessNet::from_all(YOUNGEST),
    })?;
    let mut rules = rules.create()?;
    let read = AccessFs::from_read(LEAST);
    let only_file = AccessFs::ReadFile | AccessFs::Execute;
    let beneath_root = [Path::new("/").to_owned()];
    let allowed = if plan.own_root {
        &beneath_root[..]
    } else {
        &plan.read
    };
    for path in allowed {
        let Ok(opened) = PathFd::new(path) else {
            // It is not there, and stays so.
            continue;
        };
        let access = if path.is_dir() { read } else { only_file };
        rules = rules.add_rule(PathBeneath::new(opened, access))?;
    }
    for path in plan.handed.iter().filter(|_| with_handed) {
        if let Ok(opened) = PathFd::new(path) {
            let access = AccessFs::ReadFile | AccessFs::WriteFile;
            rules = rules.add_rule(PathBeneath::new(opened, access))?;
        }
    }
    Ok(rules.restrict_self()?.ruleset)
}
