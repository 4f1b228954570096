//! Reads an archive from a stream, member by member.
//!
//! Understands ustar, pax, sparse files in pax, GNU long names and what came before them. Refuses
//! what is no file, folder or link.

use std::io::{self, BufRead};

use pyro_wire::sparse::{self, BadMap, MapReader, Part, Stored};
use tar::{EntryType, Header};

use crate::files::archive::pax::Records;
use crate::files::archive::{BLOCK, padding};
use crate::files::error::FileError;
use crate::files::{display, status};

/// The longest list of records, and the longest name, that is read into memory.
const EXTENSION: u64 = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    File,
    Folder,
    Symlink,
    /// Another name for a file that came before.
    HardLink,
}

/// A member. Its content, if it is a file, is read next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// As the archive has it: nobody has looked at it yet.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: MemberKind,
    pub(crate) mode: u32,
    pub(crate) mtime_ns: i64,
    /// The length of a file.
    pub(crate) size: u64,
    /// Where a link points.
    pub(crate) link: Vec<u8>,
}

/// What a member has beside what every file system keeps.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Belongings {
    /// The ids of its user and its group.
    pub(crate) owner: (u32, u32),
    /// Extended attributes, names and values.
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

pub(crate) struct Archive<R> {
    input: R,
    /// How much was read.
    at: u64,
    /// How much of the current member's content has not been read.
    left: u64,
    pad: u64,
    /// Where the content belongs, one part after the other, when there are holes between them.
    parts: Option<Vec<Part>>,
    /// Of the current member.
    belongings: Belongings,
}

