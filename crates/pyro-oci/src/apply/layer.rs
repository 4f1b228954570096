//! One layer after the other: verified, unpacked, and laid over what is there.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

use flate2::bufread::MultiGzDecoder;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, futimens, mkdirat, mknodat};
use nix::sys::time::TimeSpec;
use nix::unistd::{linkat, symlinkat};
use pyro_transfer::archive::{ArchiveReader, FIFO, Member, MemberKind};

use super::dress::Dress;
use super::error::{ApplyError, shown};
use super::plan::{Limits, Plan, Stored};
use super::tree::{Tree, is_folder, split};
use super::{Applied, OnProgress};
use crate::Digest;
use crate::blob::{Blob, BlobReader};
use crate::digest::Hashing;

/// A file of this name takes away what a layer below has under the rest of it.
const WHITEOUT: &[u8] = b".wh.";
/// One of this name takes away all that layers below have in its folder. What begins with the first half and
/// goes on otherwise is housekeeping of an old file system.
const OPAQUE: &[u8] = b".wh..wh..opq";
const HOUSEKEEPING: &[u8] = b".wh..wh.";

const CHUNK: usize = 256 * 1024;

/// A file may have holes, but no file system of a guest's takes one that is longer.
const LONGEST_FILE: u64 = 1 << 42;

/// The kernel takes no longer ones.
const LONGEST_PATH: usize = 4095;

pub(super) struct Applying<'a> {
    tree: Tree,
    plan: &'a Plan,
    progress: OnProgress<'a>,
    applied: Applied,
    /// Times of folders, given when nothing is made in them any more.
    times: HashMap<Vec<u8>, TimeSpec>,
    members: u64,
    /// Bytes of the archives of layers before this one.
    unpacked: u64,
    buffer: Vec<u8>,
}

/// What is known of the layer at work.
struct Current {
    /// Counted from 1, for people.
    number: usize,
    /// The paths that it made, with all folders above them: its own whiteouts do not mean them.
    made: HashSet<Vec<u8>>,
}

impl<'a> Applying<'a> {
    pub(super) fn new(tree: Tree, plan: &'a Plan, progress: OnProgress<'a>) -> Self {
        Self {
            tree,
            plan,
            progress,
            applied: Applied::default(),
            times: HashMap::new(),
            members: 0,
            unpacked: 0,
            buffer: vec![0; CHUNK],
        }
    }

    pub(super) fn layer(&mut self, index: usize) -> Result<(), ApplyError> {
        let layer = index + 1;
        let stored = &self.plan.layers[index];
        match self.unpack(index) {
            // Whatever is wrong with bytes that are not the layer's is not worth telling.
            Err(error) if error.is_of_bytes() => Err(changed(stored, layer).unwrap_or(error)),
            other => other,
        }
    }

    fn unpack(&mut self, index: usize) -> Result<(), ApplyError> {
        let layer = index + 1;
        let stored = &self.plan.layers[index];
        let unreadable = |source| ApplyError::Stream { layer, source };
        let blob = stored.blob().map_err(unreadable)?;
        let (before, all) = self.share(index);
        let stream = Hashing::new(blob.into_reader());
        let archive = Hashing::new(Bounded {
            from: Unpacking::of(BufReader::with_capacity(CHUNK, stream)).map_err(unreadable)?,
            left: self.plan.limits.bytes.saturating_sub(self.unpacked),
            read: 0,
        });
        // Its digest tells whether something is missing.
        let mut reader = ArchiveReader::new(archive).without_end_mark();
        let mut current = Current {
            number: layer,
            made: HashSet::new(),
        };
        loop {
            let member = reader.next_member();
            let Some(member) = member.map_err(|source| self.broken(layer, source))? else {
                break;
            };
            self.members += 1;
            if self.members > self.plan.limits.entries {
                return Err(ApplyError::TooMany {
                    most: self.plan.limits.entries,
                });
            }
            self.member(&member, &mut reader, &mut current)?;
            let read = before + reader.get_ref().inner().from.stored_read();
            if (self.progress)(read.min(all), all).is_break() {
                return Err(ApplyError::Unwanted);
            }
        }
        self.verify(reader.into_inner(), stored, layer)
    }

