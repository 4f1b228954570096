//! What `COPY` and `ADD` send into a guest, as an archive: files of the context, archives that are unpacked on the
//! way, files of another disk.

use std::fs::File;
use std::io::{self, Read, Write};

use pyro_api::{Error, ErrorCode};
use pyro_build::context::Context;
use pyro_build::resolve::{Content, Member};
use pyro_build::source_names::SourceName;
use pyro_catalog::EnvironmentSpec;
use pyro_disk::{FileKind, Stat, Tree, TreeError};
use pyro_transfer::archive::{
    self, ArchiveError, ArchiveReader, ArchiveWriter, Belongings, MemberKind, PackedFile,
};
use sha2::{Digest, Sha256};

use crate::engine::Engine;
use crate::error::{broke, catalog_failed, host_io};
use crate::machine::disk;
use crate::workspace::at_rest::{DiskAtRest, layers_of};

/// How much is read at once.
const BUFFER: usize = 256 * 1024;

/// The time of files that nobody gave one: the same for each build, so that the same files are the same disk.
const NO_TIME: i64 = 0;

pub(super) fn unplaced(error: &io::Error) -> Error {
    host_io("The guest did not accept the files", error)
}

/// An archive of nothing.
pub(super) fn empty() -> Result<Vec<u8>, Error> {
    ArchiveWriter::new(Vec::new())
        .finish()
        .map_err(|error| unplaced(&error))
}

/// An archive of one small file, by its absolute path.
pub(super) fn one_file(
    path: &str,
    mode: u32,
    (user, group): (u32, u32),
    bytes: &[u8],
) -> Result<Vec<u8>, Error> {
    let write = || {
        let mut writer = ArchiveWriter::new(Vec::new());
        let name = path.trim_start_matches('/').as_bytes();
        let of = Belongings {
            user,
            group,
            attributes: Vec::new(),
        };
        writer.member_of(
            &member(name, MemberKind::File, mode, bytes.len() as u64),
            &of,
        )?;
        writer.data(bytes)?;
        writer.finish()
    };
    write().map_err(|error| unplaced(&error))
}

fn member(name: &[u8], kind: MemberKind, mode: u32, size: u64) -> archive::Member {
    archive::Member {
        name: name.to_vec(),
        kind,
        mode,
        mtime_ns: NO_TIME,
        size,
    }
}

/// Whether what `ADD` takes is one archive and nothing else.
pub(super) fn is_archive(members: &[Member], context: Option<&Context>) -> Result<bool, Error> {
    let ([one], Some(context)) = (members, context) else {
        return Ok(false);
    };
    Ok(matches!(
        packed(one, context)?,
        Some(PackedFile::Archive(_))
    ))
}

fn packed(member: &Member, context: &Context) -> Result<Option<PackedFile>, Error> {
    let Content::File { path, .. } = &member.content else {
        return Ok(None);
    };
    let file = open(context, path)?;
    PackedFile::of(file)
        .map(Some)
        .map_err(|error| host_io(format!("{} cannot be read", shown(path)), &error))
}

fn open(context: &Context, path: &[u8]) -> Result<File, Error> {
    context.open_file(path).map_err(|error| {
        Error::new(ErrorCode::HostIo, "A file of the context cannot be copied").caused_by(&error)
    })
}