impl<R: BufRead> Archive<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            at: 0,
            left: 0,
            pad: 0,
            parts: None,
            belongings: Belongings::default(),
        }
    }

    /// Whose the current member is, and its attributes.
    pub(crate) fn take_belongings(&mut self) -> Belongings {
        std::mem::take(&mut self.belongings)
    }

    /// The next member; `None` after the last, when all of the stream was read. A stream without
    /// a byte is an archive without members.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, FileError> {
        self.each_chunk(|_, _| Ok(()))?;
        let mut records = Records::default();
        let (mut long_name, mut long_link) = (None, None);
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = header
                .entry_size()
                .map_err(|error| self.damaged(error.to_string()))?;
            let kind = header.entry_type();
            if kind.is_gnu_longname() {
                long_name = Some(self.extension(size)?);
            } else if kind.is_gnu_longlink() {
                long_link = Some(self.extension(size)?);
            } else if kind.is_pax_local_extensions() {
                let text = self.extension(size)?;
                let read = records.read(&text);
                read.ok_or_else(|| self.damaged("a list of records is malformed"))?;
            } else if kind.is_pax_global_extensions() {
                // What tools put here (git: the name of a commit) is about the archive.
                self.extension(size)?;
            } else {
                let name = (records.sparse.name.take())
                    .or(records.path.take())
                    .or(long_name.map(until_nul))
                    .unwrap_or_else(|| header.path_bytes().into_owned());
                let link = records.link.take().or(long_link.map(until_nul));
                return self.member(&header, name, link, records, size).map(Some);
            }
        }
    }

    fn member(
        &mut self,
        header: &Header,
        name: Vec<u8>,
        link: Option<Vec<u8>>,
        records: Records,
        size: u64,
    ) -> Result<Member, FileError> {
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => {
                MemberKind::Folder
            }
            EntryType::Regular | EntryType::Continuous => MemberKind::File,
            EntryType::Directory => MemberKind::Folder,
            EntryType::Symlink => MemberKind::Symlink,
            EntryType::Link => MemberKind::HardLink,
            other => return Err(not_supported(&name, other)),
        };
        let size = match kind {
            MemberKind::File => {
                let how = records.sparse.stored().map_err(|bad| self.bad_map(bad))?;
                self.expect_file(records.size.unwrap_or(size), how)?
            }
            // Some tools give a length without content.
            MemberKind::Folder | MemberKind::Symlink | MemberKind::HardLink => 0,
        };
        let id = |of_header: io::Result<u64>| u32::try_from(of_header.unwrap_or(0)).unwrap_or(0);
        let owner = (
            records.user.unwrap_or_else(|| id(header.uid())),
            records.group.unwrap_or_else(|| id(header.gid())),
        );
        self.belongings = Belongings {
            owner,
            attributes: records.attributes,
        };
        let seconds = header.mtime().unwrap_or(0);
        let mtime_ns = records
            .mtime_ns
            .unwrap_or_else(|| status::nanoseconds(i64::try_from(seconds).unwrap_or(0), 0));
        Ok(Member {
            name,
            kind,
            mode: header.mode().unwrap_or(0o644) & status::PERMISSIONS,
            mtime_ns,
            size,
            link: link
                .or_else(|| header.link_name_bytes().map(|link| link.into_owned()))
                .unwrap_or_default(),
        })
    }

    /// Makes ready for a content of which so much is stored; says how long the file is.
    fn expect_file(&mut self, stored: u64, how: Stored) -> Result<u64, FileError> {
        self.left = stored;
        self.pad = padding(stored);
        let (real_size, parts) = match how {
            Stored::Plain => return Ok(stored),
            Stored::Mapped { real_size, parts } => (real_size, parts),
            Stored::MapInData { real_size } => {
                let mut reader = MapReader::default();
                loop {
                    let rest = self.left.checked_sub(BLOCK as u64);
                    self.left = rest.ok_or_else(|| self.bad_map(BadMap::Malformed))?;
                    let block = self.block()?;
                    let block = block.ok_or_else(|| self.bad_map(BadMap::Malformed))?;
                    if reader.block(&block).map_err(|bad| self.bad_map(bad))? {
                        break (real_size, reader.parts());
                    }
                }
            }
        };
        sparse::check(&parts, real_size, self.left).map_err(|bad| self.bad_map(bad))?;
        self.parts = Some(parts);
        Ok(real_size)
    }

    /// Hands the current member's content over, as it comes, with the place where each piece of it
    /// belongs; what was not taken is passed over.
    pub(crate) fn each_chunk(
        &mut self,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        let parts = self.parts.take();
        let whole = [Part {
            offset: 0,
            length: self.left,
        }];
        for part in parts.as_deref().unwrap_or(&whole) {
            let mut at = part.offset;
            let end = part.offset + part.length;
            while at < end {
                let chunk = fill(&mut self.input, self.at)?;
                if chunk.is_empty() {
                    return Err(self.damaged("it ends in the middle of a file"));
                }
                let count = cut(chunk, end - at);
                take(at, &chunk[..count])?;
                self.input.consume(count);
                self.at += count as u64;
                self.left -= count as u64;
                at += count as u64;
            }
        }
        while self.pad > 0 {
            let chunk = fill(&mut self.input, self.at)?;
            if chunk.is_empty() {
                return Err(self.damaged("it ends in the middle of a file"));
            }
            let count = cut(chunk, self.pad);
            self.input.consume(count);
            self.at += count as u64;
            self.pad -= count as u64;
        }
        Ok(())
    }

    /// The next header; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, FileError> {
        let began = self.at;
        let Some(block) = self.block()? else {
            return match began {
                0 => Ok(None),
                _ => Err(self.damaged("it has no end marker")),
            };
        };
        if block.iter().all(|byte| *byte == 0) {
            self.drain()?;
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block);
        let sum_of = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        // The sum itself counts as blanks.
        let sum = sum_of(&block[..148]) + sum_of(&[b' '; 8]) + sum_of(&block[156..]);
        if header.cksum().ok() != Some(sum) {
            return Err(FileError::Archive {
                at: began,
                why: "a header has a wrong checksum".into(),
            });
        }
        Ok(Some(header.clone()))
    }

    /// A whole block; `None` when the stream has ended.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, FileError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let chunk = fill(&mut self.input, self.at)?;
            let count = chunk.len().min(BLOCK - filled);
            if count == 0 {
                return match filled {
                    0 => Ok(None),
                    _ => Err(self.damaged("it ends in the middle of a header")),
                };
            }
            block[filled..filled + count].copy_from_slice(&chunk[..count]);
            self.input.consume(count);
            self.at += count as u64;
            filled += count;
        }
        Ok(Some(block))
    }

    /// The content of a member that is about the next one.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, FileError> {
        if size > EXTENSION {
            return Err(self.damaged(format!("a name or a list of records has {size} bytes")));
        }
        self.left = size;
        self.pad = padding(size);
        let mut content = Vec::new();
        self.each_chunk(|_, chunk| {
            content.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(content)
    }

    /// What comes after the end is nothing but padding.
    fn drain(&mut self) -> Result<(), FileError> {
        loop {
            let count = fill(&mut self.input, self.at)?.len();
            if count == 0 {
                return Ok(());
            }
            self.input.consume(count);
            self.at += count as u64;
        }
    }

    fn bad_map(&self, bad: BadMap) -> FileError {
        self.damaged(bad.to_string())
    }

    fn damaged(&self, why: impl Into<String>) -> FileError {
        FileError::Archive {
            at: self.at,
            why: why.into(),
        }
    }
}

fn fill(input: &mut impl BufRead, at: u64) -> Result<&[u8], FileError> {
    input.fill_buf().map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionAborted => FileError::Gone,
        _ => FileError::Archive {
            at,
            why: error.to_string(),
        },
    })
}

/// How much of a chunk belongs to something of this size.
fn cut(chunk: &[u8], size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX).min(chunk.len())
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|byte| *byte == 0) {
        name.truncate(end);
    }
    name
}

