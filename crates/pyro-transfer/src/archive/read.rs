//! Reads a tar archive: ustar, GNU and pax headers, sparse files in all of GNU tar's forms, from a
//! stream that may be hostile.
//!
//! The `tar` crate parses single headers. Its own archive reader is not used, because it keeps
//! long names and pax records in memory however long they say they are, and loses names with a
//! newline.

use std::io::{self, Read};

use pyro_wire::sparse::{self, BadMap, MapReader, Part, Stored};
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::member::{FIFO, Member, MemberKind};

/// Tar's unit: headers are one block, data is filled up to whole ones.
pub(super) const BLOCK: usize = 512;

/// The longest extended header that is read: room for two paths, some comments and the map of a
/// sparse file.
const LONGEST_EXTENSION: u64 = 8 * 1024 * 1024;

/// How many extended headers may precede one member. Real archives have at most three.
const MOST_EXTENSIONS: u32 = 16;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("reading the archive failed")]
    Io {
        #[source]
        source: io::Error,
    },
    #[error("the archive is truncated")]
    Truncated,
    #[error("the archive is damaged at byte {offset}: {what}")]
    Damaged { offset: u64, what: &'static str },
    #[error("the archive is damaged at byte {offset}")]
    BadMap {
        offset: u64,
        #[source]
        source: BadMap,
    },
}

pub struct ArchiveReader<R> {
    from: R,
    /// Bytes read so far.
    offset: u64,
    /// Bytes of the current member's data that were not read yet.
    remaining: u64,
    /// Bytes that fill up its last block.
    padding: u64,
    /// Where the data of the current member belongs, when it has holes.
    parts: Option<Vec<Part>>,
    /// How much of the data was read, for where the next of it belongs: the part, and how far in it.
    part: usize,
    within: u64,
    /// Of the current member.
    owner: Option<(u64, u64)>,
    attributes: Vec<Attribute>,
    /// Whether the stream may end where a member does.
    may_just_end: bool,
}

/// An extended attribute: its name and its value.
pub type Attribute = (Vec<u8>, Vec<u8>);

/// What comes before the name of an extended attribute in the key of its pax record.
pub(super) const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

/// What extended headers say about the member after them.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    mtime_ns: Option<i64>,
    user: Option<u64>,
    group: Option<u64>,
    attributes: Vec<Attribute>,
    sparse: sparse::Records,
}

impl<R: Read> ArchiveReader<R> {
    pub fn new(from: R) -> Self {
        Self {
            from,
            offset: 0,
            remaining: 0,
            padding: 0,
            parts: None,
            part: 0,
            within: 0,
            owner: None,
            attributes: Vec::new(),
            may_just_end: false,
        }
    }

    /// Takes the end of the stream after a whole member for the end mark, which some tools leave out, with what fills
    /// up the last block. For whoever can tell otherwise that nothing is missing.
    #[must_use]
    pub fn without_end_mark(mut self) -> Self {
        self.may_just_end = true;
        self
    }

    /// What it reads from.
    pub fn get_ref(&self) -> &R {
        &self.from
    }

    pub fn into_inner(self) -> R {
        self.from
    }

    /// How many bytes of the archive were read: after [`Self::next_member`], where its data begins.
    pub fn position(&self) -> u64 {
        self.offset
    }

    /// The user and the group that the current member belongs to, where they are numbers.
    pub fn owner(&self) -> Option<(u64, u64)> {
        self.owner
    }

    /// The extended attributes of the current member.
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// Where the current member's data belongs, when it is a file with holes.
    pub fn parts(&self) -> Option<&[Part]> {
        self.parts.as_deref()
    }

    /// The next member, after what is left of the one before was skipped; `None` at the end mark.
    /// An archive without an end mark is truncated, unless [it may be](Self::without_end_mark).
    pub fn next_member(&mut self) -> Result<Option<Member>, ArchiveError> {
        self.skip_rest()?;
        (self.parts, self.part, self.within) = (None, 0, 0);
        let mut extension = Extension::default();
        for _ in 0..MOST_EXTENSIONS {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = header.entry_size().map_err(|_| self.damaged("no size"))?;
            match header.entry_type() {
                EntryType::GNULongName => {
                    extension.name = Some(until_zero(self.extension(size)?));
                }
                EntryType::GNULongLink => {
                    extension.link = Some(until_zero(self.extension(size)?));
                }
                EntryType::XHeader => {
                    let records = self.extension(size)?;
                    self.read_pax(&records, &mut extension)?;
                }
                // Defaults for all members: a comment, as `git archive` writes it.
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                kind => return self.member(&header, kind, size, extension).map(Some),
            }
        }
        Err(self.damaged("too many extended headers"))
    }

