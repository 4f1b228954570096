//! The records of all VMs in one SQLite database, shared by every pyro process of this user.
//!
//! Write-ahead logging lets many processes read while one writes. A record is a claim, not the
//! truth: whether a VM lives is told by the lock in its folder, and `machine::sweep` repairs
//! records that say otherwise.

mod history;
mod jobs;
mod json;
mod records;
mod services;
#[cfg(test)]
pub(crate) mod testing;
mod vms;
mod workspaces;

pub(crate) use history::Command;
pub(crate) use records::{LogState, StoredJob, StoredService, StoredSnapshot, StoredWorkspace};
pub(crate) use vms::{Admission, StoredVm};

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

use crate::private_file;

/// The layout of the database that this pyro writes.
const SCHEMA_VERSION: u32 = 2;

/// How long the write-ahead log may become, in pages of 4 KiB. It is read once by whoever opens the
/// database first.
const LOG_PAGES: u32 = 256;

/// How long to wait for other processes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What leads from each layout to the next.
const STEPS: [&str; SCHEMA_VERSION as usize] = [
    "
    CREATE TABLE vms (
        vm_id   TEXT PRIMARY KEY,
        owner   TEXT NOT NULL,
        running INTEGER NOT NULL,
        mem_mib INTEGER NOT NULL,
        expires_at REAL NOT NULL,
        record  TEXT NOT NULL
    ) STRICT;
    ",
    "
    ALTER TABLE vms DROP COLUMN expires_at;
    CREATE TABLE workspaces (
        workspace_id TEXT PRIMARY KEY,
        name         TEXT,
        maker        TEXT,
        running      INTEGER NOT NULL,
        mem_mib      INTEGER NOT NULL,
        record       TEXT NOT NULL
    ) STRICT;
    CREATE TABLE commands (
        workspace_id TEXT NOT NULL REFERENCES workspaces ON DELETE CASCADE,
        reset_count  INTEGER NOT NULL,
        sequence     INTEGER NOT NULL,
        entry        TEXT NOT NULL,
        PRIMARY KEY (workspace_id, reset_count, sequence)
    ) STRICT;
    CREATE TABLE events (
        number       INTEGER PRIMARY KEY,
        workspace_id TEXT NOT NULL REFERENCES workspaces ON DELETE CASCADE,
        entry        TEXT NOT NULL
    ) STRICT;
    CREATE INDEX events_of ON events (workspace_id, number);
    ",
];

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the state folder {} cannot be used", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the state database {} cannot be used", path.display())]
    Database {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("the state database {} has layout {found}, this pyro supports {SCHEMA_VERSION}", path.display())]
    Newer { path: PathBuf, found: u32 },
    #[error("the record of workspace {id} cannot be read")]
    DamagedWorkspace {
        id: String,
        #[source]
        source: rusqlite::Error,
    },
    #[error("the record of VM {vm_id} cannot be read")]
    Record {
        vm_id: String,
        #[source]
        source: serde_json::Error,
    },
}

impl StoreError {
    fn is_busy(&self) -> bool {
        matches!(self, Self::Database { source, .. }
            if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy))
    }
}

pub(crate) struct Store {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Store {
    pub(crate) fn open(state_dir: &Path) -> Result<Self, StoreError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state_dir)
            .map_err(|source| StoreError::Folder {
                path: state_dir.to_owned(),
                source,
            })?;
        let path = state_dir.join("pyro.db");
        // SQLite says of a file that it cannot open no more than that.
        private_file::open(&path).map_err(|source| StoreError::Folder {
            path: state_dir.to_owned(),
            source,
        })?;
        // While another process turns the journal to write-ahead logging, or closes the database as
        // the last one, SQLite refuses at once whatever its timeout says.
        let until = Instant::now() + PATIENCE;
        let connection = loop {
            let opened = open(&path)
                .map_err(|source| database(&path, source))
                .and_then(|mut connection| migrate(&path, &mut connection).map(|()| connection));
            match opened {
                Err(error) if error.is_busy() && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                settled => break settled?,
            }
        };
        close_without_waiting(&connection).map_err(|source| database(&path, source))?;
        Ok(Self {
            path,
            connection: Mutex::new(connection),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a few statements as one transaction that waits for other writers.
    fn write<T>(
        &self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let run = |connection: &mut Connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        run(&mut connection).map_err(|source| database(&self.path, source))
    }

    /// Returns when everything written so far survives a power cut.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.read(|connection| {
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        })
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        work(&connection).map_err(|source| database(&self.path, source))
    }
}

fn database(path: &Path, source: rusqlite::Error) -> StoreError {
    StoreError::Database {
        path: path.to_owned(),
        source,
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

/// Most processes are the last one to close the database, and would wait for the disk four times to
/// put their few pages from the log into it. The log is put there when it has grown.
fn close_without_waiting(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)
}

fn migrate(path: &Path, connection: &mut Connection) -> Result<(), StoreError> {
    let failed = |source| database(path, source);
    let version: u32 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(failed)?;
    if version > SCHEMA_VERSION {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found: version,
        });
    }
    // The journal mode is kept in the file; asking again costs a look at it.
    connection
        .pragma_update(None, "journal_mode", "wal")
        .map_err(failed)?;
    // A power cut may lose the last changes, never corrupt the file. It ends one-shot VMs anyway;
    // what must not be lost is settled.
    connection
        .pragma_update(None, "synchronous", "normal")
        .map_err(failed)?;
    if version == SCHEMA_VERSION {
        return Ok(());
    }
    let create = |connection: &mut Connection| {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
        // Another process may have been faster.
        let version: u32 =
            transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        for step in STEPS.iter().skip(version as usize) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()
    };
    create(connection).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_database_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let raw = Connection::open(folder.path().join("pyro.db")).unwrap();
        raw.pragma_update(None, "user_version", 99).unwrap();
        drop(raw);
        assert!(matches!(
            Store::open(folder.path()),
            Err(StoreError::Newer { found: 99, .. })
        ));
    }

    #[test]
    fn an_older_database_is_brought_up_to_date() {
        let folder = tempfile::tempdir().unwrap();
        let raw = Connection::open(folder.path().join("pyro.db")).unwrap();
        raw.execute_batch(STEPS[0]).unwrap();
        raw.execute_batch(
            "INSERT INTO vms VALUES ('0123456789ab', 'someone', 0, 256, 1.5, 'not json');
             PRAGMA user_version = 1;",
        )
        .unwrap();
        drop(raw);
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.vms().unwrap().len(), 1);
        assert!(store.workspaces().unwrap().is_empty());
    }

    #[test]
    fn many_processes_may_open_it_for_the_first_time_at_once() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| Store::open(folder.path()).unwrap());
            }
        });
    }
}
