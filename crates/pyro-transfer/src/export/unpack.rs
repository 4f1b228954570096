//! Unpacks a guest's archive into the private folder. Every byte of it may be a lie.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fchmod, fstatat, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{linkat, symlinkat};
use pyro_api::values::ArtifactType;

use super::Received;
use super::destination::Kind;
use super::error::ExportError;
use super::folders::Folders;
use super::staging::CONTENT;
use crate::workspace::archive::{ArchiveReader, Member, MemberKind};
use crate::workspace::names::{BadName, relative, shown, split};
use crate::workspace::some_names::{SET_ID, SomeNames};

const BUFFER: usize = 256 * 1024;

/// More entries than the file system of any guest can hold.
const MOST_ENTRIES: u64 = 2_000_000;

/// How many of the left out entries are named.
const MOST_SKIPPED: usize = 1000;

/// How much is shown of a path that is too long.
const SHOWN: usize = 200;

/// The mode of folders that the archive has entries in but does not have itself.
const DEFAULT_MODE: u32 = 0o755;

/// What is left to do for a folder once it is in place.
pub(super) struct Finishing {
    folder: OwnedFd,
    look: FolderLook,
}

impl Finishing {
    pub(super) fn apply(&self) -> Result<(), Errno> {
        self.look.apply(self.folder.as_fd())
    }
}

#[derive(Clone, Copy)]
struct FolderLook {
    mode: u32,
    mtime_ns: Option<i64>,
}

impl FolderLook {
    fn apply(self, folder: BorrowedFd<'_>) -> Result<(), Errno> {
        if let Some(mtime_ns) = self.mtime_ns {
            futimens(folder, &TimeSpec::UTIME_OMIT, &time(mtime_ns))?;
        }
        fchmod(folder, plain_mode(self.mode))
    }
}

type Watch<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

/// Unpacks into the private folder that `settle` gives, once it is known what comes. `called` is what
/// the archive's root is told as.
pub(super) fn unpack(
    from: impl Read,
    called: &OsStr,
    settle: impl FnOnce(Kind) -> Result<io::Result<File>, ExportError>,
    watch: &mut Watch<'_>,
) -> Result<(Received, Option<Finishing>), ExportError> {
    let mut reader = ArchiveReader::new(from);
    let first = next(&mut reader)?;
    let lone = first.as_ref().is_some_and(|member| {
        member.kind != MemberKind::Folder
            && relative(&member.name).is_ok_and(|name| name.is_empty())
    });
    let staging = settle(if lone { Kind::File } else { Kind::Folder })?;
    let staging = &staging.map_err(|source| writing(b".", source))?;
    match first {
        Some(member) if lone => {
            let received = unpack_lone(member, called, &mut reader, staging, watch)?;
            Ok((received, None))
        }
        first => unpack_folder(first, called, &mut reader, staging, watch),
    }
}

fn unpack_lone<R: Read>(
    member: Member,
    called: &OsStr,
    reader: &mut ArchiveReader<R>,
    staging: &File,
    watch: &mut Watch<'_>,
) -> Result<Received, ExportError> {
    let artifact = match member.kind {
        MemberKind::File => ArtifactType::File,
        MemberKind::Symlink { .. } => ArtifactType::Symlink,
        MemberKind::Special(what) => return Err(hostile(b".", format!("is {what}"))),
        MemberKind::HardLink { .. } | MemberKind::Folder => {
            return Err(hostile(b".", "is a link to nothing"));
        }
    };
    let mut progress = Progress {
        called,
        entries: 1,
        bytes: 0,
        lost_bits: SomeNames::default(),
        buffer: vec![0; BUFFER],
        watch,
    };
    let name = CString::new(CONTENT).map_err(|_| hostile(b".", "has no name"))?;
    let written = match &member.kind {
        MemberKind::Symlink { target } => put_symlink(staging.as_fd(), &name, target, &member),
        _ => progress.put_file(staging.as_fd(), &name, &member, reader)?,
    };
    written.map_err(|errno| writing(b".", errno.into()))?;
    progress.note_mode(b"", &member);
    if let Some(more) = next(reader)? {
        return Err(hostile(&more.name, "comes after a lone file"));
    }
    Ok(Received {
        artifact,
        entries: 1,
        bytes: progress.bytes,
        skipped: Vec::new(),
        lost_bits: progress.lost_bits,
    })
}

