//! A guest's archive on its way into a folder of the host, as an export unpacks it. Nothing comes out
//! beside its path.

use std::ffi::OsStr;
use std::ops::ControlFlow;

use pyro_transfer::export::Destination;
use tempfile::TempDir;

use crate::seeds::{self, Seed, SeedError};
use crate::{Target, checksums};

pub(crate) const TARGET: Target = Target {
    name: "archive",
    play,
    seeds,
    mend: checksums::of_archive,
    inputs: 10_000,
};

fn play(bytes: &[u8]) -> bool {
    // In memory, as a target makes thousands of files in a second.
    let folder = TempDir::new_in("/dev/shm").expect("a folder");
    let path = folder.path().join("out");
    let mut destination =
        Destination::prepare(&path, OsStr::new("name"), None, false).expect("a free path");
    let unpacked = destination.unpack(bytes, &mut |_| ControlFlow::Continue(()));
    let sound = match unpacked {
        Ok(_) => destination.commit().is_ok(),
        Err(_) => {
            drop(destination);
            false
        }
    };
    let entries = std::fs::read_dir(folder.path()).expect("a folder");
    let names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert!(names.iter().all(|name| name == "out"), "{names:?}");
    sound
}

/// Also what the `source` target begins with.
pub(crate) fn seeds() -> Result<Vec<Seed>, SeedError> {
    let mut seeds = seeds::made_by_tools("archive")?;
    for seed in &mut seeds {
        without_process_id(&mut seed.bytes);
    }
    Ok(seeds)
}

/// GNU tar writes its process id into the names of sparse files, and so never the same archive twice.
fn without_process_id(archive: &mut [u8]) {
    const BEFORE: &[u8] = b"GNUSparseFile.";
    for block in archive.chunks_exact_mut(checksums::TAR_BLOCK) {
        let name = &mut block[..100];
        if let Some(at) = name.windows(BEFORE.len()).position(|part| part == BEFORE) {
            let rest = &mut name[at + BEFORE.len()..];
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            rest.copy_within(digits.., 0);
            let end = rest.len() - digits;
            rest[end..].fill(0);
        }
    }
    checksums::of_archive(archive);
}
