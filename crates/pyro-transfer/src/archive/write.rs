//! Writes a tar archive that the agent and GNU tar read alike.
//!
//! ```text
//! name, target up to 100 bytes (or 255 where it can be split)   ustar header
//! longer ones                                                   GNU long name before it
//! parts of a second, times before 1970                          pax record before it
//! holes                                                         pax records and map of GNU tar's 1.0
//! ```
//!
//! Long names are no pax records, because readers split those at newlines, which names may have.

use std::io::{self, Write};

use pyro_wire::sparse::{self, Part};
use tar::{EntryType, Header};

use super::member::{Member, MemberKind};
use super::read::{ATTRIBUTE, Attribute, BLOCK};

/// The name of headers that are about the next one. Nothing ever reads it.
const EXTENSION_NAME: &str = "././@LongLink";

/// What a member has beside what every file system keeps: its owner, and its extended attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belongings {
    pub user: u32,
    pub group: u32,
    pub attributes: Vec<Attribute>,
}

pub struct ArchiveWriter<W> {
    to: W,
    /// Data that the current file still has to get.
    owed: u64,
    padding: usize,
}

impl<W: Write> ArchiveWriter<W> {
    pub fn new(to: W) -> Self {
        Self {
            to,
            owed: 0,
            padding: 0,
        }
    }

    /// Writes a header. Exactly the member's `size` of [`data`](Self::data) has to follow.
    pub fn member(&mut self, member: &Member) -> io::Result<()> {
        self.begin(member, None)
    }

    /// Writes the header of a file that has data in these parts only. Just that data has to follow.
    pub fn sparse(&mut self, member: &Member, parts: &[Part]) -> io::Result<()> {
        self.begin(member, Some(parts))
    }

    /// Writes a header that says whose the member is, and its extended attributes.
    pub fn member_of(&mut self, member: &Member, of: &Belongings) -> io::Result<()> {
        self.begin_of(member, None, of)
    }

    /// The same for a file that has data in these parts only.
    pub fn sparse_of(
        &mut self,
        member: &Member,
        parts: &[Part],
        of: &Belongings,
    ) -> io::Result<()> {
        self.begin_of(member, Some(parts), of)
    }

    fn begin(&mut self, member: &Member, parts: Option<&[Part]>) -> io::Result<()> {
        self.begin_of(member, parts, &Belongings::default())
    }

    fn begin_of(
        &mut self,
        member: &Member,
        parts: Option<&[Part]>,
        of: &Belongings,
    ) -> io::Result<()> {
        self.settle()?;
        let map = parts.map(sparse::map).unwrap_or_default();
        let stored = match parts {
            Some(parts) => map.len() as u64 + sparse::data_size(parts),
            None => member.size,
        };
        let mut header = Header::new_ustar();
        let (kind, target) = match &member.kind {
            MemberKind::File => (EntryType::Regular, None),
            MemberKind::Folder => (EntryType::Directory, None),
            MemberKind::Symlink { target } => (EntryType::Symlink, Some(target)),
            MemberKind::HardLink { target } => (EntryType::Link, Some(target)),
            MemberKind::Special(what) => {
                return Err(io::Error::other(format!("{what} cannot be packed")));
            }
        };
        header.set_entry_type(kind);
        header.set_mode(member.mode);
        header.set_uid(of.user.into());
        header.set_gid(of.group.into());
        header.set_size(stored);

        let seconds = member.mtime_ns.div_euclid(1_000_000_000);
        let nanos = member.mtime_ns.rem_euclid(1_000_000_000);
        header.set_mtime(u64::try_from(seconds).unwrap_or(0));
        let mut records = Vec::new();
        if nanos != 0 || seconds < 0 {
            append(&mut records, b"mtime", time(member.mtime_ns).as_bytes());
        }
        if parts.is_some() {
            for (key, value) in sparse::records(member.size) {
                append(&mut records, key.as_bytes(), value.as_bytes());
            }
        }
        for (name, value) in &of.attributes {
            append(&mut records, &[ATTRIBUTE, name].concat(), value);
        }
        if !records.is_empty() {
            self.extension(EntryType::XHeader, &records)?;
        }
        if let Some(target) = target
            && !put_link(&mut header, target)
        {
            self.long(EntryType::GNULongLink, target)?;
        }
        if !put_name(&mut header, &member.name) {
            self.long(EntryType::GNULongName, &member.name)?;
        }
        header.set_cksum();
        self.to.write_all(header.as_bytes())?;

        self.owed = stored;
        let past = usize::try_from(stored % BLOCK as u64).unwrap_or_default();
        self.padding = if past == 0 { 0 } else { BLOCK - past };
        self.data(&map)
    }