fn unpack_folder<R: Read>(
    mut next_member: Option<Member>,
    called: &OsStr,
    reader: &mut ArchiveReader<R>,
    staging: &File,
    watch: &mut Watch<'_>,
) -> Result<(Received, Option<Finishing>), ExportError> {
    let in_staging = |errno: Errno| writing(b".", errno.into());
    mkdirat(staging, CONTENT, Mode::S_IRWXU).map_err(in_staging)?;
    let open = || {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        fcntl::openat(staging, CONTENT, flags, Mode::empty()).map_err(in_staging)
    };
    let mut tree = Tree {
        folders: Folders::new(open()?),
        link_folders: Folders::new(open()?),
        looks: BTreeMap::new(),
        skipped: Vec::new(),
        more_skipped: 0,
        progress: Progress {
            called,
            entries: 0,
            bytes: 0,
            lost_bits: SomeNames::default(),
            buffer: vec![0; BUFFER],
            watch,
        },
    };
    let mut seen = 0;
    while let Some(member) = next_member {
        seen += 1;
        if seen > MOST_ENTRIES {
            return Err(hostile(&member.name, "is one entry too many"));
        }
        tree.put(&member, reader)?;
        tree.progress.look()?;
        next_member = next(reader)?;
    }
    let root = tree.finish_folders()?;
    let mut skipped = tree.skipped;
    if tree.more_skipped > 0 {
        skipped.push(format!("and {} more", tree.more_skipped));
    }
    let received = Received {
        artifact: ArtifactType::Directory,
        entries: tree.progress.entries,
        bytes: tree.progress.bytes,
        skipped,
        lost_bits: tree.progress.lost_bits,
    };
    let finishing = Finishing {
        folder: open()?,
        look: root,
    };
    Ok((received, Some(finishing)))
}

struct Tree<'a> {
    folders: Folders,
    /// For what hard links point to, so that the way of `folders` stays open.
    link_folders: Folders,
    /// What folders are to look like in the end: until then their owner must be able to write.
    looks: BTreeMap<Vec<u8>, FolderLook>,
    skipped: Vec<String>,
    more_skipped: u64,
    progress: Progress<'a>,
}

struct Progress<'a> {
    called: &'a OsStr,
    entries: u64,
    bytes: u64,
    lost_bits: SomeNames,
    buffer: Vec<u8>,
    watch: &'a mut Watch<'a>,
}

