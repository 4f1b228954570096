//! What `COPY` and `ADD` send into a guest, as an archive: files of the context, archives that are unpacked on the
//! way, files of another disk.

use std::fs::File;
use std::io::{self, Read, Write};

use pyro_api::{Error, ErrorCode};
use pyro_build::context::Context;
use pyro_build::resolve::{Content, Member};
use pyro_build::source_names::SourceName;
use pyro_catalog::{EnvironmentSpec, Installed};
use pyro_disk::{FileKind, Stat, Tree, TreeError};
use pyro_transfer::archive::{
    self, ArchiveError, ArchiveReader, ArchiveWriter, Belongings, MemberKind, PackedFile,
};
use sha2::{Digest, Sha256};

use crate::error::{broke, host_io};
use crate::machine::disk;
use crate::workspace::at_rest::{DiskAtRest, layers_of};

/// How much is read at once.
const BUFFER: usize = 256 * 1024;

/// The time of files that are none of the host's.
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
        let size = bytes.len() as u64;
        writer.member_of(&member(name, MemberKind::File, mode, NO_TIME, size), &of)?;
        writer.data(bytes)?;
        writer.finish()
    };
    write().map_err(|error| unplaced(&error))
}

fn member(name: &[u8], kind: MemberKind, mode: u32, mtime_ns: i64, size: u64) -> archive::Member {
    archive::Member {
        name: name.to_vec(),
        kind,
        mode,
        mtime_ns,
        size,
    }
}