    /// Bytes stored of the layers before one, and of all.
    fn share(&self, index: usize) -> (u64, u64) {
        let bytes = |layers: &[Stored]| layers.iter().map(|layer| layer.size).sum();
        (bytes(&self.plan.layers[..index]), bytes(&self.plan.layers))
    }

    /// Reads what is left, and compares it with the digests. Only now is anything of the layer believed.
    fn verify(
        &mut self,
        archive: Hashing<Bounded<Unpacking<Layer>>>,
        stored: &Stored,
        layer: usize,
    ) -> Result<(), ApplyError> {
        let limit = self.too_large();
        let what = format!("layer {layer}");
        let diff_id = Digest::parse(&stored.diff_id)?;
        let passed = archive.finish(&what, &diff_id);
        let bounded = match passed {
            Err(crate::OciError::Unreadable { source, .. }) if is_bound(&source) => {
                return Err(limit);
            }
            other => other?,
        };
        self.unpacked += bounded.read;
        let stream = bounded.from.into_inner().into_inner();
        if let Some(digest) = &stored.digest {
            stream.finish(&what, &Digest::parse(digest)?)?;
        }
        Ok(())
    }

    fn broken(&self, layer: usize, source: pyro_transfer::archive::ArchiveError) -> ApplyError {
        use pyro_transfer::archive::ArchiveError;
        match source {
            ArchiveError::Io { source } if is_bound(&source) => self.too_large(),
            ArchiveError::Io { source } => ApplyError::Stream { layer, source },
            source => ApplyError::Archive { layer, source },
        }
    }

    fn too_large(&self) -> ApplyError {
        ApplyError::TooLarge {
            most: self.plan.limits.bytes,
        }
    }

    fn member(
        &mut self,
        member: &Member,
        reader: &mut ArchiveReader<impl Read>,
        current: &mut Current,
    ) -> Result<(), ApplyError> {
        let refused = |why| ApplyError::Member {
            layer: current.number,
            name: shown(&member.name),
            why,
        };
        let path = plain(&member.name).map_err(refused)?;
        let (above, name) = split(&path);
        if name.starts_with(WHITEOUT) {
            return match name {
                OPAQUE => self.clear(above, current),
                name if name.starts_with(HOUSEKEEPING) => Ok(()),
                name => match &name[WHITEOUT.len()..] {
                    b"" | b"." | b".." => Err(refused("is a whiteout of nothing")),
                    hidden => self.hide(&join(above, hidden), current),
                },
            };
        }
        let owner = reader.owner().ok_or_else(|| refused("has no owner"))?;
        let dress = Dress::new(
            &path,
            owner,
            member.mode,
            member.mtime_ns,
            reader.attributes(),
        )?;
        match &member.kind {
            MemberKind::Folder => self.folder(&path, &dress)?,
            _ if path.is_empty() => return Err(refused("is the root, and no folder")),
            MemberKind::File if member.size > LONGEST_FILE => {
                return Err(refused("is longer than a file can be"));
            }
            MemberKind::File => self.file(member, &path, &dress, reader, current.number)?,
            MemberKind::Symlink { target } => {
                if target.is_empty() || target.len() > LONGEST_PATH || target.contains(&0) {
                    return Err(refused("is a link to no path"));
                }
                self.replace(&path)?;
                let folder = self.tree.folder(above)?;
                symlinkat(target.as_slice(), folder, name).map_err(ApplyError::making(&path))?;
                self.applied.attributes_left_out +=
                    dress.put_on_unopened(folder, name, true, &path)?;
            }
            MemberKind::HardLink { target } => {
                let target = plain(target).map_err(refused)?;
                let linked = self.link(&path, &target, &dress)?;
                linked.map_err(refused)?;
            }
            MemberKind::Special(kind) if *kind == FIFO => {
                self.replace(&path)?;
                let folder = self.tree.folder(above)?;
                mknodat(folder, name, SFlag::S_IFIFO, Mode::S_IRUSR, 0)
                    .map_err(ApplyError::making(&path))?;
                self.applied.attributes_left_out +=
                    dress.put_on_unopened(folder, name, false, &path)?;
            }
            MemberKind::Special(_) => {
                // What it replaces is gone all the same.
                self.replace(&path)?;
                self.applied.devices_left_out += 1;
                return Ok(());
            }
        }
        self.applied.entries += 1;
        let mut made = path.as_slice();
        while !made.is_empty() && current.made.insert(made.to_vec()) {
            made = split(made).0;
        }
        Ok(())
    }

