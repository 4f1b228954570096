//! Puts the members of an archive anywhere in the guest, with their owners and attributes, for whoever makes an
//! environment of its disk.
//!
//! Unlike a change of the workspace this goes where the guest's links lead, as `cp` in the guest would, and undoes
//! nothing: whoever asks throws the disk away when it fails. Outside of guests it is refused.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{
    DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt, chown, fchown, lchown, symlink,
};
use std::path::{Path, PathBuf};

use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use pyro_wire::Bytes;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::files::{ChangeReply, Place};
use pyro_wire::frame::{self, FrameError};
use tokio::sync::{mpsc, oneshot};

use crate::backend::Backend;
use crate::files::archive::read::{Archive, Belongings, Member, MemberKind};
use crate::files::change::input::{AHEAD, Input};
use crate::files::change::{feed, unpack};
use crate::files::change_lock::ChangeLock;
use crate::files::error::FileError;
use crate::files::{attributes, path};
use crate::lifecycle::Lifecycle;
use crate::peer::{Peer, Reader, Writer};
use crate::user;

/// The mode of folders that nobody described.
const FOLDER_MODE: u32 = 0o755;

/// Carries out the request, whose archive follows on the stream.
pub(crate) async fn run<P: Peer>(
    backend: &Backend,
    lock: &ChangeLock,
    lifecycle: &Lifecycle,
    request: Place,
    from: &mut Reader<P>,
    to: &mut Writer<P>,
) -> Result<(), FrameError> {
    let reply = match lock.acquire().await {
        Some(guard) => {
            let (pieces, queue) = mpsc::channel(AHEAD);
            let (reply, mut replied) = oneshot::channel();
            let backend = backend.clone();
            tokio::task::spawn_blocking(move || {
                let _guard = guard;
                // The asking side may have gone, and needs no answer then.
                let _ = reply.send(place(&backend, &request, Input::new(queue)));
            });
            let early = tokio::select! {
                biased;
                reply = &mut replied => Some(reply),
                () = feed(from, pieces) => None,
                () = lifecycle.closing() => None,
            };
            let reply = match early {
                Some(reply) => reply,
                None => replied.await,
            };
            let gone = |_| {
                Err(Fault::new(
                    FaultCode::GuestIo,
                    "the files were not all placed",
                ))
            };
            reply.unwrap_or_else(gone)
        }
        None => {
            let words = "another change, or a copy of the disk, is still in progress";
            Err(Fault::new(FaultCode::Refused, words))
        }
    };
    frame::write_message(to, &reply.unwrap_or_else(ChangeReply::Failed)).await
}

fn place(backend: &Backend, request: &Place, input: Input) -> Result<ChangeReply, Fault> {
    if !matches!(backend, Backend::Vm | Backend::Sandbox) {
        let words = "files are placed by the first process of a guest only";
        return Err(Fault::new(FaultCode::Refused, words));
    }
    let owner = match &request.owner {
        None => None,
        Some(owner) => {
            let found = user::find(backend, owner)?.credentials;
            Some((found.uid, found.gid))
        }
    };
    carry_out(request, owner, input).map_err(|error| error.fault())
}

fn carry_out(
    request: &Place,
    owner: Option<(u32, u32)>,
    input: impl BufRead,
) -> Result<ChangeReply, FileError> {
    let mut removed = 0;
    for path in &request.remove {
        let path = absolute(path)?;
        match fs::remove_file(&path) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("remove", &path, error)),
        }
    }
    let destination = absolute(&request.destination)?;
    let mut placer = Placer {
        destination: destination.clone(),
        owner,
        mode: request.mode,
        alone: request.alone.as_ref(),
        entries: 0,
        bytes: 0,
    };
    if request.alone.is_none() {
        placer.make_folder(&destination)?;
    }
    let mut archive = Archive::new(input);
    while let Some(member) = archive.next()? {
        placer.put(&member, &mut archive)?;
        placer.entries += 1;
    }
    Ok(ChangeReply::Done {
        entries: placer.entries,
        bytes: placer.bytes,
        removed,
    })
}

struct Placer<'a> {
    destination: PathBuf,
    owner: Option<(u32, u32)>,
    mode: Option<u32>,
    alone: Option<&'a Bytes>,
    entries: u64,
    bytes: u64,
}

