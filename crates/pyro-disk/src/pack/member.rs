//! One member of an archive: a header of 512 bytes, and before it records for what that has no room for.

use tar::{EntryType, Header};

use crate::ext4::{Attribute, Inode};

/// What a field of a header holds: seven octal digits, and eleven.
const LARGEST_ID: u32 = 0o7_777_777;
const LARGEST_SIZE: u64 = 0o77_777_777_777;
const LARGEST_TIME: i64 = 0o77_777_777_777;

/// The fields for names.
const NAME: usize = 100;

const SECOND: i64 = 1_000_000_000;

/// All that stands before the contents.
pub(super) fn head(
    path: &[u8],
    inode: &Inode,
    kind: EntryType,
    target: &[u8],
    attributes: &[Attribute],
) -> Vec<u8> {
    let size = match kind {
        EntryType::Regular => inode.size,
        _ => 0,
    };
    let mut records = Vec::new();
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(inode.stat().mode & 0o7777);
    name(
        path,
        b"path",
        &mut header.as_mut_bytes()[..NAME],
        &mut records,
    );
    const LINK: usize = 157;
    let link = &mut header.as_mut_bytes()[LINK..LINK + NAME];
    name(target, b"linkpath", link, &mut records);
    for (id, key) in [(inode.owner, "uid"), (inode.group, "gid")] {
        if id > LARGEST_ID {
            record(key.as_bytes(), id.to_string().as_bytes(), &mut records);
        }
    }
    header.set_uid(inode.owner.min(LARGEST_ID).into());
    header.set_gid(inode.group.min(LARGEST_ID).into());
    if size > LARGEST_SIZE {
        record(b"size", size.to_string().as_bytes(), &mut records);
    }
    header.set_size(size.min(LARGEST_SIZE));
    let (seconds, rest) = (
        inode.mtime_ns.div_euclid(SECOND),
        inode.mtime_ns.rem_euclid(SECOND),
    );
    let fits = (0..=LARGEST_TIME).contains(&seconds);
    if rest != 0 || !fits {
        record(b"mtime", time(inode.mtime_ns).as_bytes(), &mut records);
    }
    header.set_mtime(seconds.clamp(0, LARGEST_TIME).unsigned_abs());
    for attribute in attributes {
        let key = [b"SCHILY.xattr.", attribute.name.as_slice()].concat();
        record(&key, &attribute.value, &mut records);
    }
    header.set_cksum();
    let mut bytes = Vec::new();
    if !records.is_empty() {
        let mut before = Header::new_ustar();
        before.set_entry_type(EntryType::XHeader);
        before.set_mode(0o644);
        before.as_mut_bytes()[..3].copy_from_slice(b"pax");
        before.set_size(records.len() as u64);
        before.set_cksum();
        bytes.extend_from_slice(before.as_bytes());
        bytes.extend_from_slice(&records);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend_from_slice(header.as_bytes());
    bytes
}

/// A name that is too long, or no plain text, has a record of its own.
fn name(name: &[u8], key: &[u8], field: &mut [u8], records: &mut Vec<u8>) {
    if name.len() > NAME || !name.is_ascii() {
        record(key, name, records);
    }
    let length = name.len().min(NAME);
    field[..length].copy_from_slice(&name[..length]);
}

/// `<length> <key>=<value>\n`, where the length counts the whole record.
fn record(key: &[u8], value: &[u8], records: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// Seconds since 1970 with their fraction. Before that both are below zero.
fn time(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let all = nanoseconds.unsigned_abs();
    let second = SECOND.unsigned_abs();
    format!("{sign}{}.{:09}", all / second, all % second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_itself() {
        for value in (1..120).chain(970..1000) {
            let mut records = Vec::new();
            record(b"size", "x".repeat(value).as_bytes(), &mut records);
            let text = String::from_utf8(records.clone()).unwrap();
            let (length, _) = text.split_once(' ').unwrap();
            assert_eq!(length.parse::<usize>().unwrap(), records.len(), "{value}");
        }
    }

    #[test]
    fn times_have_nine_digits_on_both_sides_of_1970() {
        assert_eq!(time(1_700_000_000_000_000_001), "1700000000.000000001");
        assert_eq!(time(-1_500_000_000), "-1.500000000");
    }
}
