//! Records of workspaces, written and read.

use pyro_api::values::VmState;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::json::Json;
use super::records::StoredWorkspace;
use super::{Store, StoreError};

impl Store {
    pub(crate) fn put_workspace(&self, workspace: &StoredWorkspace) -> Result<(), StoreError> {
        self.write(|transaction| put(transaction, workspace))
    }

    /// Changes a record in one step that no other process comes between. `None`: it is gone.
    pub(crate) fn change_workspace(
        &self,
        id: &str,
        change: impl FnOnce(&mut StoredWorkspace),
    ) -> Result<Option<StoredWorkspace>, StoreError> {
        self.write(|transaction| change_in(transaction, id, change))
            .map_err(|error| damaged(id, error))
    }

    /// Every record, also of those that are still being made. One that cannot be read hides no
    /// other.
    pub(crate) fn workspaces(
        &self,
    ) -> Result<Vec<Result<StoredWorkspace, StoreError>>, StoreError> {
        let rows = self.read(|connection| {
            connection
                .prepare(&format!("{SELECT} ORDER BY workspace_id"))?
                .query_map([], |row| Ok((row.get(0)?, workspace(row))))?
                .collect::<Result<Vec<_>, _>>()
        })?;
        let damaged =
            |id, error: rusqlite::Error| StoreError::DamagedWorkspace { id, source: error };
        Ok(rows
            .into_iter()
            .map(|(id, read)| read.map_err(|error| damaged(id, error)))
            .collect())
    }

    /// Ids and makers of those that are still being made, or whose making was broken off.
    pub(crate) fn unfinished_workspaces(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.read(|connection| {
            connection
                .prepare("SELECT workspace_id, maker FROM workspaces WHERE maker IS NOT NULL")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }

    /// Whether this one is still being made, or was when its maker died.
    pub(crate) fn is_unfinished(&self, id: &str) -> Result<bool, StoreError> {
        self.read(|connection| {
            connection
                .prepare("SELECT 1 FROM workspaces WHERE workspace_id = ?1 AND maker IS NOT NULL")?
                .exists([id])
        })
    }

    pub(crate) fn workspace(&self, id: &str) -> Result<Option<StoredWorkspace>, StoreError> {
        self.read(|connection| {
            connection
                .query_row(
                    &format!("{SELECT} WHERE workspace_id = ?1 AND maker IS NULL"),
                    [id],
                    workspace,
                )
                .optional()
        })
        .map_err(|error| damaged(id, error))
    }

    /// The ids that a reference may mean: the whole id, a name, or the beginning of an id.
    pub(crate) fn matching_workspaces(&self, reference: &str) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            for condition in [
                "workspace_id = ?1",
                "name = ?1",
                "length(?1) > 0 AND substr(workspace_id, 1, length(?1)) = ?1",
            ] {
                let found = connection
                    .prepare(&format!(
                        "SELECT workspace_id FROM workspaces
                         WHERE maker IS NULL AND {condition} ORDER BY workspace_id"
                    ))?
                    .query_map([reference], |row| row.get(0))?
                    .collect::<rusqlite::Result<Vec<String>>>()?;
                if !found.is_empty() {
                    return Ok(found);
                }
            }
            Ok(Vec::new())
        })
    }

    /// Whether there is a record, readable or not, finished or not.
    pub(crate) fn has_workspace(&self, id: &str) -> Result<bool, StoreError> {
        self.read(|connection| {
            connection
                .prepare("SELECT 1 FROM workspaces WHERE workspace_id = ?1")?
                .exists([id])
        })
    }

    /// Whether its memory is counted among what is in use.
    pub(crate) fn is_admitted(&self, id: &str) -> Result<bool, StoreError> {
        self.read(|connection| {
            connection
                .prepare("SELECT 1 FROM workspaces WHERE workspace_id = ?1 AND running")?
                .exists([id])
        })
    }

    /// Forgets a workspace and its history.
    pub(crate) fn remove_workspace(&self, id: &str) -> Result<bool, StoreError> {
        self.write(|transaction| {
            transaction
                .execute("DELETE FROM workspaces WHERE workspace_id = ?1", [id])
                .map(|count| count > 0)
        })
    }
}

const SELECT: &str = "SELECT workspace_id, maker, record FROM workspaces";

fn workspace(row: &Row<'_>) -> rusqlite::Result<StoredWorkspace> {
    let Json(stored) = row.get::<_, Json<StoredWorkspace>>(2)?;
    let maker = row.get(1)?;
    Ok(StoredWorkspace { maker, ..stored })
}

/// Tells a record that cannot be read from a database that cannot.
fn damaged(id: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::Database {
            source: source @ rusqlite::Error::FromSqlConversionFailure(..),
            ..
        } => StoreError::DamagedWorkspace {
            id: id.to_owned(),
            source,
        },
        error => error,
    }
}

pub(super) fn change_in(
    transaction: &Transaction<'_>,
    id: &str,
    change: impl FnOnce(&mut StoredWorkspace),
) -> rusqlite::Result<Option<StoredWorkspace>> {
    let found = transaction
        .query_row(
            &format!("{SELECT} WHERE workspace_id = ?1"),
            [id],
            workspace,
        )
        .optional()?;
    let Some(mut workspace) = found else {
        return Ok(None);
    };
    change(&mut workspace);
    put(transaction, &workspace)?;
    Ok(Some(workspace))
}

fn put(transaction: &Transaction<'_>, workspace: &StoredWorkspace) -> rusqlite::Result<()> {
    let record = &workspace.record;
    // Not `REPLACE`, which would take the history with it.
    transaction
        .execute(
            "INSERT INTO workspaces (workspace_id, name, maker, running, mem_mib, record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (workspace_id) DO UPDATE SET
                 name = excluded.name, maker = excluded.maker, running = excluded.running,
                 mem_mib = excluded.mem_mib, record = excluded.record",
            params![
                record.workspace_id,
                record.name,
                workspace.maker,
                record.state == VmState::Started,
                record.mem_mib,
                Json(workspace)
            ],
        )
        .map(drop)
}
