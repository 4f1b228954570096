//! An archive of this host as a source. It is read twice: names first, so that nothing is sent of
//! one that is unfit, then everything.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::error::ImportError;
use super::file_identity::FileIdentity;
use super::gitfile::borrows;
use super::guest_index::GuestIndex;
use super::members::{Members, fit, left_out};
use super::notes::Notes;
use super::pass::{Packed, report};
use super::patterns::{DOT_GIT, Patterns};
use crate::archive::{ArchiveError, ArchiveReader, ArchiveWriter, Member, MemberKind};
use crate::names::{relative, split, stays_inside};
use crate::progress::{OnProgress, Totals};

const ALTERNATES: &[u8] = b"objects/info/alternates";

const BUFFER: usize = 256 * 1024;

/// How much is read of a file that says where a repository is.
const LONGEST: u64 = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.as_bytes().to_ascii_lowercase();
        if name.ends_with(b".tar") {
            Some(Self::None)
        } else if name.ends_with(b".tar.gz") || name.ends_with(b".tgz") {
            Some(Self::Gzip)
        } else if name.ends_with(b".tar.zst") {
            Some(Self::Zstd)
        } else {
            None
        }
    }
}

type Reader = ArchiveReader<Box<dyn Read>>;

pub(super) fn survey(
    path: &Path,
    compression: Compression,
    patterns: &Patterns,
    notes: &mut Notes,
    on_progress: &mut OnProgress<'_>,
) -> Result<(FileIdentity, Members), ImportError> {
    let damaged = damaged(path);
    let file = File::open(path).map_err(ImportError::unusable(path))?;
    let identity = FileIdentity::of(&file).map_err(ImportError::unusable(path))?;
    let mut reader = open(file, compression, path)?;
    let mut members = Members::default();
    let mut seen = Totals::default();
    let mut buffer = vec![0; 4096];
    while let Some(member) = reader.next_member().map_err(&damaged)? {
        seen.add(&member);
        report(on_progress, seen)?;
        let told = match left_out(&member, patterns) {
            true => None,
            false => repository_file(&member),
        };
        members.add(member, patterns, notes)?;
        if let Some(name) = told {
            let mut content = Vec::new();
            while (content.len() as u64) < LONGEST {
                let count = reader.read(&mut buffer).map_err(&damaged)?;
                if count == 0 {
                    break;
                }
                content.extend_from_slice(&buffer[..count]);
            }
            note_repository(&name, &content, notes);
        }
    }
    reader.finish().map_err(&damaged)?;
    members.finish()?;
    Ok((identity, members))
}

pub(super) fn pack<W: Write>(
    path: &Path,
    compression: Compression,
    patterns: &Patterns,
    (surveyed, members): &(FileIdentity, Members),
    index: Option<&GuestIndex>,
    to: &mut ArchiveWriter<W>,
    on_progress: &mut OnProgress<'_>,
) -> Result<Packed, ImportError> {
    let damaged = damaged(path);
    let stream = |source| ImportError::Stream { source };
    let changed = || ImportError::changed(path.as_os_str().as_encoded_bytes());
    let file = File::open(path).map_err(ImportError::unusable(path))?;
    if FileIdentity::of(&file).map_err(ImportError::unusable(path))? != *surveyed {
        return Err(changed());
    }
    let watched = file.try_clone().map_err(ImportError::unusable(path))?;
    let mut packed = Packed::default();
    let wanted = index.map(|index| members.wanted(index, surveyed.ctime_ns, &mut packed));
    let mut reader = open(file, compression, path)?;
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    while let Some(member) = reader.next_member().map_err(&damaged)? {
        let here = at;
        at += 1;
        if left_out(&member, patterns) {
            continue;
        }
        let Some(member) = fit(member)? else {
            continue;
        };
        // Only what the survey found fit is ever sent.
        let Some(expected) = members.get(here, &member.name) else {
            continue;
        };
        if *expected != member {
            return Err(changed());
        }
        packed.whole.add(&member);
        let is_wanted = wanted
            .as_ref()
            .is_none_or(|wanted| wanted.contains_key(member.name.as_slice()));
        if is_wanted {
            match reader.parts() {
                Some(parts) => to.sparse(&member, parts).map_err(stream)?,
                None => to.member(&member).map_err(stream)?,
            }
            loop {
                let count = reader.read(&mut buffer).map_err(&damaged)?;
                if count == 0 {
                    break;
                }
                to.data(&buffer[..count]).map_err(stream)?;
                report(on_progress, packed.whole)?;
            }
            packed.changed.add(&member);
        }
        report(on_progress, packed.whole)?;
    }
    if at != members.seen()
        || FileIdentity::of(&watched).map_err(ImportError::unusable(path))? != *surveyed
    {
        return Err(changed());
    }
    Ok(packed)
}

/// The name of a file that says where a repository, or its objects, are.
fn repository_file(member: &Member) -> Option<Vec<u8>> {
    let name = relative(&member.name).ok()?;
    let says = split(&name).1 == DOT_GIT.to_bytes() || name.ends_with(ALTERNATES);
    (says && member.kind == MemberKind::File).then_some(name)
}

/// Says so where that is outside: nothing of this host is looked at for the sake of an archive.
fn note_repository(name: &[u8], content: &[u8], notes: &mut Notes) {
    if let Some(objects) = name.strip_suffix(b"/info/alternates") {
        if borrows(Some(objects), content) {
            notes.no_objects(name);
        }
        return;
    }
    let target = content
        .strip_prefix(b"gitdir: ")
        .map(<[u8]>::trim_ascii_end);
    if !target.is_some_and(|target| stays_inside(name, target)) {
        notes.no_git(
            name,
            "it is a file that leads out of the archive, as in a worktree; seed the folder \
             instead, which includes the repository",
        );
    }
}

fn open(file: File, compression: Compression, path: &Path) -> Result<Reader, ImportError> {
    let file = BufReader::with_capacity(BUFFER, file);
    let from: Box<dyn Read> = match compression {
        Compression::None => Box::new(file),
        // Several streams in a row are one archive, as parallel compressors write them.
        Compression::Gzip => {
            let stream = flate2::bufread::MultiGzDecoder::new(file);
            Box::new(BufReader::with_capacity(BUFFER, stream))
        }
        Compression::Zstd => {
            let stream = zstd::Decoder::with_buffer(file).map_err(ImportError::unusable(path))?;
            Box::new(BufReader::with_capacity(BUFFER, stream))
        }
    };
    Ok(ArchiveReader::new(from))
}

fn damaged(path: &Path) -> impl Fn(ArchiveError) -> ImportError {
    |source| ImportError::Archive {
        path: path.to_owned(),
        source,
    }
}
