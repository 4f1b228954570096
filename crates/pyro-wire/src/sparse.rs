//! Files with holes in tar archives: which parts of a file have data, and how GNU tar's pax forms
//! (0.0, 0.1 and 1.0) write that down. pyro writes 1.0.
//!
//! ```text
//! 0.0   records GNU.sparse.offset and GNU.sparse.numbytes in turn
//! 0.1   record GNU.sparse.map, numbers with commas between them
//! 1.0   before the data: lines of decimal numbers, how many parts, then offset and length of each;
//!       filled up with zeros to whole blocks
//! ```
//!
//! After the map the data of all parts follows without the holes between them. The form of old GNU
//! archives, which is in the header itself, belongs to whoever reads headers.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

/// Tar's unit, which a map is filled up to.
pub const BLOCK: usize = 512;

/// How many parts of one file are believed: 16 MiB of them.
pub const MOST_PARTS: usize = 1024 * 1024;

/// With how many parts a file is sent; from there on its holes are sent as zeros.
const SENT_PARTS: usize = 64 * 1024;

/// A smaller hole costs more than it saves.
const SMALLEST_HOLE: u64 = 4096;

/// A part of a file that has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub offset: u64,
    pub length: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMap {
    #[error("the map of a sparse file is malformed")]
    Malformed,
    #[error("the map of a sparse file has too many parts")]
    TooLong,
    #[error("the parts of a sparse file overlap, or are not as long as its data")]
    Overlaps,
}

/// What pax records say about a sparse file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    major: Option<u64>,
    real_size: Option<u64>,
    /// The name of the file, where the header has one that says what this is.
    pub name: Option<Vec<u8>>,
    parts: Vec<Part>,
    offset: Option<u64>,
    any: bool,
}

/// How a member's data is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    Plain,
    /// Its map comes before its data.
    MapInData {
        real_size: u64,
    },
    Mapped {
        real_size: u64,
        parts: Vec<Part>,
    },
}

