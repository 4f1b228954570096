//! Gives the zeroes in a file back to the file system.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::{Whence, lseek64};

const PAGE: usize = 4096;
const CHUNK: usize = 1024 * 1024;

/// Makes holes of all pages that hold nothing but zeroes.
pub(crate) fn punch(file: &File) -> io::Result<()> {
    let end = file.metadata()?.len();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while let Some(data) = next_data(file, at)? {
        // From the beginning of a page, or its end would be missed.
        at = data - data % PAGE as u64;
        let length = CHUNK.min(usize::try_from(end - at).unwrap_or(CHUNK));
        file.read_exact_at(&mut buffer[..length], at)?;
        for (from, length) in zeroes(&buffer[..length]) {
            let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            fallocate(
                file,
                mode,
                offset(at) + offset(from as u64),
                offset(length as u64),
            )?;
        }
        at += length as u64;
        if at >= end {
            break;
        }
    }
    Ok(())
}

fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    match lseek64(file, offset(at), Whence::SeekData) {
        Ok(data) => Ok(Some(data.unsigned_abs())),
        Err(nix::Error::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn offset(at: u64) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}

/// Runs of zero pages: where they begin, and how long they are.
fn zeroes(data: &[u8]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (number, page) in data.chunks(PAGE).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            continue;
        }
        let at = number * PAGE;
        match runs.last_mut() {
            Some((from, length)) if *from + *length == at => *length += page.len(),
            _ => runs.push((at, page.len())),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn neighbours_are_one_run() {
        let mut data = vec![0; 5 * PAGE];
        data[2 * PAGE + 7] = 1;
        assert_eq!(zeroes(&data), [(0, 2 * PAGE), (3 * PAGE, 2 * PAGE)]);
        assert_eq!(zeroes(&[]), []);
    }

    #[test]
    fn holes_change_the_size_on_disk_and_nothing_else() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 * 1024 * 1024).unwrap();
        file.write_all_at(&vec![0; 3 * 1024 * 1024], 1024 * 1024)
            .unwrap();
        file.write_all_at(b"word", 2 * 1024 * 1024 + 5).unwrap();
        file.sync_all().unwrap();
        let before = file.metadata().unwrap().blocks();
        punch(&file).unwrap();
        file.sync_all().unwrap();
        let after = file.metadata().unwrap();
        assert!(after.blocks() < before, "{} of {before}", after.blocks());
        assert_eq!(after.len(), 8 * 1024 * 1024);
        let mut word = [0; 4];
        file.read_exact_at(&mut word, 2 * 1024 * 1024 + 5).unwrap();
        assert_eq!(&word, b"word");
    }
}