    fn folder(&mut self, path: &[u8], dress: &Dress) -> Result<(), ApplyError> {
        let (above, name) = split(path);
        if !path.is_empty() {
            match self.tree.look(path)? {
                Some(found) if is_folder(&found) => {}
                found => {
                    if found.is_some() {
                        self.replace(path)?;
                    }
                    let folder = self.tree.folder(above)?;
                    mkdirat(folder, name, Mode::S_IRWXU).map_err(ApplyError::making(path))?;
                }
            }
        }
        let open = self.open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        self.applied.attributes_left_out += dress.put_on(&open, path)?;
        self.times.insert(path.to_vec(), dress.mtime());
        Ok(())
    }

    fn file(
        &mut self,
        member: &Member,
        path: &[u8],
        dress: &Dress,
        reader: &mut ArchiveReader<impl Read>,
        layer: usize,
    ) -> Result<(), ApplyError> {
        self.replace(path)?;
        let file = self.open(path, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?;
        loop {
            let read = reader.read_part(&mut self.buffer);
            let (at, count) = read.map_err(|source| self.broken(layer, source))?;
            if count == 0 {
                break;
            }
            file.write_all_at(&self.buffer[..count], at)
                .map_err(ApplyError::making(path))?;
            self.applied.bytes += count as u64;
        }
        if reader.parts().is_some() {
            file.set_len(member.size)
                .map_err(ApplyError::making(path))?;
        }
        self.applied.attributes_left_out += dress.put_on(&file, path)?;
        Ok(())
    }

    /// A second name for what is there, from this layer or one below. The inner error is the layer's fault.
    fn link(
        &mut self,
        path: &[u8],
        target: &[u8],
        dress: &Dress,
    ) -> Result<Result<(), &'static str>, ApplyError> {
        let found = match self.tree.look(target)? {
            None => return Ok(Err("is a second name of what is not there")),
            Some(found) if is_folder(&found) => return Ok(Err("is a second name of a folder")),
            Some(found) => found,
        };
        let kind = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits());
        // By this name or, over a link in the way, by another one for it.
        if self
            .tree
            .look(path)?
            .is_some_and(|it| it.st_ino == found.st_ino)
        {
            return Ok(Ok(()));
        }
        self.replace(path)?;
        let (target_above, target_name) = split(target);
        let (above, name) = split(path);
        // It was there before something else took the place of this name; that may have been above it.
        let Some(from) = self.tree.find_folder(target_above)? else {
            return Ok(Err("is a second name of what it replaces"));
        };
        let from = from.try_clone().map_err(ApplyError::making(target))?;
        let folder = self.tree.folder(above)?;
        linkat(&from, target_name, folder, name, AtFlags::empty())
            .map_err(ApplyError::making(path))?;
        self.applied.attributes_left_out += match kind {
            SFlag::S_IFREG => {
                let file = self.open(path, OFlag::O_RDONLY)?;
                dress.put_on(&file, path)?
            }
            kind => dress.put_on_unopened(folder, name, kind == SFlag::S_IFLNK, path)?,
        };
        Ok(Ok(()))
    }

    /// Opens what was made a moment ago, or makes it.
    fn open(&mut self, path: &[u8], flags: OFlag) -> Result<File, ApplyError> {
        let (above, name) = split(path);
        let folder = self.tree.folder(above)?;
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = openat(folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR);
        Ok(opened.map_err(ApplyError::making(path))?.into())
    }

    /// Makes room for something else.
    fn replace(&mut self, path: &[u8]) -> Result<(), ApplyError> {
        self.tree.remove(path)
    }

    /// Takes away what layers below have at a path.
    fn hide(&mut self, path: &[u8], current: &Current) -> Result<(), ApplyError> {
        match current.made.contains(path) {
            false => self.tree.remove(path),
            true => self.clear(path, current),
        }
    }

    /// Takes away what layers below have in a folder.
    fn clear(&mut self, path: &[u8], current: &Current) -> Result<(), ApplyError> {
        let is_there = path.is_empty() || self.tree.look(path)?.is_some_and(|it| is_folder(&it));
        if is_there {
            for name in self.tree.names(path)? {
                self.hide(&join(path, &name), current)?;
            }
        }
        Ok(())
    }

    /// Gives folders their times.
    pub(super) fn finish(mut self) -> Result<(Tree, Applied), ApplyError> {
        for (path, time) in std::mem::take(&mut self.times) {
            // Another layer may have put something else in its place.
            if path.is_empty() || self.tree.look(&path)?.is_some_and(|it| is_folder(&it)) {
                let folder = self.open(&path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
                futimens(&folder, &time, &time).map_err(ApplyError::making(&path))?;
            }
        }
        Ok((self.tree, self.applied))
    }
}