/// Sends files of the context. Those that were changed since they were found are refused.
pub(super) fn pack_members(
    members: &[Member],
    unpacks: bool,
    context: Option<&Context>,
    to: &mut dyn Write,
) -> Result<(), Error> {
    let mut writer = ArchiveWriter::new(to);
    for one in members {
        let written = |done: io::Result<()>| done.map_err(|error| unplaced(&error));
        match &one.content {
            Content::Folder => {
                written(writer.member(&member(&one.name, MemberKind::Folder, one.mode, 0)))?;
            }
            Content::Link(target) => {
                let target = target.clone();
                let kind = MemberKind::Symlink { target };
                written(writer.member(&member(&one.name, kind, one.mode, 0)))?;
            }
            Content::Inline(text) => {
                let size = text.len() as u64;
                written(writer.member(&member(&one.name, MemberKind::File, one.mode, size)))?;
                written(writer.data(text))?;
            }
            Content::File { path, size, digest } => {
                let Some(context) = context else { continue };
                if unpacks {
                    match packed(one, context)? {
                        Some(PackedFile::Archive(from)) => {
                            unpack(from, path, &mut writer)?;
                            continue;
                        }
                        Some(PackedFile::Unreadable(how)) => {
                            let what = format!("{} cannot be unpacked", shown(path));
                            return Err(Error::new(ErrorCode::Unsupported, what)
                                .because(format!("it is compressed with {how}"))
                                .hint("Compress it with gzip or zstd, or copy it with `COPY`"));
                        }
                        Some(PackedFile::Plain) | None => {}
                    }
                }
                written(writer.member(&member(&one.name, MemberKind::File, one.mode, *size)))?;
                let mut hash = Sha256::new();
                let mut file = open(context, path)?.take(*size);
                let mut buffer = vec![0; BUFFER];
                loop {
                    let count = file.read(&mut buffer);
                    let count = count.map_err(|error| {
                        host_io(format!("{} cannot be read", shown(path)), &error)
                    })?;
                    if count == 0 {
                        break;
                    }
                    hash.update(&buffer[..count]);
                    written(writer.data(&buffer[..count]))?;
                }
                if <[u8; 32]>::from(hash.finalize()) != *digest {
                    return Err(changed(path));
                }
            }
        }
    }
    writer.finish().map(drop).map_err(|error| unplaced(&error))
}

/// What is in an archive, with its owners and its attributes.
fn unpack(
    from: Box<dyn Read + Send>,
    path: &[u8],
    writer: &mut ArchiveWriter<&mut dyn Write>,
) -> Result<(), Error> {
    let damaged = |error: ArchiveError| {
        Error::new(
            ErrorCode::BadSeed,
            format!("{} cannot be unpacked", shown(path)),
        )
        .caused_by(&error)
        .hint("Check the archive with `tar tf`")
    };
    let mut reader = ArchiveReader::new(from);
    let mut buffer = vec![0; BUFFER];
    while let Some(member) = reader.next_member().map_err(damaged)? {
        // Devices and pipes are no files of an environment.
        if matches!(member.kind, MemberKind::Special(_)) {
            continue;
        }
        let id = |id: u64| u32::try_from(id).unwrap_or(0);
        let (user, group) = reader.owner().unwrap_or_default();
        let of = Belongings {
            user: id(user),
            group: id(group),
            attributes: reader.attributes().to_vec(),
        };
        let failed = |error: io::Error| unplaced(&error);
        let parts = reader.parts().map(<[_]>::to_vec);
        match &parts {
            Some(parts) => writer.sparse_of(&member, parts, &of).map_err(failed)?,
            None => writer.member_of(&member, &of).map_err(failed)?,
        }
        if member.kind != MemberKind::File {
            continue;
        }
        loop {
            let (_, count) = reader.read_part(&mut buffer).map_err(damaged)?;
            if count == 0 {
                break;
            }
            writer.data(&buffer[..count]).map_err(failed)?;
        }
    }
    Ok(())
}

fn changed(path: &[u8]) -> Error {
    let what = format!("{} was changed while it was copied", shown(path));
    Error::new(ErrorCode::Conflict, what).hint("Build again when nothing writes to it")
}

fn shown(path: &[u8]) -> String {
    format!("`{}`", path.escape_ascii())
}

impl Engine {
    /// The files of an environment.
    pub(super) fn environment_disk(
        &self,
        spec: &'static EnvironmentSpec,
    ) -> Result<DiskAtRest, Error> {
        let installed = self.catalog().installed(spec).map_err(catalog_failed)?;
        let installed = installed.ok_or_else(|| {
            Error::new(
                ErrorCode::Conflict,
                format!("Environment `{}` was removed meanwhile", spec.name),
            )
        })?;
        Ok(DiskAtRest::Image(layers_of(&disk::chain(
            &installed,
            None,
            [],
        ))))
    }
}

/// What sources mean on a disk.
pub(super) struct FoundSources {
    disk: DiskAtRest,
    /// Paths of the disk, each with its name below the destination.
    entries: Vec<(Vec<u8>, Vec<u8>, Stat)>,
    one_file: bool,
}

impl FoundSources {
    pub(super) fn is_one_file(&self) -> bool {
        self.one_file
    }