    /// Reads on until the stream ends, so that a decompressor compares its checksum, but not for
    /// ever: tools fill their last record with some zeros.
    pub fn finish(&mut self) -> Result<(), ArchiveError> {
        const MOST_FILLING: u64 = 16 * 1024 * 1024;
        io::copy(&mut (&mut self.from).take(MOST_FILLING), &mut io::sink())
            .map(drop)
            .map_err(io_failed)
    }

    fn member(
        &mut self,
        header: &Header,
        entry_type: EntryType,
        header_size: u64,
        mut extension: Extension,
    ) -> Result<Member, ArchiveError> {
        let user = extension.user.or(header.uid().ok());
        self.owner = user.zip(extension.group.or(header.gid().ok()));
        self.attributes = std::mem::take(&mut extension.attributes);
        let name = (extension.sparse.name.clone())
            .or(extension.name)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extension.link.unwrap_or_else(|| {
            let link = header.link_name_bytes();
            link.map(std::borrow::Cow::into_owned).unwrap_or_default()
        });
        let kind = match entry_type {
            // Archives older than the type for folders mark them with a slash.
            EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => {
                MemberKind::Folder
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => MemberKind::File,
            EntryType::Directory => MemberKind::Folder,
            EntryType::Symlink => MemberKind::Symlink { target: link },
            EntryType::Link => MemberKind::HardLink { target: link },
            EntryType::Fifo => MemberKind::Special(FIFO),
            EntryType::Char | EntryType::Block => MemberKind::Special("a device"),
            _ => MemberKind::Special("of an unknown kind"),
        };
        let stored = extension.size.unwrap_or(header_size);
        // A link or folder may state a size that no data stands behind.
        let size = match kind {
            MemberKind::File => {
                let how = match entry_type {
                    EntryType::GNUSparse => self.old_map(header)?,
                    _ => extension.sparse.stored().map_err(|bad| self.bad(bad))?,
                };
                self.expect_file(stored, how)?
            }
            MemberKind::Special(_) => {
                self.expect_data(stored)?;
                0
            }
            MemberKind::Folder | MemberKind::Symlink { .. } | MemberKind::HardLink { .. } => 0,
        };
        let seconds = header.mtime().map_err(|_| self.damaged("no time"))?;
        let mtime_ns = extension.mtime_ns.unwrap_or_else(|| {
            // A binary field may be negative, which the crate does not know.
            seconds.cast_signed().saturating_mul(1_000_000_000)
        });
        Ok(Member {
            name,
            mode: header.mode().map_err(|_| self.damaged("no mode"))? & 0o7777,
            mtime_ns,
            size,
            kind,
        })
    }

    /// Makes ready for a file's data, of which so much is stored; says how long the file is.
    fn expect_file(&mut self, stored: u64, how: Stored) -> Result<u64, ArchiveError> {
        self.expect_data(stored)?;
        let (real_size, parts) = match how {
            Stored::Plain => return Ok(stored),
            Stored::Mapped { real_size, parts } => (real_size, parts),
            Stored::MapInData { real_size } => {
                let mut reader = MapReader::default();
                loop {
                    let block = self.data_block()?;
                    if reader.block(&block).map_err(|bad| self.bad(bad))? {
                        break (real_size, reader.parts());
                    }
                }
            }
        };
        sparse::check(&parts, real_size, self.remaining).map_err(|bad| self.bad(bad))?;
        self.parts = Some(parts);
        Ok(real_size)
    }

    /// The map of an old GNU archive: four parts in the header, more in blocks after it.
    fn old_map(&mut self, header: &Header) -> Result<Stored, ArchiveError> {
        let gnu = header.as_gnu();
        let gnu = gnu.ok_or_else(|| self.damaged("a sparse file in a header that has none"))?;
        let real_size = gnu.real_size();
        let real_size = real_size.map_err(|_| self.damaged("no size of a sparse file"))?;
        let mut parts = Vec::new();
        let mut take = |all: &[GnuSparseHeader]| {
            for one in all.iter().filter(|one| !one.is_empty()) {
                let (Ok(offset), Ok(length)) = (one.offset(), one.length()) else {
                    return Err(BadMap::Malformed);
                };
                parts.push(Part { offset, length });
            }
            match parts.len() > sparse::MOST_PARTS {
                true => Err(BadMap::TooLong),
                false => Ok(()),
            }
        };
        take(&gnu.sparse).map_err(|bad| self.bad(bad))?;
        let mut goes_on = gnu.is_extended();
        while goes_on {
            let mut more = GnuExtSparseHeader::new();
            self.fill(more.as_mut_bytes())?;
            take(more.sparse()).map_err(|bad| self.bad(bad))?;
            goes_on = more.is_extended();
        }
        Ok(Stored::Mapped { real_size, parts })
    }

    /// A header, or `None` at the end mark. One block of zeros is enough of a mark, as for tar.
    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut header = Header::new_old();
        if self.may_just_end && self.has_ended(header.as_mut_bytes())? {
            return Ok(None);
        }
        let read = usize::from(self.may_just_end);
        self.fill(&mut header.as_mut_bytes()[read..])?;
        let bytes = header.as_bytes();
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        // The sum is taken with the sum's own field as spaces.
        let sum: u32 = bytes
            .iter()
            .enumerate()
            .map(|(at, &byte)| {
                if (148..156).contains(&at) {
                    32
                } else {
                    u32::from(byte)
                }
            })
            .sum();
        if header.cksum().ok() != Some(sum) {
            return Err(self.damaged("a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > LONGEST_EXTENSION {
            return Err(self.damaged("an extended header is longer than the 8 MiB that are read"));
        }
        self.expect_data(size)?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += self.read(&mut bytes[filled..])?;
        }
        self.skip_rest()?;
        Ok(bytes)
    }

    /// Records of the form `LENGTH KEY=VALUE\n`, where the length counts all of it.
    fn read_pax(&self, records: &[u8], into: &mut Extension) -> Result<(), ArchiveError> {
        let malformed = || self.damaged("a pax record is malformed");
        let mut rest = records;
        while !rest.is_empty() {
            let space = rest.iter().position(|&byte| byte == b' ');
            let length = space
                .and_then(|space| number(&rest[..space]))
                .and_then(|length| usize::try_from(length).ok())
                .filter(|&length| length <= rest.len())
                .ok_or_else(malformed)?;
            let record = space
                .and_then(|space| rest.get(space + 1..length))
                .and_then(|record| record.strip_suffix(b"\n"))
                .ok_or_else(malformed)?;
            rest = &rest[length..];
            let equals = record
                .iter()
                .position(|&byte| byte == b'=')
                .ok_or_else(malformed)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => into.name = Some(value.to_vec()),
                b"linkpath" => into.link = Some(value.to_vec()),
                b"size" => into.size = Some(number(value).ok_or_else(malformed)?),
                b"uid" => into.user = Some(number(value).ok_or_else(malformed)?),
                b"gid" => into.group = Some(number(value).ok_or_else(malformed)?),
                _ if key.starts_with(ATTRIBUTE) => {
                    let name = key[ATTRIBUTE.len()..].to_vec();
                    into.attributes.push((name, value.to_vec()));
                }
                b"mtime" => into.mtime_ns = Some(nanoseconds(value).ok_or_else(malformed)?),
                _ => into.sparse.take(key, value).map_err(|bad| self.bad(bad))?,
            }
        }
        Ok(())
    }

