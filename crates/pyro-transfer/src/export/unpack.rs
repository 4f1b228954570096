//! Unpacks a guest's archive into the private folder. Every byte of it may be a lie.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use super::attributes::RootAttributes;
use super::error::ExportError;
use super::files::{put_file, put_symlink};
use super::pass::Pass;
use super::received::{ArtifactKind, Received};
use super::staging::CONTENT;
use super::tree::unpack_folder;
use crate::archive::{ArchiveReader, Member, MemberKind};
use crate::names::relative;
use crate::progress::OnProgress;

/// Unpacks into the private folder that `stage` gives, once it is known what comes. `called` is what
/// the archive's root is told as.
pub(super) fn unpack(
    from: impl Read,
    called: &OsStr,
    stage: impl FnOnce(ArtifactKind) -> Result<io::Result<File>, ExportError>,
    on_progress: &mut OnProgress<'_>,
) -> Result<(Received, Option<RootAttributes>), ExportError> {
    let mut reader = ArchiveReader::new(from);
    let first = reader.next_member()?;
    let lone = first.as_ref().is_some_and(|member| {
        member.kind != MemberKind::Folder
            && relative(&member.name).is_ok_and(|name| name.is_empty())
    });
    let kind = match &first {
        Some(member) if lone => match member.kind {
            MemberKind::Symlink { .. } => ArtifactKind::Symlink,
            _ => ArtifactKind::File,
        },
        _ => ArtifactKind::Folder,
    };
    let staging = stage(kind)?.map_err(|source| ExportError::write(b".", source))?;
    let pass = Pass::new(called, on_progress);
    match first {
        Some(member) if lone => {
            let received = unpack_lone(&member, kind, &mut reader, &staging, pass)?;
            Ok((received, None))
        }
        first => {
            let (received, root) = unpack_folder(first, &mut reader, &staging, pass)?;
            Ok((received, Some(root)))
        }
    }
}

fn unpack_lone<R: Read>(
    member: &Member,
    kind: ArtifactKind,
    reader: &mut ArchiveReader<R>,
    staging: &File,
    mut pass: Pass<'_>,
) -> Result<Received, ExportError> {
    pass.totals.entries = 1;
    let name = CString::new(CONTENT).map_err(|_| ExportError::hostile(b".", "has no name"))?;
    let written = match &member.kind {
        MemberKind::File => put_file(staging.as_fd(), &name, member, reader, &mut pass)?,
        MemberKind::Symlink { target } => put_symlink(staging.as_fd(), &name, target, member),
        MemberKind::Special(what) => {
            return Err(ExportError::hostile(b".", format!("is {what}")));
        }
        MemberKind::HardLink { .. } | MemberKind::Folder => {
            return Err(ExportError::hostile(b".", "is a link to nothing"));
        }
    };
    written.map_err(|errno| ExportError::write(b".", errno.into()))?;
    pass.note_mode(b"", member);
    if let Some(more) = reader.next_member()? {
        return Err(ExportError::hostile(&more.name, "comes after a lone file"));
    }
    Ok(Received {
        kind,
        totals: pass.totals,
        skipped: Vec::new(),
        lost_bits: pass.lost_bits,
    })
}