/// Whether what `ADD` takes is one archive and nothing else.
pub(super) fn is_archive(members: &[Member], context: Option<&Context>) -> Result<bool, Error> {
    let ([one], Some(context)) = (members, context) else {
        return Ok(false);
    };
    Ok(one.is_source && matches!(packed(one, context)?, Some(PackedFile::Archive(_))))
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
        let member = |kind, size| member(&one.name, kind, one.mode, one.mtime_ns, size);
        match &one.content {
            Content::Folder => {
                written(writer.member(&member(MemberKind::Folder, 0)))?;
            }
            Content::Link(target) => {
                let target = target.clone();
                written(writer.member(&member(MemberKind::Symlink { target }, 0)))?;
            }
            Content::Inline(text) => {
                written(writer.member(&member(MemberKind::File, text.len() as u64)))?;
                written(writer.data(text))?;
            }
            Content::File { path, size, digest } => {
                let Some(context) = context else { continue };
                if unpacks && one.is_source {
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
                written(writer.member(&member(MemberKind::File, *size)))?;
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

/// The files of an environment.
pub(super) fn disk_of(
    spec: &EnvironmentSpec,
    installed: Option<&Installed>,
) -> Result<DiskAtRest, Error> {
    let installed = installed.ok_or_else(|| {
        Error::new(
            ErrorCode::Conflict,
            format!("Environment `{}` was removed meanwhile", spec.name),
        )
    })?;
    Ok(DiskAtRest::Image(layers_of(&disk::chain(
        installed,
        None,
        [],
    ))))
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
            let entry = member(name, kind, stat.mode, stat.mtime_ns, size);
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
        for asked in top {
            let shown = || missing(&String::from_utf8_lossy(&asked));
            let path = tree.resolve(&asked, true).map_err(|error| match error {
                TreeError::NotFound { .. } => shown(),
                error => unread(&asked, &error),
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
                    // A link has its own name, and what it leads to.
                    let name = asked.rsplit(|&byte| byte == b'/').next();
                    entries.push((path.clone(), name.unwrap_or_default().to_vec(), stat));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::process::Command;

    use pyro_build::ignore_rules::IgnoreRules;
    use pyro_build::plan::Plan;
    use pyro_build::resolve::{Action, BaseFacts, CopyWhat};
    use pyro_disk::layers::Layer;

    use super::*;

    /// Names, times in seconds and bytes of what is in an archive.
    fn listed(archive: &[u8]) -> Vec<(String, i64, Vec<u8>)> {
        let mut reader = ArchiveReader::new(archive);
        let mut all = Vec::new();
        while let Some(member) = reader.next_member().unwrap() {
            let mut data = Vec::new();
            let mut buffer = vec![0; 1024];
            if member.kind == MemberKind::File {
                loop {
                    let count = reader.read(&mut buffer).unwrap();
                    if count == 0 {
                        break;
                    }
                    data.extend_from_slice(&buffer[..count]);
                }
            }
            let name = String::from_utf8(member.name).unwrap();
            all.push((name, member.mtime_ns / 1_000_000_000, data));
        }
        all
    }

    /// What one instruction sends into the guest, and whether it is one archive.
    fn packed_by(instruction: &str, folder: &Path) -> (Vec<(String, i64, Vec<u8>)>, bool) {
        let text = format!("FROM base\n{instruction}\n");
        let file = pyro_build::File::parse(&text).unwrap();
        let facts = BaseFacts {
            key: pyro_build::Key::of_environment("sha256:1", ""),
            config: pyro_oci::Config::default(),
        };
        let facts = BTreeMap::from([("base".to_owned(), facts)]);
        let plan = Plan::of(&file, None, &BTreeMap::new()).unwrap();
        let context = Context::open(folder, IgnoreRules::default()).unwrap();
        let resolved = plan.resolve(&facts, Some(&context)).unwrap();
        let Action::Copy(step) = &resolved.stages[0].steps[0].action else {
            panic!("{resolved:?}");
        };
        let CopyWhat::Members { members, unpacks } = &step.what else {
            panic!("{step:?}");
        };
        let mut archive = Vec::new();
        pack_members(members, *unpacks, Some(&context), &mut archive).unwrap();
        let is_archive = *unpacks && is_archive(members, Some(&context)).unwrap();
        (listed(&archive), is_archive)
    }

    #[test]
    fn add_unpacks_an_archive_and_none_that_is_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("kit")).unwrap();
        let mut writer = ArchiveWriter::new(Vec::new());
        let inner = member(b"bin/tool", MemberKind::File, 0o755, 7_000_000_000, 4);
        writer.member(&inner).unwrap();
        writer.data(b"tool").unwrap();
        let archive = writer.finish().unwrap();
        for name in ["kit/inner.tar", "kit.tar"] {
            fs::write(root.join(name), &archive).unwrap();
        }
        symlink("kit.tar", root.join("latest")).unwrap();
        let unpacked = vec![("bin/tool".to_owned(), 7, b"tool".to_vec())];
        assert_eq!(
            packed_by("ADD kit.tar /opt/", root),
            (unpacked.clone(), true)
        );
        assert_eq!(packed_by("ADD latest /opt", root), (unpacked, true));
        let (members, is_archive) = packed_by("ADD kit /opt/", root);
        assert_eq!((members.len(), is_archive), (1, false));
        assert_eq!(
            (members[0].0.as_str(), &members[0].2),
            ("inner.tar", &archive)
        );
        let (members, is_archive) = packed_by("COPY kit.tar /opt/", root);
        assert_eq!((members[0].0.as_str(), is_archive), ("kit.tar", false));
    }

    #[test]
    fn files_keep_their_times() {
        let folder = tempfile::tempdir().unwrap();
        let file = fs::File::create(folder.path().join("a")).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        file.set_modified(time).unwrap();
        let (members, _) = packed_by("COPY a /x/", folder.path());
        assert_eq!(members, [("a".to_owned(), 1_000_000_000, Vec::new())]);
    }

    #[tokio::test]
    async fn a_link_on_another_disk_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("root/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("python3.11"), "program").unwrap();
        symlink("python3.11", bin.join("python3")).unwrap();
        let image = folder.path().join("image");
        let mut tool = Command::new("mke2fs");
        tool.args(["-q", "-t", "ext4", "-d"])
            .arg(folder.path().join("root"))
            .arg(&image)
            .arg("4M");
        assert!(tool.output().unwrap().status.success());
        for source in ["/bin/python3", "/bin/*3"] {
            let disk = DiskAtRest::Image(vec![Layer::raw(&image)]);
            let found = find_in(disk, vec![source.to_owned()]).await.unwrap();
            assert!(found.is_one_file());
            let mut archive = Vec::new();
            found.pack(&mut archive).unwrap();
            let members = listed(&archive);
            assert_eq!(members.len(), 1);
            let (name, _, data) = &members[0];
            assert_eq!(
                (name.as_str(), data.as_slice()),
                ("python3", b"program".as_slice())
            );
        }
    }
}