    fn expect_data(&mut self, size: u64) -> Result<(), ArchiveError> {
        let block = BLOCK as u64;
        // A length near the end of the number range is nonsense, and would overflow below.
        if size > u64::MAX / 2 {
            return Err(self.damaged("a member's size is impossible"));
        }
        self.remaining = size;
        self.padding = size.next_multiple_of(block) - size;
        Ok(())
    }

    fn data_block(&mut self) -> Result<[u8; BLOCK], ArchiveError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.read(&mut block[filled..])? {
                0 => return Err(self.damaged("the map of a sparse file is cut off")),
                count => filled += count,
            }
        }
        Ok(block)
    }

    /// Reads some of the current member's data, and says where in the file it belongs; no bytes only
    /// at its end or for an empty buffer.
    pub fn read_part(&mut self, buffer: &mut [u8]) -> Result<(u64, usize), ArchiveError> {
        let Some(parts) = &self.parts else {
            let at = self.within;
            let count = self.read(buffer)?;
            self.within += count as u64;
            return Ok((at, count));
        };
        let mut rest = parts[self.part.min(parts.len())..].iter();
        let Some(part) = rest.find(|part| {
            let ends_here = part.length == self.within;
            if ends_here {
                (self.part, self.within) = (self.part + 1, 0);
            }
            !ends_here
        }) else {
            return Ok((0, 0));
        };
        let (at, left) = (part.offset + self.within, part.length - self.within);
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.read(&mut buffer[..most])?;
        self.within += count as u64;
        Ok((at, count))
    }

    /// Reads the current member's data as it is stored, without holes; 0 only at its end or for an
    /// empty buffer.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let most = usize::try_from(self.remaining).map_or(buffer.len(), |n| n.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        loop {
            match self.from.read(&mut buffer[..most]) {
                Ok(0) => return Err(ArchiveError::Truncated),
                Ok(count) => {
                    self.offset += count as u64;
                    self.remaining -= count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_failed(error)),
            }
        }
    }

    fn skip_rest(&mut self) -> Result<(), ArchiveError> {
        let skip = self.remaining + self.padding;
        if skip == 0 {
            return Ok(());
        }
        let skipped =
            io::copy(&mut (&mut self.from).take(skip), &mut io::sink()).map_err(io_failed)?;
        self.offset += skipped;
        if skipped < skip && !(self.may_just_end && skipped >= self.remaining) {
            return Err(ArchiveError::Truncated);
        }
        self.remaining = 0;
        self.padding = 0;
        Ok(())
    }

    /// Whether nothing comes any more; otherwise reads the first byte of what comes.
    fn has_ended(&mut self, buffer: &mut [u8]) -> Result<bool, ArchiveError> {
        loop {
            match self.from.read(&mut buffer[..1]) {
                Ok(count) => {
                    self.offset += count as u64;
                    return Ok(count == 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_failed(error)),
            }
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        self.from.read_exact(buffer).map_err(io_failed)?;
        self.offset += buffer.len() as u64;
        Ok(())
    }

    fn bad(&self, source: BadMap) -> ArchiveError {
        ArchiveError::BadMap {
            offset: self.offset,
            source,
        }
    }

    fn damaged(&self, what: &'static str) -> ArchiveError {
        ArchiveError::Damaged {
            offset: self.offset,
            what,
        }
    }
}

fn io_failed(source: io::Error) -> ArchiveError {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => ArchiveError::Truncated,
        _ => ArchiveError::Io { source },
    }
}

