//! Whether the files of layers are all there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::error::LayerError;
use super::layer::{Format, Layer};
use super::stack::Stack;

/// The part of a table's entry that says where in the file what it stands for is.
const PLACE: u64 = 0x00ff_ffff_ffff_fe00;

/// A first table of a disk of a thousand gigabytes has 2,000 entries.
const MOST_ENTRIES: u32 = 1024 * 1024;

/// Sizes of clusters that the format knows.
const LEGAL_CLUSTERS: std::ops::RangeInclusive<u64> = 512..=2 * 1024 * 1024;

/// Fails where a layer speaks of something that its file does not reach to: a file that was cut off
/// shows zeros there, or what is below, and nothing would be told of it.
pub fn check(layers: &[Layer]) -> Result<(), LayerError> {
    for layer in layers {
        if layer.format == Format::Raw {
            continue;
        }
        let path = layer.path.clone();
        match tables_are_there(&path) {
            Ok(true) => {}
            Ok(false) => return Err(LayerError::Damaged { path }),
            Err(source) => return Err(LayerError::Read { path, source }),
        }
        let stack = Stack::open(std::slice::from_ref(layer))?;
        let mut at = 0;
        while at < stack.size() {
            at += stack.look(at, stack.size() - at)?.1;
        }
    }
    Ok(())
}

/// Whether the tables are in the file that the first table of a qcow2 image names.
fn tables_are_there(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut header = [0; 48];
    if file.read_exact_at(&mut header, 0).is_err() {
        return Ok(false);
    }
    let (entries, first) = header[36..48].split_at(4);
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |sum, &byte| sum << 8 | u64::from(byte))
    };
    let (entries, first) = (number(entries), number(first));
    if entries > MOST_ENTRIES.into() || first >= length {
        return Ok(false);
    }
    let mut table = vec![0; entries as usize * 8];
    if file.read_exact_at(&mut table, first).is_err() {
        return Ok(false);
    }
    let cluster = 1u64.checked_shl(number(&header[20..24]) as u32);
    let Some(cluster) = cluster.filter(|cluster| LEGAL_CLUSTERS.contains(cluster)) else {
        return Ok(false);
    };
    // A disk that is larger than its tables can say has no end either.
    let reach = entries.saturating_mul(cluster).saturating_mul(cluster / 8);
    if number(&header[24..32]) > reach {
        return Ok(false);
    }
    let mut places: Vec<u64> = table
        .chunks_exact(8)
        .map(|entry| number(entry) & PLACE)
        .filter(|place| *place != 0)
        .collect();
    let count = places.len();
    places.sort_unstable();
    places.dedup();
    // Tables that are used twice, or lie in each other, make a small file say more than it has room
    // for, and reading it would have no end.
    Ok(places.len() == count
        && places
            .iter()
            .all(|place| *place < length && place % cluster == 0))
}