    /// Writes some of the current file's data.
    pub fn data(&mut self, data: &[u8]) -> io::Result<()> {
        self.owed = self
            .owed
            .checked_sub(data.len() as u64)
            .ok_or_else(|| io::Error::other("more data than the header promised"))?;
        self.to.write_all(data)
    }

    /// Has what was written go out, so that what comes next is not cut where it fills up a buffer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// Writes the end mark and returns what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.settle()?;
        self.to.write_all(&[0; 2 * BLOCK])?;
        self.to.flush()?;
        Ok(self.to)
    }

    /// Fills up the last block of the file before.
    fn settle(&mut self) -> io::Result<()> {
        if self.owed != 0 {
            return Err(io::Error::other("less data than the header promised"));
        }
        let padding = std::mem::take(&mut self.padding);
        self.to.write_all(&[0; BLOCK][..padding])
    }

    fn long(&mut self, kind: EntryType, name: &[u8]) -> io::Result<()> {
        let mut terminated = name.to_vec();
        terminated.push(0);
        self.extension(kind, &terminated)
    }

    fn extension(&mut self, kind: EntryType, data: &[u8]) -> io::Result<()> {
        let mut header = Header::new_ustar();
        put(&mut header.as_old_mut().name, EXTENSION_NAME.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(data.len() as u64);
        header.set_cksum();
        let mut blocks = header.as_bytes().to_vec();
        blocks.extend_from_slice(data);
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
        self.to.write_all(&blocks)
    }
}

/// Writes a name into the header's two fields, if it fits. The crate's own setters drop `.` parts
/// and refuse what is not UTF-8 on other systems.
fn put_name(header: &mut Header, name: &[u8]) -> bool {
    let Some(fields) = header.as_ustar_mut() else {
        return false;
    };
    if put(&mut fields.name, name) {
        return true;
    }
    // The slash between the fields is not written.
    let from = name.len().saturating_sub(fields.name.len() + 1);
    let slash = (from..name.len().min(fields.prefix.len() + 1)).find(|&at| name[at] == b'/');
    match slash {
        Some(slash) if slash > 0 && slash + 1 < name.len() => {
            put(&mut fields.prefix, &name[..slash]) && put(&mut fields.name, &name[slash + 1..])
        }
        _ => {
            // What stands here is for readers that do not know long names.
            let start = name.len().min(fields.name.len());
            put(&mut fields.name, &name[..start]);
            false
        }
    }
}

fn put_link(header: &mut Header, target: &[u8]) -> bool {
    put(&mut header.as_old_mut().linkname, target)
}

fn put(field: &mut [u8], bytes: &[u8]) -> bool {
    match field.get_mut(..bytes.len()) {
        Some(start) => {
            start.copy_from_slice(bytes);
            true
        }
        None => false,
    }
}