impl Tree<'_> {
    fn put<R: Read>(
        &mut self,
        member: &Member,
        reader: &mut ArchiveReader<R>,
    ) -> Result<(), ExportError> {
        let name = match relative(&member.name) {
            Ok(name) => name,
            // Whoever goes step by step makes such paths, and nobody finds them here by their path.
            Err(BadName::TooLong) => {
                let begin = &member.name[..member.name.len().min(SHOWN)];
                self.skip(begin, "and so on: its path is longer than Linux allows");
                return Ok(());
            }
            Err(bad) => {
                return Err(hostile(
                    &member.name,
                    format!("is not a name below it: {bad}"),
                ));
            }
        };
        if let MemberKind::Special(what) = member.kind {
            self.skip(&name, what);
            return Ok(());
        }
        match self.put_at(&name, member, reader)? {
            Ok(()) => {
                self.progress.entries += u64::from(!name.is_empty());
                self.progress.note_mode(&name, member);
            }
            Err(Errno::EEXIST) => return Err(hostile(&name, "is there twice")),
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                return Err(hostile(&name, "is below something that is not a folder"));
            }
            // Names that this file system does not take.
            Err(errno @ (Errno::EILSEQ | Errno::ENAMETOOLONG | Errno::EINVAL)) => {
                self.skip(
                    &name,
                    &format!("its name is refused here: {}", errno.desc()),
                );
            }
            Err(errno) => return Err(writing(&name, errno.into())),
        }
        Ok(())
    }

    fn put_at<R: Read>(
        &mut self,
        name: &[u8],
        member: &Member,
        reader: &mut ArchiveReader<R>,
    ) -> Result<Result<(), Errno>, ExportError> {
        if member.kind == MemberKind::Folder {
            return Ok(self.put_folder(name, member));
        }
        let (above, last) = split(name);
        if last.is_empty() {
            return Err(hostile(name, "takes the place of the folder"));
        }
        let looks = &mut self.looks;
        let folder = match self
            .folders
            .enter_or_make(above, &mut |made| implied(looks, made))
        {
            Ok(folder) => folder,
            Err(errno) => return Ok(Err(errno)),
        };
        let Ok(last) = CString::new(last) else {
            return Ok(Err(Errno::EINVAL));
        };
        match &member.kind {
            MemberKind::Symlink { target } => Ok(put_symlink(folder, &last, target, member)),
            MemberKind::HardLink { target } => {
                let target = relative(target)
                    .map_err(|bad| hostile(target, format!("is not a name to link to: {bad}")))?;
                let linked = link(&mut self.link_folders, &target, folder, &last);
                if linked == Err(Errno::ENOENT) {
                    return Err(hostile(
                        name,
                        "is a hard link to something that is not a file before it",
                    ));
                }
                Ok(linked)
            }
            _ => self.progress.put_file(folder, &last, member, reader),
        }
    }

    fn put_folder(&mut self, name: &[u8], member: &Member) -> Result<(), Errno> {
        let looks = &mut self.looks;
        self.folders
            .enter_or_make(name, &mut |made| implied(looks, made))?;
        let look = FolderLook {
            mode: member.mode,
            mtime_ns: Some(member.mtime_ns),
        };
        self.looks.insert(name.to_vec(), look);
        Ok(())
    }

    /// Gives the folders their modes and times, the inner ones first. The root's come back.
    fn finish_folders(&mut self) -> Result<FolderLook, ExportError> {
        let root = self.looks.remove(&b""[..]);
        while let Some((name, look)) = self.looks.pop_last() {
            self.folders
                .enter(&name)
                .and_then(|folder| look.apply(folder))
                .map_err(|errno| writing(&name, errno.into()))?;
        }
        Ok(root.unwrap_or(FolderLook {
            mode: DEFAULT_MODE,
            mtime_ns: None,
        }))
    }

    fn skip(&mut self, name: &[u8], why: &str) {
        if self.skipped.len() < MOST_SKIPPED {
            self.skipped.push(format!("{}: {why}", shown(name)));
        } else {
            self.more_skipped += 1;
        }
    }
}

fn implied(looks: &mut BTreeMap<Vec<u8>, FolderLook>, made: &[u8]) {
    let look = FolderLook {
        mode: DEFAULT_MODE,
        mtime_ns: None,
    };
    looks.insert(made.to_vec(), look);
}