/// That the stored bytes are not what their digest says, if they are not. Docker's archives name layers by what is in
/// them, and mostly do not compress them.
fn changed(stored: &Stored, layer: usize) -> Option<ApplyError> {
    let blob = stored.blob().ok()?;
    let digest = match &stored.digest {
        Some(digest) => digest,
        None if is_compressed(&blob) => return None,
        None => &stored.diff_id,
    };
    let expected = Digest::parse(digest).ok()?;
    let compared = Hashing::new(blob.into_reader()).finish(&format!("layer {layer}"), &expected);
    compared.err().map(ApplyError::from)
}

fn is_compressed(blob: &Blob) -> bool {
    let layer = BufReader::with_capacity(CHUNK, Hashing::new(blob.clone().into_reader()));
    !matches!(Unpacking::of(layer), Ok(Unpacking::Plain(_)))
}

/// A folder that a configuration names. One that could not be made is for the command that wants it to miss.
pub(super) fn make_folder(tree: &mut Tree, name: &[u8]) -> Result<(), ApplyError> {
    let Ok(path) = plain(name) else { return Ok(()) };
    match tree.folder(&path) {
        Err(error) if error.is_full() => Err(error),
        _ => Ok(()),
    }
}

/// A member's name as a path below the root: without dots, without slashes at its ends.
fn plain(name: &[u8]) -> Result<Vec<u8>, &'static str> {
    if name.len() > LONGEST_PATH {
        return Err("is longer than a path can be");
    }
    let mut path = Vec::with_capacity(name.len());
    for word in name.split(|&byte| byte == b'/') {
        match word {
            b"" | b"." => continue,
            b".." => return Err("leads out of its folder"),
            word if word.contains(&0) => return Err("is no path"),
            word => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(word);
            }
        }
    }
    Ok(path)
}

fn join(above: &[u8], name: &[u8]) -> Vec<u8> {
    match above {
        b"" => name.to_vec(),
        above => [above, b"/", name].concat(),
    }
}

/// A layer as it is stored.
type Layer = BufReader<Hashing<BlobReader<std::sync::Arc<File>>>>;

/// A layer as an archive, whichever way it is compressed. Its first bytes say more than what the manifest calls
/// it: many are called wrongly.
enum Unpacking<R: io::BufRead> {
    Plain(R),
    Gzip(MultiGzDecoder<R>),
    Zstd(zstd::Decoder<'static, R>),
}

impl Unpacking<Layer> {
    fn of(mut from: Layer) -> io::Result<Self> {
        use io::BufRead;
        let start = from.fill_buf()?;
        Ok(if start.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip(MultiGzDecoder::new(from))
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
            || start.get(1..4) == Some(&[0x2a, 0x4d, 0x18])
        {
            // Also one that begins with a frame to be skipped.
            Self::Zstd(zstd::Decoder::with_buffer(from)?)
        } else {
            Self::Plain(from)
        })
    }

    fn into_inner(self) -> Layer {
        match self {
            Self::Plain(from) => from,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }

    fn stored_read(&self) -> u64 {
        let layer = match self {
            Self::Plain(from) => from,
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zstd(decoder) => decoder.get_ref(),
        };
        layer.get_ref().inner().consumed()
    }
}

impl<R: io::BufRead> Read for Unpacking<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(from) => from.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// Ends with an error where it becomes longer than allowed.
struct Bounded<R> {
    from: R,
    left: u64,
    read: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("more than is allowed")]
struct Bound;

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.read += count as u64;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(Bound)),
        }
        Ok(count)
    }
}

fn is_bound(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Bound>())
}

impl Limits {
    /// Of files, whatever room there is.
    pub const MOST_ENTRIES: u64 = 4_000_000;
    /// Of bytes, whatever room there is.
    pub const MOST_BYTES: u64 = 1 << 37;
}