impl Records {
    /// Takes a record, if it is about this at all.
    pub fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), BadMap> {
        let Some(key) = key.strip_prefix(b"GNU.sparse.") else {
            return Ok(());
        };
        self.any = true;
        match key {
            b"major" => self.major = Some(number(value)?),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.real_size = Some(number(value)?),
            b"offset" => self.offset = Some(number(value)?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or(BadMap::Malformed)?;
                self.push(offset, number(value)?)?;
            }
            b"map" => {
                let mut numbers = value.split(|&byte| byte == b',');
                while let Some(offset) = numbers.next() {
                    let length = numbers.next().ok_or(BadMap::Malformed)?;
                    self.push(number(offset)?, number(length)?)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn push(&mut self, offset: u64, length: u64) -> Result<(), BadMap> {
        if self.parts.len() == MOST_PARTS {
            return Err(BadMap::TooLong);
        }
        self.parts.push(Part { offset, length });
        Ok(())
    }

    pub fn stored(self) -> Result<Stored, BadMap> {
        match (self.any, self.real_size) {
            (false, _) => Ok(Stored::Plain),
            (true, Some(real_size)) if self.major == Some(1) => Ok(Stored::MapInData { real_size }),
            (true, Some(real_size)) if self.major.unwrap_or(0) == 0 => Ok(Stored::Mapped {
                real_size,
                parts: self.parts,
            }),
            _ => Err(BadMap::Malformed),
        }
    }
}

/// The records with which a member in the form 1.0 begins.
pub fn records(real_size: u64) -> [(&'static str, String); 3] {
    [
        ("GNU.sparse.major", "1".to_owned()),
        ("GNU.sparse.minor", "0".to_owned()),
        ("GNU.sparse.realsize", real_size.to_string()),
    ]
}

/// The map of the form 1.0, in whole blocks.
pub fn map(parts: &[Part]) -> Vec<u8> {
    let mut text = format!("{}\n", parts.len());
    for part in parts {
        text.push_str(&format!("{}\n{}\n", part.offset, part.length));
    }
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// How many bytes the data of these parts has.
pub fn data_size(parts: &[Part]) -> u64 {
    parts.iter().map(|part| part.length).sum()
}

/// Whether the parts are those of such a file with so much data: in order, side by side, inside.
pub fn check(parts: &[Part], real_size: u64, data: u64) -> Result<(), BadMap> {
    let mut end = 0;
    let mut sum: u64 = 0;
    for part in parts {
        let until = part.offset.checked_add(part.length);
        match until {
            Some(until) if part.offset >= end && until <= real_size => end = until,
            _ => return Err(BadMap::Overlaps),
        }
        sum += part.length;
    }
    match sum == data && i64::try_from(real_size).is_ok() {
        true => Ok(()),
        false => Err(BadMap::Overlaps),
    }
}

/// Reads the map of the form 1.0 block by block.
#[derive(Debug, Default)]
pub struct MapReader {
    /// Digits of a number that the next block goes on with.
    digits: Vec<u8>,
    count: Option<usize>,
    offset: Option<u64>,
    parts: Vec<Part>,
}

impl MapReader {
    /// Takes the next block; says whether it was the last one.
    pub fn block(&mut self, block: &[u8; BLOCK]) -> Result<bool, BadMap> {
        for &byte in block {
            if byte != b'\n' {
                // No number of 64 bits is longer.
                if !byte.is_ascii_digit() || self.digits.len() == 20 {
                    return Err(BadMap::Malformed);
                }
                self.digits.push(byte);
                continue;
            }
            let number = number(&self.digits)?;
            self.digits.clear();
            match (self.count, self.offset.take()) {
                (None, _) => {
                    let count = usize::try_from(number).ok().filter(|n| *n <= MOST_PARTS);
                    self.count = Some(count.ok_or(BadMap::TooLong)?);
                }
                (Some(_), None) => self.offset = Some(number),
                (Some(_), Some(offset)) => self.parts.push(Part {
                    offset,
                    length: number,
                }),
            }
            // What fills up the last block is not looked at.
            if self.count == Some(self.parts.len()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub fn parts(self) -> Vec<Part> {
        self.parts
    }
}

fn number(digits: &[u8]) -> Result<u64, BadMap> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BadMap::Malformed);
    }
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or(BadMap::Malformed)
}

/// Where an open file has data, when it has holes that are worth a map. `blocks` are those that the
/// file system counts (512 bytes each). Where the file is read next is not kept.
pub fn parts_of(file: &File, size: u64, blocks: i64) -> io::Result<Option<Vec<Part>>> {
    let taken = u64::try_from(blocks).unwrap_or(0).saturating_mul(512);
    if taken >= size || size < SMALLEST_HOLE {
        return Ok(None);
    }
    let mut parts: Vec<Part> = Vec::new();
    let mut at = 0;
    while at < size {
        let Some(start) = seek(file, at, Whence::SeekData)?.filter(|&start| start < size) else {
            break;
        };
        let end = seek(file, start, Whence::SeekHole)?.map_or(size, |end| end.min(size));
        let joins = parts.len() == SENT_PARTS
            || parts
                .last()
                .is_some_and(|last| start - (last.offset + last.length) < SMALLEST_HOLE);
        match parts.last_mut().filter(|_| joins) {
            Some(last) => last.length = end - last.offset,
            None => parts.push(Part {
                offset: start,
                length: end - start,
            }),
        }
        at = end;
    }
    Ok((data_size(&parts) < size).then_some(parts))
}

/// `None` behind the last data. A file system that knows no holes has data everywhere.
fn seek(file: &File, at: u64, whence: Whence) -> io::Result<Option<u64>> {
    let from = i64::try_from(at).map_err(io::Error::other)?;
    match lseek(file, from, whence) {
        Ok(found) => Ok(Some(u64::try_from(found).unwrap_or(at))),
        Err(Errno::ENXIO) => Ok(None),
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => match whence {
            Whence::SeekHole => Ok(None),
            _ => Ok(Some(at)),
        },
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(offset: u64, length: u64) -> Part {
        Part { offset, length }
    }

    fn read(bytes: &[u8]) -> Result<Vec<Part>, BadMap> {
        let mut reader = MapReader::default();
        for block in bytes.chunks_exact(BLOCK) {
            if reader.block(block.try_into().unwrap())? {
                return Ok(reader.parts());
            }
        }
        Err(BadMap::Malformed)
    }

    #[test]
    fn a_map_is_read_as_it_was_written() {
        let many: Vec<Part> = (0..500).map(|at| part(at * 100_000, 4096)).collect();
        for parts in [vec![], vec![part(0, 1)], vec![part(1 << 40, 0)], many] {
            assert_eq!(read(&map(&parts)), Ok(parts));
        }
    }

    #[test]
    fn what_is_no_map_is_refused() {
        let block = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(BLOCK, 0);
            bytes
        };
        for text in [
            "",
            "\n",
            "x\n",
            "1\n0\n",
            "1\n-1\n0\n",
            "99999999999999999999999\n",
        ] {
            assert!(read(&block(text)).is_err(), "{text:?}");
        }
        assert_eq!(read(&block("9999999999\n")), Err(BadMap::TooLong));
    }

    #[test]
    fn parts_lie_in_order_and_inside() {
        assert_eq!(check(&[part(0, 2), part(5, 1), part(9, 0)], 9, 3), Ok(()));
        for (parts, real_size, data) in [
            (&[part(0, 2), part(1, 1)][..], 9, 3),
            (&[part(5, 5)], 9, 5),
            (&[part(0, 2)], 9, 3),
            (&[part(u64::MAX, 2)], 9, 2),
            (&[], u64::MAX, 0),
        ] {
            assert_eq!(check(parts, real_size, data), Err(BadMap::Overlaps));
        }
    }

    #[test]
    fn records_of_both_older_forms_say_the_same() {
        let stored = |records: &[(&str, &str)]| {
            let mut all = Records::default();
            for (key, value) in records {
                all.take(key.as_bytes(), value.as_bytes())?;
            }
            all.stored()
        };
        let expected = Stored::Mapped {
            real_size: 20,
            parts: vec![part(1, 2), part(9, 3)],
        };
        let zero = [
            ("GNU.sparse.size", "20"),
            ("GNU.sparse.numblocks", "2"),
            ("GNU.sparse.offset", "1"),
            ("GNU.sparse.numbytes", "2"),
            ("GNU.sparse.offset", "9"),
            ("GNU.sparse.numbytes", "3"),
        ];
        assert_eq!(stored(&zero), Ok(expected.clone()));
        let one = [("GNU.sparse.size", "20"), ("GNU.sparse.map", "1,2,9,3")];
        assert_eq!(stored(&one), Ok(expected));
        assert_eq!(stored(&[("path", "x")]), Ok(Stored::Plain));
        for bad in [
            &[("GNU.sparse.map", "1,2,9"), ("GNU.sparse.size", "20")][..],
            &[("GNU.sparse.numbytes", "2")],
            &[("GNU.sparse.map", "1,2")],
            &[("GNU.sparse.major", "2"), ("GNU.sparse.realsize", "2")],
        ] {
            assert!(stored(bad).is_err(), "{bad:?}");
        }
    }
}