    /// Writes them, with their owners.
    pub(super) fn pack(self, to: &mut dyn Write) -> Result<(), Error> {
        let tree = opened(&self.disk)?;
        let mut writer = ArchiveWriter::new(to);
        let failed = |error: io::Error| unplaced(&error);
        for (path, name, stat) in &self.entries {
            let kind = match stat.kind {
                FileKind::Directory => MemberKind::Folder,
                FileKind::File => MemberKind::File,
                FileKind::Symlink => MemberKind::Symlink {
                    target: tree.target(path).map_err(|error| unread(path, &error))?,
                },
                FileKind::Special => continue,
            };
            let size = match kind {
                MemberKind::File => stat.size,
                _ => 0,
            };
            let of = Belongings {
                user: stat.user,
                group: stat.group,
                attributes: Vec::new(),
            };
            let entry = archive::Member {
                mtime_ns: stat.mtime_ns,
                ..member(name, kind, stat.mode, size)
            };
            writer.member_of(&entry, &of).map_err(failed)?;
            let mut at = 0;
            while at < size {
                let piece = tree.read_from(path, at, BUFFER);
                let piece = piece.map_err(|error| unread(path, &error))?;
                if piece.is_empty() {
                    break;
                }
                writer.data(&piece).map_err(failed)?;
                at += piece.len() as u64;
            }
        }
        writer.finish().map(drop).map_err(failed)
    }
}

/// Finds what sources mean on a disk.
pub(super) async fn find_in(disk: DiskAtRest, sources: Vec<String>) -> Result<FoundSources, Error> {
    tokio::task::spawn_blocking(move || {
        let tree = opened(&disk)?;
        let mut entries = Vec::new();
        let mut top = Vec::new();
        for source in &sources {
            let before = top.len();
            match SourceName::parse(source) {
                Ok(SourceName::Literal(path)) => top.push(path.into_bytes()),
                Ok(SourceName::Pattern(pattern)) => {
                    let read = tree.walk(b"", |path, _| {
                        if pattern.matches(path) {
                            top.push(path.to_vec());
                        }
                    });
                    read.map_err(|error| unread(b"", &error))?;
                }
                // Refused when the file was read.
                Err(_) => {}
            }
            if top.len() == before {
                return Err(missing(source));
            }
        }
        let mut is_file = false;
        let count = top.len();
        for path in top {
            let shown = || missing(&String::from_utf8_lossy(&path));
            let path = tree.resolve(&path, true).map_err(|error| match error {
                TreeError::NotFound { .. } => shown(),
                error => unread(&path, &error),
            })?;
            let stat = match path.is_empty() {
                true => None,
                false => {
                    let stat = tree.stat(&path).map_err(|error| unread(&path, &error))?;
                    Some(stat.ok_or_else(shown)?)
                }
            };
            match stat.filter(|stat| stat.kind != FileKind::Directory) {
                Some(stat) => {
                    is_file = true;
                    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
                    entries.push((path.clone(), name.to_vec(), stat));
                }
                None => {
                    let start = if path.is_empty() { 0 } else { path.len() + 1 };
                    tree.walk(&path, |below, stat| {
                        entries.push((below.to_vec(), below[start..].to_vec(), *stat));
                    })
                    .map_err(|error| unread(&path, &error))?;
                }
            }
        }
        Ok(FoundSources {
            disk,
            entries,
            one_file: is_file && count == 1,
        })
    })
    .await
    .map_err(|error| broke(&error))?
}

fn missing(source: &str) -> Error {
    Error::invalid(format!("`{source}` is not there to be copied"))
        .hint("Paths of `COPY --from` begin at the top of that stage or environment")
}

fn opened(disk: &DiskAtRest) -> Result<Tree, Error> {
    disk.open("")
        .map_err(|error| unread(b"", &TreeError::from(error)))
}

fn unread(path: &[u8], error: &TreeError) -> Error {
    let what = match path.is_empty() {
        true => "The disk to copy from cannot be read".to_owned(),
        false => format!("{} of the disk to copy from cannot be read", shown(path)),
    };
    Error::new(ErrorCode::Damaged, what)
        .caused_by(error)
        .hint("Build again with `--no-cache` (`no_cache`)")
}