impl Progress<'_> {
    /// The outer error ends the export; the inner one is about this name.
    fn put_file<R: Read>(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CString,
        member: &Member,
        reader: &mut ArchiveReader<R>,
    ) -> Result<Result<(), Errno>, ExportError> {
        let failed = |source| writing(&member.name, source);
        let file = match create(folder, name) {
            Ok(file) => file,
            Err(errno) => return Ok(Err(errno)),
        };
        let mut written = 0;
        loop {
            let (at, count) = read(reader, &mut self.buffer)?;
            let data = &self.buffer[..count];
            if data.is_empty() {
                break;
            }
            // Zeros that the guest wrote would fill this host for nothing.
            if data.iter().any(|&byte| byte != 0) {
                file.write_all_at(data, at).map_err(failed)?;
            }
            written += count as u64;
            self.bytes += count as u64;
            self.look()?;
        }
        // What is in its holes.
        self.bytes += member.size.saturating_sub(written);
        let finish = || -> Result<(), io::Error> {
            if file.metadata()?.len() < member.size {
                file.set_len(member.size)?;
            }
            fchmod(&file, plain_mode(member.mode))?;
            futimens(&file, &TimeSpec::UTIME_OMIT, &time(member.mtime_ns))?;
            Ok(())
        };
        finish().map_err(failed)?;
        Ok(Ok(()))
    }

    fn note_mode(&mut self, name: &[u8], member: &Member) {
        if member.mode & SET_ID != 0 && matches!(member.kind, MemberKind::File | MemberKind::Folder)
        {
            let name = match name {
                b"" => self.called.as_bytes(),
                name => name,
            };
            self.lost_bits.add(|| format!("`{}`", shown(name)));
        }
    }

    fn look(&mut self) -> Result<(), ExportError> {
        match (self.watch)(self.entries, self.bytes) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ExportError::Cancelled),
        }
    }
}

fn put_symlink(
    folder: BorrowedFd<'_>,
    name: &CString,
    target: &[u8],
    member: &Member,
) -> Result<(), Errno> {
    symlinkat(target, folder, name.as_c_str())?;
    let flags = UtimensatFlags::NoFollowSymlink;
    let mtime = time(member.mtime_ns);
    utimensat(
        folder,
        name.as_c_str(),
        &TimeSpec::UTIME_OMIT,
        &mtime,
        flags,
    )
}

/// Gives a file that was unpacked before another name; where that cannot be, a copy.
fn link(
    folders: &mut Folders,
    target: &[u8],
    folder: BorrowedFd<'_>,
    name: &CString,
) -> Result<(), Errno> {
    let (above, last) = split(target);
    let last = CString::new(last).map_err(|_| Errno::EINVAL)?;
    let first = folders.enter(above)?;
    let stat = fstatat(first, last.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(Errno::ENOENT);
    }
    match linkat(
        first,
        last.as_c_str(),
        folder,
        name.as_c_str(),
        AtFlags::empty(),
    ) {
        Err(Errno::EPERM | Errno::EMLINK | Errno::EOPNOTSUPP) => {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let from = fcntl::openat(first, last.as_c_str(), flags, Mode::empty())?;
            let to = create(folder, name)?;
            let copied = io::copy(&mut File::from(from), &mut &to);
            copied.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
            fchmod(&to, plain_mode(stat.st_mode))?;
            let mtime = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
            futimens(&to, &TimeSpec::UTIME_OMIT, &mtime)
        }
        other => other,
    }
}

fn create(folder: BorrowedFd<'_>, name: &CString) -> Result<File, Errno> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    fcntl::openat(folder, name.as_c_str(), flags, mode).map(File::from)
}

fn next<R: Read>(reader: &mut ArchiveReader<R>) -> Result<Option<Member>, ExportError> {
    reader
        .next()
        .map_err(|source| ExportError::Archive { source })
}

/// Some of a file's data, and where it belongs.
fn read<R: Read>(
    reader: &mut ArchiveReader<R>,
    buffer: &mut [u8],
) -> Result<(u64, usize), ExportError> {
    reader
        .read_part(buffer)
        .map_err(|source| ExportError::Archive { source })
}

/// Without set-user-id and set-group-id: those of a guest's root would be ones of this host's user.
fn plain_mode(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o1777)
}

fn time(ns: i64) -> TimeSpec {
    TimeSpec::new(ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000))
}

fn writing(name: &[u8], source: io::Error) -> ExportError {
    ExportError::Write {
        name: shown(name),
        source,
    }
}

fn hostile(name: &[u8], why: impl Into<String>) -> ExportError {
    ExportError::Hostile {
        name: shown(name),
        why: why.into(),
    }
}
