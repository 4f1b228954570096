//! A folder of this host as a source.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use nix::fcntl::{self, OFlag};
use nix::sys::stat::{FileStat, Mode, fstat};
use pyro_wire::sparse::{self, Part};

use super::error::ImportError;
use super::folder_entries::changed_ns;
use super::folder_walk::{Found, Reading, walk};
use super::guest_index::GuestIndex;
use super::notes::Notes;
use super::pass::{Packed, report};
use crate::archive::{ArchiveWriter, Member, MemberKind};
use crate::progress::{OnProgress, Totals};

/// How much of a file is read at once.
const BUFFER: usize = 256 * 1024;

/// How many entries are visited, and bytes sent, between two reports.
const REPORT_EVERY: u64 = 256;
const REPORT_EVERY_BYTES: u64 = 4 * 1024 * 1024;

pub(super) fn survey(
    reading: Reading<'_>,
    notes: &mut Notes,
    on_progress: &mut OnProgress<'_>,
) -> Result<Totals, ImportError> {
    let mut totals = Totals::default();
    let mut names = FileNames::default();
    walk(reading, Some(notes), &mut |found| {
        let mut member = found.member.clone();
        names.link_if_seen(&mut member, &found);
        totals.add(&member);
        if totals.entries % REPORT_EVERY == 0 {
            report(on_progress, totals)?;
        }
        Ok(())
    })?;
    report(on_progress, totals)?;
    Ok(totals)
}

pub(super) fn pack<W: Write>(
    reading: Reading<'_>,
    index: Option<&GuestIndex>,
    to: &mut ArchiveWriter<W>,
    on_progress: &mut OnProgress<'_>,
) -> Result<Packed, ImportError> {
    let mut packed = Packed::default();
    // A file is sent as a link to another name only when that name was sent as well, so the whole
    // source and what is sent of it have first names of their own.
    let mut names = FileNames::default();
    let mut sent_names = FileNames::default();
    let mut buffer = vec![0; BUFFER];
    walk(reading, None, &mut |found| {
        let same = index.is_some_and(|index| index.has(&found.member, changed_ns(&found.stat)));
        let mut member = found.member.clone();
        names.link_if_seen(&mut member, &found);
        packed.whole.add(&member);
        let own = index.and_then(|index| index.repository_of(&found.member.name));
        if let (false, Some(own)) = (same, own) {
            packed.left_alone(own);
        } else if !same {
            let mut member = found.member.clone();
            sent_names.link_if_seen(&mut member, &found);
            let mut passed = packed.whole;
            passed.bytes -= member.size.min(passed.bytes);
            send(&found, &member, to, &mut buffer, &mut |sent| {
                let bytes = passed.bytes + sent;
                report(on_progress, Totals { bytes, ..passed })
            })?;
            packed.changed.add(&member);
        }
        if packed.whole.entries % REPORT_EVERY == 0 {
            report(on_progress, packed.whole)?;
        }
        Ok(())
    })?;
    report(on_progress, packed.whole)?;
    Ok(packed)
}

/// The first name of each file that has several.
#[derive(Default)]
struct FileNames(HashMap<(u64, u64), Vec<u8>>);

impl FileNames {
    /// Turns a file that came by under another name into a link to that.
    fn link_if_seen(&mut self, member: &mut Member, found: &Found<'_>) {
        let stat = &found.stat;
        if member.kind != MemberKind::File || stat.st_nlink < 2 || found.content.is_some() {
            return;
        }
        match self.0.entry((stat.st_dev, stat.st_ino)) {
            Entry::Occupied(first) => {
                let target = first.get().clone();
                member.kind = MemberKind::HardLink { target };
                member.size = 0;
            }
            Entry::Vacant(place) => {
                place.insert(member.name.clone());
            }
        }
    }
}

fn send<W: Write>(
    found: &Found<'_>,
    member: &Member,
    to: &mut ArchiveWriter<W>,
    buffer: &mut [u8],
    sent: &mut dyn FnMut(u64) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let stream = |source| ImportError::Stream { source };
    if member.kind != MemberKind::File {
        return to.member(member).map_err(stream);
    }
    if let Some(content) = found.content {
        to.member(member).map_err(stream)?;
        return to.data(content).map_err(stream);
    }
    let reading = ImportError::reading;
    let unreadable = |source| ImportError::unreadable(&member.name, source);
    // Should the name now be a FIFO, opening it must not wait for a writer.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = fcntl::openat(found.folder, found.name, flags, Mode::empty())
        .map_err(reading(&member.name))?;
    let before = fstat(&file).map_err(reading(&member.name))?;
    if !is_same(&before, &found.stat) {
        return Err(ImportError::changed(&member.name));
    }
    let file = File::from(file);
    let parts = sparse::parts_of(&file, member.size, before.st_blocks).map_err(unreadable)?;
    match &parts {
        Some(parts) => to.sparse(member, parts),
        None => to.member(member),
    }
    .map_err(stream)?;
    if member.size >= BUFFER as u64 {
        // Its data then travels, and is written, in whole pages.
        to.flush().map_err(stream)?;
    }
    let whole = [Part {
        offset: 0,
        length: member.size,
    }];
    for part in parts.as_deref().unwrap_or(&whole) {
        let (mut at, end) = (part.offset, part.offset + part.length);
        while at < end {
            let most = usize::try_from(end - at).map_or(buffer.len(), |n| n.min(buffer.len()));
            match file.read_at(&mut buffer[..most], at) {
                Ok(0) => return Err(ImportError::changed(&member.name)),
                Ok(count) => {
                    to.data(&buffer[..count]).map_err(stream)?;
                    let now = at + count as u64;
                    if at / REPORT_EVERY_BYTES != now / REPORT_EVERY_BYTES {
                        sent(now)?;
                    }
                    at = now;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
    }
    let after = fstat(&file).map_err(reading(&member.name))?;
    if !is_same(&after, &found.stat) {
        return Err(ImportError::changed(&member.name));
    }
    Ok(())
}

fn is_same(one: &FileStat, other: &FileStat) -> bool {
    let key = |stat: &FileStat| {
        let time = (stat.st_mtime, stat.st_mtime_nsec);
        (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_size, time)
    };
    key(one) == key(other)
}
