//! Records of one-shot VMs.

use pyro_api::values::{VmRecord, VmState};
use rusqlite::{OptionalExtension, Row, params};

use super::{Store, StoreError};

/// What the column `running` says, beside 0. Either way the VM has its memory.
const RUNNING: u32 = 1;
/// It waits for somebody: see `standby`.
const WAITING: u32 = 2;

/// A record with what only the engine needs to know.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredVm {
    /// The engine that the VM ends with.
    pub(crate) owner: String,
    pub(crate) record: VmRecord,
}

/// Whether a VM may run beside those that do.
pub(crate) enum Admission {
    Admitted,
    /// The memory is taken by these, in MiB each.
    Full(Vec<(String, u32)>),
}

impl Store {
    pub(crate) fn put_vm(&self, vm: &StoredVm) -> Result<(), StoreError> {
        let record = encode(&vm.record)?;
        self.write(|transaction| {
            transaction
                .execute(
                    "INSERT OR REPLACE INTO vms (vm_id, owner, running, mem_mib, record)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![
                        vm.record.vm_id,
                        vm.owner,
                        vm.record.state == VmState::Started,
                        vm.record.mem_mib,
                        record
                    ],
                )
                .map(drop)
        })
    }

    /// Says of a VM that runs already that it waits for somebody.
    pub(crate) fn put_standby(&self, vm: &StoredVm) -> Result<(), StoreError> {
        self.update(vm, RUNNING, WAITING).map(drop)
    }

    /// Takes a VM that waits; false when it does not wait any more.
    pub(crate) fn claim_standby(&self, vm: &StoredVm) -> Result<bool, StoreError> {
        self.update(vm, WAITING, RUNNING)
    }

    fn update(&self, vm: &StoredVm, from: u32, to: u32) -> Result<bool, StoreError> {
        let record = encode(&vm.record)?;
        self.write(|transaction| {
            let changed = transaction.execute(
                "UPDATE vms SET running = ?1, record = ?2 WHERE vm_id = ?3 AND running = ?4",
                params![to, record, vm.record.vm_id, from],
            )?;
            Ok(changed > 0)
        })
    }

    /// The VMs that wait, of all engines, oldest first.
    pub(crate) fn standbys(&self) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            connection
                .prepare("SELECT vm_id FROM vms WHERE running = ?1 ORDER BY rowid")?
                .query_map([WAITING], |row| row.get(0))?
                .collect()
        })
    }

    /// Forgets a VM that waits; false when it does not wait any more.
    pub(crate) fn evict_standby(&self, vm_id: &str) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let gone = transaction.execute(
                "DELETE FROM vms WHERE vm_id = ?1 AND running = ?2",
                params![vm_id, WAITING],
            )?;
            Ok(gone > 0)
        })
    }

    /// Counts a VM or a workspace among the running ones, unless that would take more than
    /// `limit_mib`.
    pub(crate) fn admit(&self, id: &str, limit_mib: u64) -> Result<Admission, StoreError> {
        self.write(|transaction| {
            let running = transaction
                .prepare(
                    "SELECT vm_id AS id, mem_mib FROM vms WHERE running AND vm_id <> ?1
                     UNION ALL
                     SELECT workspace_id, mem_mib FROM workspaces
                     WHERE running AND workspace_id <> ?1
                     ORDER BY id",
                )?
                .query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<Vec<(String, u32)>, _>>()?;
            let own: u32 = transaction.query_row(
                "SELECT mem_mib FROM vms WHERE vm_id = ?1
                 UNION ALL
                 SELECT mem_mib FROM workspaces WHERE workspace_id = ?1",
                [id],
                |row| row.get(0),
            )?;
            let taken: u64 = running.iter().map(|(_, mib)| u64::from(*mib)).sum();
            if taken + u64::from(own) > limit_mib {
                return Ok(Admission::Full(running));
            }
            transaction.execute("UPDATE vms SET running = 1 WHERE vm_id = ?1", [id])?;
            transaction.execute(
                "UPDATE workspaces SET running = 1 WHERE workspace_id = ?1",
                [id],
            )?;
            Ok(Admission::Admitted)
        })
    }

    pub(crate) fn vm(&self, vm_id: &str) -> Result<Option<StoredVm>, StoreError> {
        self.read(|connection| {
            connection
                .query_row(
                    "SELECT vm_id, owner, record FROM vms WHERE vm_id = ?1",
                    [vm_id],
                    raw,
                )
                .optional()
        })?
        .map(decode)
        .transpose()
    }

    /// Every record, oldest first. One that cannot be read does not hide the others.
    pub(crate) fn vms(&self) -> Result<Vec<Result<StoredVm, StoreError>>, StoreError> {
        let rows = self.read(|connection| {
            connection
                .prepare("SELECT vm_id, owner, record FROM vms ORDER BY rowid")?
                .query_map([], raw)?
                .collect::<Result<Vec<_>, _>>()
        })?;
        Ok(rows.into_iter().map(decode).collect())
    }

    /// Forgets a VM; true when there was a record.
    pub(crate) fn remove_vm(&self, vm_id: &str) -> Result<bool, StoreError> {
        self.write(|transaction| {
            transaction
                .execute("DELETE FROM vms WHERE vm_id = ?1", [vm_id])
                .map(|count| count > 0)
        })
    }
}

type Raw = (String, String, String);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn decode((vm_id, owner, record): Raw) -> Result<StoredVm, StoreError> {
    let record =
        serde_json::from_str(&record).map_err(|source| StoreError::Record { vm_id, source })?;
    Ok(StoredVm { owner, record })
}

fn encode(record: &VmRecord) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|source| StoreError::Record {
        vm_id: record.vm_id.clone(),
        source,
    })
}
