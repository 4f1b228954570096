//! The database of a world, looked at from outside.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use pyro_tests::World;
use rusqlite::Connection;

pub(crate) fn database(world: &World) -> Connection {
    Connection::open(world.state_dir().join("pyro.db")).expect("the database")
}

/// How many records of VMs there are.
pub(crate) fn count(world: &World) -> u32 {
    database(world)
        .query_row("SELECT count(*) FROM vms", [], |row| row.get(0))
        .expect("the number of records")
}

/// Makes a file or folder look as if it had been there for a while.
pub(crate) fn age(path: &Path) {
    let then = SystemTime::now() - Duration::from_secs(600);
    File::open(path)
        .and_then(|file| file.set_modified(then))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Makes everything in the folders of VMs and engines look old.
pub(crate) fn age_all(world: &World) {
    for folder in ["vms", "owners"] {
        let entries = fs::read_dir(world.state_dir().join(folder))
            .into_iter()
            .flatten();
        for entry in entries.filter_map(Result::ok) {
            age(&entry.path());
        }
    }
}