fn until_zero(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|&byte| byte == 0);
    bytes.truncate(end.unwrap_or(bytes.len()));
    bytes
}

fn number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Seconds with an optional sign and fraction, as nanoseconds.
fn nanoseconds(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = i64::try_from(number(seconds.as_bytes())?).unwrap_or(i64::MAX);
    let mut nanos = 0;
    for place in 0..9 {
        let digit = fraction.as_bytes().get(place).map_or(0, |byte| byte - b'0');
        nanos = nanos * 10 + i64::from(digit);
    }
    let whole = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    Some(if negative { -whole } else { whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A whole archive of one header and its data.
    fn archive(header: &Header, data: &[u8]) -> Vec<u8> {
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
        bytes
    }

    fn header(kind: EntryType, name: &str, size: u64) -> Header {
        let mut header = Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(1);
        header.set_cksum();
        header
    }

    fn first(bytes: &[u8]) -> Result<Option<Member>, ArchiveError> {
        ArchiveReader::new(bytes).next_member()
    }

    #[test]
    fn times_have_signs_and_fractions() {
        assert_eq!(nanoseconds(b"1.5"), Some(1_500_000_000));
        assert_eq!(nanoseconds(b"-1.25"), Some(-1_250_000_000));
        assert_eq!(nanoseconds(b"7"), Some(7_000_000_000));
        assert_eq!(nanoseconds(b"1.0000000019"), Some(1_000_000_001));
        assert_eq!(nanoseconds(b"99999999999999"), Some(i64::MAX));
        assert_eq!(nanoseconds(b"1.x"), None);
        assert_eq!(nanoseconds(b"--1"), None);
        assert_eq!(nanoseconds(b""), None);
    }

    #[test]
    fn an_extension_that_says_it_is_huge_is_refused_before_it_is_read() {
        for kind in [EntryType::GNULongName, EntryType::XHeader] {
            let bytes = archive(&header(kind, "x", 1 << 40), b"");
            assert!(matches!(first(&bytes), Err(ArchiveError::Damaged { .. })));
        }
    }

    #[test]
    fn extensions_without_end_are_refused() {
        let one = header(EntryType::XGlobalHeader, "x", 0);
        let bytes = one.as_bytes().repeat(1000);
        assert!(matches!(first(&bytes), Err(ArchiveError::Damaged { .. })));
    }

    #[test]
    fn damage_and_a_missing_end_are_told() {
        let whole = archive(&header(EntryType::Regular, "x", 3), b"abc");
        assert_eq!(first(&whole).unwrap().unwrap().size, 3);
        let mut flipped = whole.clone();
        flipped[0] ^= 1;
        assert!(matches!(first(&flipped), Err(ArchiveError::Damaged { .. })));
        for length in [0, 100, 512, 513, 1024] {
            let mut reader = ArchiveReader::new(&whole[..length]);
            let cut = loop {
                match reader.next_member() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{length} bytes passed for a whole archive"),
                    Err(error) => break error,
                }
            };
            assert!(matches!(cut, ArchiveError::Truncated), "{length}: {cut}");
        }
    }

    #[test]
    fn where_an_end_mark_may_be_missing_only_a_whole_member_is_the_end() {
        let whole = archive(&header(EntryType::Regular, "x", 3), b"abc");
        let members = |length: usize| {
            let mut reader = ArchiveReader::new(&whole[..length]).without_end_mark();
            let mut count = 0;
            while reader.next_member()?.is_some() {
                count += 1;
            }
            Ok::<_, ArchiveError>(count)
        };
        // Nothing; the data without what fills its block; the member; the member and one or two blocks of zeros.
        for (length, count) in [(0, 0), (515, 1), (1024, 1), (1536, 1), (2048, 1)] {
            assert_eq!(members(length).unwrap(), count, "{length}");
        }
        for length in [1, 511, 512, 514, 1025, 1535] {
            let error = members(length).unwrap_err();
            assert!(
                matches!(error, ArchiveError::Truncated),
                "{length}: {error}"
            );
        }
    }

    #[test]
    fn a_pax_record_may_hold_a_newline_and_a_size() {
        let mut records = Vec::new();
        for (key, value) in [("path", "a\nb"), ("size", "5"), ("mtime", "2.5")] {
            // All of these records are shorter than 100 bytes: two digits and a space.
            let length = key.len() + value.len() + 5;
            records.extend_from_slice(format!("{length:02} {key}={value}\n").as_bytes());
        }
        let pax = header(EntryType::XHeader, "x", records.len() as u64);
        let mut bytes = pax.as_bytes().to_vec();
        bytes.extend_from_slice(&records);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes.extend(archive(&header(EntryType::Regular, "y", 0), b"hello"));

        let mut reader = ArchiveReader::new(bytes.as_slice());
        let member = reader.next_member().unwrap().unwrap();
        assert_eq!(member.name, b"a\nb");
        assert_eq!((member.size, member.mtime_ns), (5, 2_500_000_000));
        let mut data = [0; 9];
        assert_eq!(reader.read(&mut data).unwrap(), 5);
        assert_eq!(&data[..5], b"hello");
        assert_eq!(reader.next_member().unwrap(), None);
    }

    #[test]
    fn any_bytes_give_members_or_an_error() {
        let mut seed = 0x2545_f491_u32;
        let whole = archive(&header(EntryType::Regular, "dir/x", 700), &[7; 700]);
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..4 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = seed as usize % BLOCK;
                bytes[at] = (seed >> 24) as u8;
            }
            // With its checksum repaired, the rest of a damaged header is really looked at.
            let mut header = Header::from_byte_slice(&bytes[..BLOCK]).clone();
            header.set_cksum();
            bytes[..BLOCK].copy_from_slice(header.as_bytes());
            let mut reader = ArchiveReader::new(bytes.as_slice());
            while let Ok(Some(member)) = reader.next_member() {
                assert!(member.mode <= 0o7777);
            }
        }
    }
}
