//! Clears away what crashes left behind: records of VMs that are gone, folders without a VM.
//!
//! Nothing that may still be somebody's is touched: a VM whose lock is held, one whose engine
//! lives, and a folder so young that its record may be on its way.

use std::path::Path;
use std::time::Duration;

use pyro_api::Error;

use super::folder::VmFolder;
use super::lookup::is_expired;
use super::owner::Owner;
use super::{age, now};
use crate::store::{Store, StoreError};

/// The age below which a folder without a record is left alone.
const YOUNG: Duration = Duration::from_secs(60);

/// Repairs the store and the folders of the VMs; returns the ids of VMs whose time is over and
/// which this removed.
pub(crate) fn sweep(state_dir: &Path, store: &Store) -> Result<Vec<String>, Error> {
    let mut expired = Vec::new();
    let mut known = Vec::new();
    for vm in store.vms()? {
        let record = match vm {
            Ok(vm) => vm,
            // A damaged record cannot be repaired, and must not stand in the way of the others.
            Err(StoreError::Record { vm_id, .. }) => {
                store.remove_vm(&vm_id)?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let vm_id = record.record.vm_id.clone();
        let folder = VmFolder::of(state_dir, &vm_id);
        let over = is_expired(&record.record, now());
        let abandoned = !Owner::lives(state_dir, &record.owner);
        if (over || abandoned) && !folder.is_alive() {
            if folder.remove().is_ok() && store.remove_vm(&vm_id)? && over {
                expired.push(vm_id);
            }
        } else {
            known.push(vm_id);
        }
    }
    if let Ok(folders) = VmFolder::list(state_dir) {
        for (vm_id, folder) in folders {
            if !known.contains(&vm_id) && !is_young(&folder) && !folder.is_alive() {
                let _ = folder.remove();
            }
        }
    }
    Owner::forget_dead(state_dir);
    Ok(expired)
}

fn is_young(folder: &VmFolder) -> bool {
    age(folder.path()).is_ok_and(|age| age < YOUNG)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_folder_of_this_moment_is_young_whatever_the_clock_does() {
        let state = tempfile::tempdir().unwrap();
        let folder = VmFolder::of(state.path(), "0123456789ab");
        std::fs::create_dir_all(folder.path()).unwrap();
        let made = |time: SystemTime| {
            let opened = File::open(folder.path()).unwrap();
            opened.set_modified(time).unwrap();
            is_young(&folder)
        };
        let day = Duration::from_secs(86_400);
        let now = SystemTime::now();
        assert!(made(now) && made(now - YOUNG / 2) && made(now + YOUNG / 2));
        // Debris, and not for as long as the clock was set back by.
        assert!(!made(now - day) && !made(now + day));
    }
}
