//! A folder of a guest, which an archive's members are put into.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;

use nix::errno::Errno;
use nix::fcntl::{self, OFlag};
use nix::sys::stat::{Mode, mkdirat};

use super::attributes::{FolderAttributes, RootAttributes};
use super::error::ExportError;
use super::files::{put_file, put_link, put_symlink};
use super::open_folders::OpenFolders;
use super::pass::Pass;
use super::received::{ArtifactKind, Received};
use super::staging::CONTENT;
use crate::archive::{ArchiveReader, Member, MemberKind};
use crate::names::{InvalidName, escaped, relative, split};
use crate::progress::MAX_ENTRIES;

/// How many of the left out entries are named.
const MAX_SKIPPED: usize = 1000;

/// How much is shown of a path that is too long: so much of its beginning, and of its end.
const SHOWN: usize = 100;

/// Unpacks a folder into the private one. `first` is the member that was read already.
pub(super) fn unpack_folder<R: Read>(
    first: Option<Member>,
    reader: &mut ArchiveReader<R>,
    staging: &File,
    pass: Pass<'_>,
) -> Result<(Received, RootAttributes), ExportError> {
    let in_staging = |errno: Errno| ExportError::write(b".", errno.into());
    mkdirat(staging, CONTENT, Mode::S_IRWXU).map_err(in_staging)?;
    let open = || {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        fcntl::openat(staging, CONTENT, flags, Mode::empty()).map_err(in_staging)
    };
    let mut tree = Tree {
        folders: OpenFolders::new(open()?),
        link_folders: OpenFolders::new(open()?),
        attributes: BTreeMap::new(),
        skipped: Vec::new(),
        more_skipped: 0,
        pass,
    };
    let mut next = first;
    let mut seen = 0;
    while let Some(member) = next {
        seen += 1;
        if seen > MAX_ENTRIES {
            return Err(ExportError::hostile(&member.name, "is one entry too many"));
        }
        tree.put(&member, reader)?;
        tree.pass.report()?;
        next = reader.next_member()?;
    }
    let attributes = tree.finish_folders()?;
    let lines = tree.skipped.into_iter().map(|(line, times)| match times {
        1 => line,
        times => format!("{line} ({times} of them)"),
    });
    let mut skipped: Vec<String> = lines.collect();
    if tree.more_skipped > 0 {
        skipped.push(format!("and {} more", tree.more_skipped));
    }
    let received = Received {
        kind: ArtifactKind::Folder,
        totals: tree.pass.totals,
        skipped,
        lost_bits: tree.pass.lost_bits,
    };
    let folder = open()?;
    Ok((received, RootAttributes { folder, attributes }))
}

struct Tree<'a> {
    folders: OpenFolders,
    /// For what hard links point to, so that the way of `folders` stays open.
    link_folders: OpenFolders,
    /// What folders get in the end.
    attributes: BTreeMap<Vec<u8>, FolderAttributes>,
    /// With how many of them there are.
    skipped: Vec<(String, u64)>,
    more_skipped: u64,
    pass: Pass<'a>,
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
            Err(InvalidName::TooLong) => {
                let why = "its path is longer than Linux allows";
                self.skip_as(shortened(&member.name), why);
                return Ok(());
            }
            Err(bad) => {
                return Err(ExportError::hostile(
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
                self.pass.totals.entries += u64::from(!name.is_empty());
                self.pass.note_mode(&name, member);
            }
            Err(Errno::EEXIST) => return Err(ExportError::hostile(&name, "is in it twice")),
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                return Err(ExportError::hostile(
                    &name,
                    "is below something that is not a folder",
                ));
            }
            // Names that this file system does not take.
            Err(errno @ (Errno::EILSEQ | Errno::ENAMETOOLONG | Errno::EINVAL)) => {
                self.skip(
                    &name,
                    &format!("its name is refused here: {}", errno.desc()),
                );
            }
            Err(errno) => return Err(ExportError::write(&name, errno.into())),
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
            return Err(ExportError::hostile(name, "takes the place of the folder"));
        }
        let attributes = &mut self.attributes;
        let folder = match self
            .folders
            .enter_or_make(above, &mut |made| implied(attributes, made))
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
                let target = relative(target).map_err(|bad| {
                    ExportError::hostile(target, format!("is not a name to link to: {bad}"))
                })?;
                let linked = put_link(&mut self.link_folders, &target, folder, &last);
                if linked == Err(Errno::ENOENT) {
                    return Err(ExportError::hostile(
                        name,
                        "is a hard link to something that is not a file before it",
                    ));
                }
                Ok(linked)
            }
            _ => put_file(folder, &last, member, reader, &mut self.pass),
        }
    }

    fn put_folder(&mut self, name: &[u8], member: &Member) -> Result<(), Errno> {
        let attributes = &mut self.attributes;
        self.folders
            .enter_or_make(name, &mut |made| implied(attributes, made))?;
        let own = FolderAttributes {
            mode: member.mode,
            mtime_ns: Some(member.mtime_ns),
        };
        self.attributes.insert(name.to_vec(), own);
        Ok(())
    }

    /// Gives the folders their modes and times, the inner ones first. The root's come back.
    fn finish_folders(&mut self) -> Result<FolderAttributes, ExportError> {
        let root = self.attributes.remove(&b""[..]);
        while let Some((name, attributes)) = self.attributes.pop_last() {
            self.folders
                .enter(&name)
                .and_then(|folder| attributes.apply(folder))
                .map_err(|errno| ExportError::write(&name, errno.into()))?;
        }
        Ok(root.unwrap_or_default())
    }

    fn skip(&mut self, name: &[u8], why: &str) {
        self.skip_as(escaped(name), why);
    }

    /// Names that look alike come one after the other, as they do in an archive, and are counted.
    fn skip_as(&mut self, shown: String, why: &str) {
        let line = format!("{shown}: {why}");
        let is_full = self.skipped.len() >= MAX_SKIPPED;
        match self.skipped.last_mut() {
            Some((last, times)) if *last == line => *times += 1,
            _ if is_full => self.more_skipped += 1,
            _ => self.skipped.push((line, 1)),
        }
    }
}

/// Both ends of a path, which tell where it is and what it is of.
fn shortened(name: &[u8]) -> String {
    let (begin, end) = (&name[..SHOWN], &name[name.len() - SHOWN..]);
    let left_out = name.len() - 2 * SHOWN;
    format!("{} […{left_out} bytes…] {}", escaped(begin), escaped(end))
}

fn implied(attributes: &mut BTreeMap<Vec<u8>, FolderAttributes>, made: &[u8]) {
    attributes.insert(made.to_vec(), FolderAttributes::default());
}