/// Appends `LENGTH KEY=VALUE\n`, where the length counts itself.
fn append(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn time(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let absolute = ns.unsigned_abs();
    let (seconds, rest) = (absolute / 1_000_000_000, absolute % 1_000_000_000);
    format!("{sign}{seconds}.{rest:09}")
}

#[cfg(test)]
mod tests {
    use super::super::read::ArchiveReader;
    use super::*;

    fn member(name: &[u8], kind: MemberKind, mtime_ns: i64) -> Member {
        Member {
            name: name.to_vec(),
            kind,
            mode: 0o640,
            mtime_ns,
            size: 0,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let long_target = b"../".repeat(60);
        let members = [
            member(b"a", MemberKind::File, 1_500_000_000_123_456_789),
            member(&[b'x'; 100], MemberKind::Folder, 0),
            member(&[b'x'; 101], MemberKind::File, 0),
            member(
                &[&[b'd'; 155][..], b"/", &[b'n'; 100]].concat(),
                MemberKind::File,
                0,
            ),
            member(
                &[&[b'd'; 156][..], b"/", &[b'n'; 100]].concat(),
                MemberKind::File,
                0,
            ),
            member(
                &[&[b'd'; 90][..], b"/", &[b'n'; 120]].concat(),
                MemberKind::File,
                0,
            ),
            member(&b"deep/".repeat(200), MemberKind::Folder, -1_500_000_000),
            member(
                b"new\nline \xff\"'",
                MemberKind::Symlink {
                    target: b"a".to_vec(),
                },
                1,
            ),
            member(
                b"l",
                MemberKind::Symlink {
                    target: long_target,
                },
                7_000_000_000,
            ),
            member(
                b"h",
                MemberKind::HardLink {
                    target: vec![b'x'; 101],
                },
                0,
            ),
        ];
        let mut writer = ArchiveWriter::new(Vec::new());
        for member in &members {
            writer.member(member).unwrap();
        }
        let bytes = writer.finish().unwrap();

        let mut reader = ArchiveReader::new(bytes.as_slice());
        for member in &members {
            assert_eq!(reader.next_member().unwrap().as_ref(), Some(member));
        }
        assert_eq!(reader.next_member().unwrap(), None);

        // The agent reads with the whole of the `tar` crate.
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut entries = archive.entries().unwrap();
        for member in &members {
            let entry = entries.next().unwrap().unwrap();
            assert_eq!(entry.path_bytes().as_ref(), member.name);
        }
        assert!(entries.next().is_none());
    }

    #[test]
    fn whose_a_member_is_survives() {
        let file = member(b"f", MemberKind::File, 0);
        let of = Belongings {
            user: 3_000_000,
            group: 7,
            attributes: vec![(b"security.capability".to_vec(), vec![b'\n', 0, 0xff, b'='])],
        };
        let mut writer = ArchiveWriter::new(Vec::new());
        writer.member_of(&file, &of).unwrap();
        let bytes = writer.finish().unwrap();
        let mut reader = ArchiveReader::new(bytes.as_slice());
        assert_eq!(reader.next_member().unwrap(), Some(file));
        assert_eq!(reader.owner(), Some((3_000_000, 7)));
        assert_eq!(reader.attributes(), of.attributes);
    }

    #[test]
    fn a_size_that_octal_digits_cannot_hold_survives() {
        let mut big = member(b"big", MemberKind::File, 0);
        big.size = 9 << 30;
        let mut writer = ArchiveWriter::new(Vec::new());
        writer.member(&big).unwrap();
        let mut reader = ArchiveReader::new(writer.to.as_slice());
        assert_eq!(reader.next_member().unwrap(), Some(big));
    }

    #[test]
    fn holes_are_read_back_where_they_were() {
        let parts = [(0, 3), (1 << 33, 700), (5 << 33, 0)];
        let parts = parts.map(|(offset, length)| Part { offset, length });
        let mut file = member(b"sparse", MemberKind::File, 1_500_000_001);
        file.size = 5 << 33;
        let plain = Member {
            size: 1,
            ..member(b"plain", MemberKind::File, 0)
        };
        let mut writer = ArchiveWriter::new(Vec::new());
        writer.sparse(&file, &parts).unwrap();
        writer.data(&[7; 703]).unwrap();
        writer.member(&plain).unwrap();
        writer.data(b"x").unwrap();
        let bytes = writer.finish().unwrap();
        let mut reader = ArchiveReader::new(bytes.as_slice());
        assert_eq!(reader.next_member().unwrap(), Some(file));
        assert_eq!(reader.parts(), Some(&parts[..]));
        let mut buffer = [0; 1000];
        assert_eq!(reader.read_part(&mut buffer).unwrap(), (0, 3));
        assert_eq!(
            reader.read_part(&mut buffer[..600]).unwrap(),
            (1 << 33, 600)
        );
        assert_eq!(
            reader.read_part(&mut buffer).unwrap(),
            ((1 << 33) + 600, 100)
        );
        assert_eq!(reader.read_part(&mut buffer).unwrap().1, 0);
        assert_eq!(reader.next_member().unwrap(), Some(plain));
        assert_eq!(reader.parts(), None);
        assert_eq!(reader.read_part(&mut buffer).unwrap(), (0, 1));
        assert_eq!(reader.next_member().unwrap(), None);
    }

    #[test]
    fn the_data_must_be_as_long_as_promised() {
        let mut file = member(b"f", MemberKind::File, 0);
        file.size = 3;
        let mut writer = ArchiveWriter::new(Vec::new());
        writer.member(&file).unwrap();
        assert!(writer.data(b"abcd").is_err());
        let mut writer = ArchiveWriter::new(Vec::new());
        writer.member(&file).unwrap();
        writer.data(b"ab").unwrap();
        assert!(writer.finish().is_err());
    }
}