fn not_supported(name: &[u8], kind: EntryType) -> FileError {
    let what = match kind {
        EntryType::Char | EntryType::Block => "is a device".to_owned(),
        EntryType::Fifo => "is a FIFO".to_owned(),
        EntryType::GNUSparse => "is stored as a sparse file".to_owned(),
        other => format!("is of the unknown type {:#04x}", other.as_byte()),
    };
    FileError::refused(format!(
        "{} in the archive {what}; only files, folders and links can be unpacked",
        display::path(name)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::archive::write::{Writer, end};

    fn archive(members: &[(&[u8], MemberKind, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, kind, content) in members {
            let mut writer = Writer::default();
            let (size, link) = match kind {
                MemberKind::File => (content.len() as u64, &b""[..]),
                _ => (0, *content),
            };
            writer.header(&Member {
                name: name.to_vec(),
                kind: *kind,
                mode: 0o640,
                mtime_ns: 1_500_000_001,
                size,
                link: link.to_vec(),
            });
            bytes.extend(writer.take());
            if *kind == MemberKind::File {
                bytes.extend_from_slice(content);
                bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
            }
        }
        bytes.extend(end());
        bytes
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<(Member, Vec<u8>)>, FileError> {
        // Small pieces, as they may come over a channel.
        let mut archive = Archive::new(io::BufReader::with_capacity(100, bytes));
        let mut all = Vec::new();
        while let Some(member) = archive.next()? {
            let mut content = Vec::new();
            archive.each_chunk(|at, chunk| {
                content.resize(at as usize, 0);
                content.extend_from_slice(chunk);
                Ok(())
            })?;
            content.resize(member.size as usize, 0);
            all.push((member, content));
        }
        Ok(all)
    }

    #[test]
    fn what_is_written_can_be_read() {
        let long = [b'n'; 300];
        let odd = b"odd\n\xff/name";
        let bytes = archive(&[
            (b"folder/", MemberKind::Folder, b""),
            (&long, MemberKind::File, &[7; 1300]),
            (odd, MemberKind::Symlink, &long),
            (b"empty", MemberKind::File, b""),
            (b"again", MemberKind::HardLink, b"empty"),
        ]);
        let all = read_all(&bytes).unwrap();
        let names: Vec<&[u8]> = all.iter().map(|(member, _)| &member.name[..]).collect();
        assert_eq!(names, [b"folder/", &long[..], odd, b"empty", b"again"]);
        assert_eq!(all[1].1, [7; 1300]);
        assert_eq!(all[2].0.link, long);
        assert_eq!(all[4].0.link, b"empty");
        assert!(all.iter().all(|(member, _)| member.mode == 0o640));
        assert!(
            all.iter()
                .all(|(member, _)| member.mtime_ns == 1_500_000_001)
        );
    }

    #[test]
    fn a_damaged_archive_is_never_taken_for_a_whole_one() {
        let bytes = archive(&[
            (&[b'n'; 300], MemberKind::File, &[7; 1300]),
            (b"b", MemberKind::File, b"content"),
        ]);
        assert!(read_all(&[]).unwrap().is_empty());
        assert_eq!(read_all(&bytes).unwrap().len(), 2);
        // One block of zeroes is enough of an end, as elsewhere.
        for length in 1..=bytes.len() - 2 * BLOCK {
            assert!(read_all(&bytes[..length]).is_err(), "{length}");
        }
        // Whatever byte of it changes, nothing panics; in headers it is noticed.
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            let _ = read_all(&damaged);
        }
        let mut wrong = bytes.clone();
        wrong[3] ^= 1;
        assert!(matches!(
            read_all(&wrong),
            Err(FileError::Archive { at: 0, .. })
        ));
    }

    #[test]
    fn what_claims_to_be_huge_takes_no_memory() {
        for kind in [
            EntryType::XHeader,
            EntryType::GNULongName,
            EntryType::XGlobalHeader,
        ] {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(u64::MAX / 2);
            header.set_cksum();
            let error = read_all(header.as_bytes()).unwrap_err();
            assert!(matches!(error, FileError::Archive { .. }), "{error}");
        }
    }

    #[test]
    fn devices_and_their_like_are_refused_by_name() {
        for kind in [
            EntryType::Char,
            EntryType::Block,
            EntryType::Fifo,
            EntryType::GNUSparse,
        ] {
            let mut header = Header::new_gnu();
            header.set_path("dev/sda").unwrap();
            header.set_entry_type(kind);
            header.set_size(0);
            header.set_cksum();
            let error = read_all(header.as_bytes()).unwrap_err();
            assert!(matches!(error, FileError::Refused { .. }));
            assert!(error.to_string().contains("dev/sda"), "{error}");
        }
    }
}