impl Placer<'_> {
    fn put(
        &mut self,
        member: &Member,
        archive: &mut Archive<impl BufRead>,
    ) -> Result<(), FileError> {
        let belongings = archive.take_belongings();
        let name = path::normalize(&member.name)?;
        let path = match self.alone {
            // Where a folder is: in it, under the name of the source.
            Some(alone) if self.destination.is_dir() => {
                self.destination.join(relative(&path::normalize(alone)?))
            }
            Some(_) => self.destination.clone(),
            None if name.is_empty() => self.destination.clone(),
            None => self.destination.join(relative(&name)),
        };
        if let Some(folder) = path.parent() {
            self.make_folder(folder)?;
        }
        match member.kind {
            MemberKind::Folder => self.folder(&path, member, &belongings),
            MemberKind::File => self.file(&path, member, &belongings, archive),
            MemberKind::Symlink => {
                self.clear(&path)?;
                let target = PathBuf::from(std::ffi::OsString::from_vec(member.link.clone()));
                symlink(target, &path).map_err(|error| failed("create", &path, error))?;
                let (user, group) = self.owner_of(&belongings);
                lchown(&path, Some(user), Some(group))
                    .map_err(|error| failed("give away", &path, error))
            }
            MemberKind::HardLink => {
                let target = self
                    .destination
                    .join(relative(&path::normalize(&member.link)?));
                self.clear(&path)?;
                fs::hard_link(&target, &path).map_err(|error| failed("create", &path, error))
            }
        }
    }

    fn owner_of(&self, belongings: &Belongings) -> (u32, u32) {
        self.owner.unwrap_or(belongings.owner)
    }

    /// Makes a folder and those above it that are missing.
    fn make_folder(&self, folder: &Path) -> Result<(), FileError> {
        if folder.is_dir() {
            return Ok(());
        }
        if let Some(above) = folder.parent() {
            self.make_folder(above)?;
        }
        DirBuilder::new()
            .mode(FOLDER_MODE)
            .create(folder)
            .map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => is_no_folder(folder),
                _ => failed("create", folder, error),
            })?;
        let mode = Permissions::from_mode(FOLDER_MODE);
        fs::set_permissions(folder, mode).map_err(|error| failed("create", folder, error))?;
        match self.owner {
            Some((user, group)) => chown(folder, Some(user), Some(group))
                .map_err(|error| failed("give away", folder, error)),
            None => Ok(()),
        }
    }

    /// A folder that is there stays as it is.
    fn folder(
        &self,
        path: &Path,
        member: &Member,
        belongings: &Belongings,
    ) -> Result<(), FileError> {
        if path.is_dir() {
            return Ok(());
        }
        self.make_folder(path)?;
        let opened = File::open(path).map_err(|error| failed("open", path, error))?;
        self.describe(&opened, path, member, belongings)
    }

    fn file(
        &mut self,
        path: &Path,
        member: &Member,
        belongings: &Belongings,
        archive: &mut Archive<impl BufRead>,
    ) -> Result<(), FileError> {
        self.clear(path)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| failed("create", path, error))?;
        let writing = |error| failed("write", path, error);
        let mut end = 0;
        archive.each_chunk(|at, chunk| {
            end = at + chunk.len() as u64;
            file.write_all_at(chunk, at).map_err(writing)
        })?;
        if end < member.size {
            file.set_len(member.size).map_err(writing)?;
        }
        self.describe(&file, path, member, belongings)?;
        futimens(&file, &TimeSpec::UTIME_OMIT, &unpack::time(member.mtime_ns))
            .map_err(|error| failed("set the time of", path, error.into()))?;
        self.bytes += member.size;
        Ok(())
    }

    /// The mode last: a new owner takes set-user-id away. Capabilities go with a new owner as well.
    fn describe(
        &self,
        file: &File,
        path: &Path,
        member: &Member,
        belongings: &Belongings,
    ) -> Result<(), FileError> {
        let (user, group) = self.owner_of(belongings);
        fchown(file, Some(user), Some(group)).map_err(|error| failed("give away", path, error))?;
        for (name, value) in &belongings.attributes {
            attributes::give(file, name, value)
                .map_err(|error| failed("set an attribute of", path, error))?;
        }
        let mode = Permissions::from_mode(self.mode.unwrap_or(member.mode));
        file.set_permissions(mode)
            .map_err(|error| failed("set the mode of", path, error))
    }

    /// Makes room for something that is no folder.
    fn clear(&self, path: &Path) -> Result<(), FileError> {
        match fs::symlink_metadata(path) {
            Ok(about) if about.is_dir() => Err(FileError::refused(format!(
                "{} is a folder, which a file cannot take the place of",
                path.display()
            ))),
            Ok(_) => fs::remove_file(path).map_err(|error| failed("replace", path, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("access", path, error)),
        }
    }
}

/// A path from the guest's top.
fn absolute(path: &Bytes) -> Result<PathBuf, FileError> {
    let bytes: &[u8] = path.as_ref();
    let rest = bytes.strip_prefix(b"/");
    let rest =
        rest.ok_or_else(|| FileError::refused("a path to place files at is not absolute"))?;
    Ok(Path::new("/").join(relative(&path::normalize(rest)?)))
}

fn relative(path: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()))
}

fn is_no_folder(path: &Path) -> FileError {
    FileError::refused(format!("{} is there, and is no folder", path.display()))
}

