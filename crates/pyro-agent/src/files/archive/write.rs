//! Writes the headers of an archive. Contents are put between them by whoever has them.

use std::io::{self, Read};

use pyro_wire::frame::BULK_CHUNK;
use pyro_wire::sparse::{self, Part};
use tar::{EntryType, Header};

use crate::files::archive::read::{Member, MemberKind};
use crate::files::archive::{BLOCK, padding, pax};
use crate::files::status;

/// A chunk of what is sent, and a small file that begins just before its end.
const CAPACITY: usize = BULK_CHUNK + 64 * 1024;

/// What the fields of a plain header hold.
const NAME: usize = 100;
const SIZE: u64 = 0o77_777_777_777;
const MTIME: i64 = 0o77_777_777_777;

/// What comes at the end of an archive.
pub(crate) fn end() -> [u8; 2 * BLOCK] {
    [0; 2 * BLOCK]
}

/// What comes after a content of this size.
pub(crate) fn pad(size: u64) -> &'static [u8] {
    // Less than a block, so this always fits.
    &[0; BLOCK][..usize::try_from(padding(size)).unwrap_or(0)]
}

/// Collects the bytes of an archive until somebody takes them.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Begins a member.
    pub(crate) fn header(&mut self, member: &Member) {
        self.begin(member, member.size, records(member, member.size));
    }

    /// Begins a file that has content in these parts only. Says how much is stored of it, of which
    /// the contents of all parts, one after the other, are to follow.
    pub(crate) fn sparse(&mut self, member: &Member, parts: &[Part]) -> u64 {
        let map = sparse::map(parts);
        let stored = map.len() as u64 + sparse::data_size(parts);
        let mut records = records(member, stored);
        for (key, value) in sparse::records(member.size) {
            pax::append(&mut records, key, value.as_bytes());
        }
        self.begin(member, stored, records);
        self.content(&map);
        stored
    }

    fn begin(&mut self, member: &Member, stored: u64, records: Vec<u8>) {
        if !records.is_empty() {
            let mut header = Header::new_ustar();
            set_bytes(&mut header, b"pax", b"");
            header.set_entry_type(EntryType::XHeader);
            header.set_size(records.len() as u64);
            header.set_mode(0o644);
            self.block(header);
            self.content(&records);
            self.content(pad(records.len() as u64));
        }
        let (seconds, _) = status::seconds(member.mtime_ns);
        let mut header = Header::new_ustar();
        set_bytes(&mut header, &member.name, &member.link);
        header.set_entry_type(match member.kind {
            MemberKind::File => EntryType::Regular,
            MemberKind::Folder => EntryType::Directory,
            MemberKind::Symlink => EntryType::Symlink,
            MemberKind::HardLink => EntryType::Link,
        });
        header.set_mode(member.mode);
        header.set_size(if stored > SIZE { 0 } else { stored });
        header.set_mtime(u64::try_from(seconds.min(MTIME)).unwrap_or(0));
        self.block(header);
    }

    pub(crate) fn content(&mut self, content: &[u8]) {
        self.bytes.extend_from_slice(content);
    }

    pub(crate) fn zeroes(&mut self, count: usize) {
        self.bytes.resize(self.bytes.len() + count, 0);
    }

    /// Takes over what a file gives, at most this many bytes; says how many these were.
    pub(crate) fn read_from(&mut self, file: &mut impl Read, limit: usize) -> io::Result<usize> {
        file.take(limit as u64).read_to_end(&mut self.bytes)
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::replace(&mut self.bytes, Vec::with_capacity(CAPACITY))
    }

    fn block(&mut self, mut header: Header) {
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        self.content(header.as_bytes());
    }
}

/// What a plain header cannot hold of a member of which so much is stored.
fn records(member: &Member, stored: u64) -> Vec<u8> {
    let mut records = Vec::new();
    let (long_name, long_link) = (member.name.len() > NAME, member.link.len() > NAME);
    let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
    if long_name && !is_text(&member.name) || long_link && !is_text(&member.link) {
        pax::append(&mut records, "hdrcharset", b"BINARY");
    }
    if long_name {
        pax::append(&mut records, "path", &member.name);
    }
    if long_link {
        pax::append(&mut records, "linkpath", &member.link);
    }
    if stored > SIZE {
        pax::append(&mut records, "size", stored.to_string().as_bytes());
    }
    let (seconds, rest) = status::seconds(member.mtime_ns);
    if rest != 0 || !(0..=MTIME).contains(&seconds) {
        let time = pax::time_text(member.mtime_ns);
        pax::append(&mut records, "mtime", time.as_bytes());
    }
    records
}

/// Names as far as they fit; `tar` itself takes no others.
fn set_bytes(header: &mut Header, name: &[u8], link: &[u8]) {
    let plain = header.as_old_mut();
    for (field, value) in [(&mut plain.name, name), (&mut plain.linkname, link)] {
        let length = value.len().min(NAME);
        field[..length].copy_from_slice(&value[..length]);
    }
}