fn failed(step: &'static str, path: &Path, error: io::Error) -> FileError {
    match error.raw_os_error() {
        Some(libc::ENOTDIR) => is_no_folder(path),
        _ => FileError::at(step, path.display().to_string(), error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;

    use nix::unistd::{getgid, getuid};
    use tar::{Builder, EntryType, Header};

    use super::*;

    fn me() -> (u32, u32) {
        (getuid().as_raw(), getgid().as_raw())
    }

    fn archive(members: &[(&str, EntryType, u32, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, mode, content) in members {
            let mut header = Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            header.set_mtime(1_000);
            header.set_uid(me().0.into());
            header.set_gid(me().1.into());
            match kind {
                EntryType::Symlink | EntryType::Link => {
                    header.set_size(0);
                    builder.append_link(&mut header, name, content).unwrap();
                }
                _ => {
                    header.set_size(content.len() as u64);
                    builder
                        .append_data(&mut header, name, content.as_bytes())
                        .unwrap();
                }
            }
        }
        builder.into_inner().unwrap()
    }

    fn request(destination: &Path) -> Place {
        Place {
            destination: destination.as_os_str().as_bytes().to_vec().into(),
            ..Place::default()
        }
    }

    fn carry(request: &Place, archive: &[u8]) -> Result<ChangeReply, String> {
        carry_out(request, Some(me()), archive).map_err(|error| error.to_string())
    }

    #[test]
    fn members_take_the_place_of_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("to/old")).unwrap();
        fs::write(root.join("to/file"), "old").unwrap();
        symlink("elsewhere", root.join("to/link")).unwrap();
        let members = archive(&[
            ("old", EntryType::Directory, 0o700, ""),
            ("new", EntryType::Directory, 0o2750, ""),
            ("new/script", EntryType::Regular, 0o4755, "x"),
            ("file", EntryType::Regular, 0o640, "new"),
            ("link", EntryType::Regular, 0o644, "file"),
            ("to", EntryType::Symlink, 0o777, "file"),
            ("again", EntryType::Link, 0o640, "file"),
        ]);
        let done = carry(&request(&root.join("to")), &members).unwrap();
        let (entries, bytes, removed) = (7, 8, 0);
        assert_eq!(
            done,
            ChangeReply::Done {
                entries,
                bytes,
                removed
            }
        );
        let mode = |name: &str| root.join("to").join(name).metadata().unwrap().mode() & 0o7777;
        assert_eq!(
            (mode("old"), mode("new"), mode("new/script")),
            (0o755, 0o2750, 0o4755)
        );
        assert_eq!((mode("file"), mode("link")), (0o640, 0o644));
        assert_eq!(fs::read(root.join("to/to")).unwrap(), b"new");
        assert_eq!(root.join("to/file").metadata().unwrap().nlink(), 2);
        assert_eq!(root.join("to/file").metadata().unwrap().mtime(), 1_000);
        assert!(!root.join("to/elsewhere").exists());
    }

    #[test]
    fn one_file_takes_the_name_of_the_destination() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let one = archive(&[("one", EntryType::Regular, 0o644, "1")]);
        let alone = |destination: &str| Place {
            alone: Some(b"one".to_vec().into()),
            mode: Some(0o711),
            ..request(&root.join(destination))
        };
        carry(&alone("a/b/c"), &one).unwrap();
        assert_eq!(fs::read(root.join("a/b/c")).unwrap(), b"1");
        assert_eq!(
            root.join("a/b/c").metadata().unwrap().mode() & 0o7777,
            0o711
        );
        carry(&alone("a/b"), &one).unwrap();
        assert_eq!(fs::read(root.join("a/b/one")).unwrap(), b"1");
        let removing = Place {
            remove: ["a/b/c", "none"]
                .map(|name| root.join(name).as_os_str().as_bytes().to_vec().into())
                .into(),
            ..request(&root)
        };
        carry(&removing, &archive(&[])).unwrap();
        assert!(!root.join("a/b/c").exists());
    }

    #[test]
    fn what_cannot_be_is_one_clear_error() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("folder")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        let file = |name| archive(&[(name, EntryType::Regular, 0o644, "1")]);
        let told = carry(&request(&root), &file("folder")).unwrap_err();
        assert!(
            told.ends_with("is a folder, which a file cannot take the place of"),
            "{told}"
        );
        let told = carry(&request(&root.join("file/x")), &file("y")).unwrap_err();
        assert!(told.ends_with("/file is there, and is no folder"), "{told}");
        let relative = Place {
            destination: b"x".to_vec().into(),
            ..Place::default()
        };
        assert!(
            carry(&relative, &file("y"))
                .unwrap_err()
                .contains("not absolute")
        );
        let host = Backend::Process { folder: root };
        let (_, queue) = mpsc::channel(1);
        let told = place(&host, &Place::default(), Input::new(queue)).unwrap_err();
        assert_eq!(told.code, FaultCode::Refused);
    }
}
