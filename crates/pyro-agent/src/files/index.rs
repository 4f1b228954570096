//! The baseline: what was in the workspace when it began, without the contents.
//!
//! ```text
//! magic and version, generation         8 bytes each
//! records, sorted by path               what is shared with the path before, the rest of the path,
//!                                       mode, size, times, inode; then a file's hash or a link's
//!                                       target
//! end mark, number of records           2 and 8 bytes
//! hash of all of that                   8 bytes
//! ```
//!
//! Numbers are little endian. The file is read and written as a stream, since it may be larger
//! than a guest has memory to spare.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Take, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::time::{ClockId, clock_getres, clock_gettime};
use pyro_wire::files::{EntryKind, Meta, Stamp};

use crate::files::change::cursor;
use crate::files::error::FileError;
use crate::files::hash::{self, Hash, Hasher, KnownHashes};
use crate::files::layout::Layout;
use crate::files::status;
use crate::files::walk::{Found, Order, Walk};

const MAGIC: [u8; 8] = *b"pyroidx\x01";
const BUFFER: usize = 64 * 1024;

/// In place of a length that is shared.
const END: u16 = u16::MAX;

/// Longer paths and targets are not believed.
const PATH: usize = 256 * 1024;

/// A clock with smaller steps is not the one that kernels give the times of files from; and the largest
/// step that those have (of 100 Hz), with as much for two clocks that are not quite the same.
const FINE_NS: i64 = 100_000;
const COARSEST_NS: i64 = 20_000_000;

/// What the index has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) path: Vec<u8>,
    /// With the bits for the kind.
    pub(crate) mode: u32,
    pub(crate) stamp: Stamp,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    File(Hash),
    Symlink(Vec<u8>),
    Folder { empty: bool },
}

impl Record {
    pub(crate) fn meta(&self) -> Meta {
        let (kind, size, target, empty) = match &self.content {
            Content::File(_) => (EntryKind::File, self.stamp.size, None, false),
            Content::Symlink(target) => (
                EntryKind::Symlink,
                target.len() as u64,
                Some(target.clone().into()),
                false,
            ),
            Content::Folder { empty } => (EntryKind::Directory, 0, None, *empty),
        };
        Meta {
            kind,
            size,
            mode: self.mode & status::PERMISSIONS,
            target,
            empty,
        }
    }
}

/// The clock that the file system's times come from. What has an older time than this, and is
/// looked at later, cannot be changed any more without getting another time.
pub(crate) fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE)
        .map_or(0, |now| status::nanoseconds(now.tv_sec(), now.tv_nsec()));
    // Where the coarse clock is as fine as any, which is in gVisor, the times of files are none the less
    // those of the host's coarse one, and so may be that much behind.
    let fine = clock_getres(ClockId::CLOCK_REALTIME_COARSE)
        .is_ok_and(|step| step.tv_sec() == 0 && step.tv_nsec() < FINE_NS);
    match fine {
        true => now.saturating_sub(COARSEST_NS),
        false => now,
    }
}

/// A stamp that can be relied on later, or one that equals none.
pub(crate) fn settled(stamp: Stamp, looked_at_ns: i64) -> Stamp {
    match stamp.ctime_ns < looked_at_ns {
        true => stamp,
        false => Stamp {
            ctime_ns: i64::MIN,
            ..stamp
        },
    }
}

/// Writes down what is in the workspace. Contents are read unless they are known from before.
pub(crate) fn record(workspace: OwnedFd, to: &Path, known: &KnownHashes) -> Result<(), FileError> {
    let began_ns = now_ns();
    let generation = generation();
    let failed = |source| FileError::at("write", "the index of the baseline", source);
    let mut writer = Writer::create(to, generation).map_err(failed)?;
    let mut walk =
        Walk::new(workspace, Order::Paths).map_err(|error| FileError::io("read", b"", error))?;
    while let Some(found) = walk.next()? {
        found.readable(b"")?;
        let Some(content) = content(&found, known)? else {
            continue;
        };
        let record = Record {
            path: found.path.to_vec(),
            mode: found.status.st_mode,
            stamp: settled(status::stamp(&found.status), began_ns),
            content,
        };
        writer.write(&record).map_err(failed)?;
    }
    writer.finish().map_err(failed)
}

fn generation() -> u64 {
    clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, |now| {
        status::nanoseconds(now.tv_sec(), now.tv_nsec()).cast_unsigned()
    })
}

/// `None` for what no baseline holds, and for what has vanished.
fn content(found: &Found, known: &KnownHashes) -> Result<Option<Content>, FileError> {
    let failed = |error| FileError::io("read", found.path, error);
    Ok(match found.kind {
        EntryKind::Directory => Some(Content::Folder { empty: found.empty }),
        EntryKind::Symlink => found.target().map_err(failed)?.map(Content::Symlink),
        EntryKind::Special => None,
        EntryKind::File => {
            let stamp = status::stamp(&found.status);
            match known.get(&stamp.inode) {
                Some(known) if (known.size, known.mtime_ns) == (stamp.size, stamp.mtime_ns) => {
                    Some(Content::File(known.hash))
                }
                _ => match found.open_file()? {
                    Some(file) => {
                        Some(Content::File(hash::of_file(&file).map_err(|source| {
                            FileError::io("read", found.path, source)
                        })?))
                    }
                    None => None,
                },
            }
        }
    })
}

/// Replaces the stamps of some records, given by their numbers in order, unless there is another
/// baseline meanwhile.
pub(crate) fn refresh(
    layout: &Layout,
    generation: u64,
    stamps: &[(u64, Stamp)],
) -> Result<(), FileError> {
    let failed = |source| FileError::at("write", "the index of the baseline", source);
    let mut reader = Reader::open(&layout.index())?;
    if reader.generation() != generation {
        return Ok(());
    }
    let path = layout.next_index();
    // A crash may have left one.
    let _ = fs::remove_file(&path);
    let mut writer = Writer::create(&path, generation).map_err(failed)?;
    let mut stamps = stamps.iter().peekable();
    let mut number = 0;
    while let Some(mut record) = reader.next()? {
        if let Some((_, stamp)) = stamps.next_if(|(at, _)| *at == number) {
            record.stamp = *stamp;
        }
        writer.write(&record).map_err(failed)?;
        number += 1;
    }
    writer.finish().map_err(failed)?;
    fs::rename(&path, layout.index()).map_err(failed)
}

/// Hashes what goes by.
struct Hashing<T> {
    inner: T,
    hasher: Hasher,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        Self {
            inner,
            hasher: Hasher::default(),
        }
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(data)?;
        self.hasher.update(&data[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

struct Writer {
    to: BufWriter<Hashing<File>>,
    before: Vec<u8>,
    count: u64,
}

impl Writer {
    fn create(path: &Path, generation: u64) -> io::Result<Self> {
        let file = Hashing::new(File::create_new(path)?);
        let mut to = BufWriter::with_capacity(BUFFER, file);
        to.write_all(&MAGIC)?;
        to.write_all(&generation.to_le_bytes())?;
        Ok(Self {
            to,
            before: Vec::new(),
            count: 0,
        })
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        let equal = self.before.iter().zip(&record.path);
        let shared = equal.take_while(|(one, other)| one == other).count();
        let shared = shared.min(usize::from(END - 1));
        let rest = &record.path[shared..];
        let length = u32::try_from(rest.len()).map_err(io::Error::other)?;
        let size = match &record.content {
            Content::File(_) => record.stamp.size,
            Content::Symlink(target) => target.len() as u64,
            Content::Folder { empty } => u64::from(*empty),
        };
        let to = &mut self.to;
        // No longer than `END - 1`, see above.
        to.write_all(&(shared as u16).to_le_bytes())?;
        to.write_all(&length.to_le_bytes())?;
        to.write_all(rest)?;
        to.write_all(&record.mode.to_le_bytes())?;
        to.write_all(&size.to_le_bytes())?;
        to.write_all(&record.stamp.mtime_ns.to_le_bytes())?;
        to.write_all(&record.stamp.ctime_ns.to_le_bytes())?;
        to.write_all(&record.stamp.inode.to_le_bytes())?;
        match &record.content {
            Content::File(hash) => to.write_all(&hash.to_le_bytes())?,
            Content::Symlink(target) => to.write_all(target)?,
            Content::Folder { .. } => {}
        }
        self.before.truncate(shared);
        self.before.extend_from_slice(rest);
        self.count += 1;
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.to.write_all(&END.to_le_bytes())?;
        self.to.write_all(&self.count.to_le_bytes())?;
        let mut file = self.to.into_inner().map_err(|error| error.into_error())?;
        let hash = file.hasher.finish();
        file.inner.write_all(&hash.to_le_bytes())?;
        file.inner.sync_data()
    }
}

/// Reads an index from its beginning to its end, and only then knows that it was sound.
pub(crate) struct Reader {
    from: BufReader<Hashing<Take<File>>>,
    generation: u64,
    before: Vec<u8>,
    count: u64,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let name = path.as_os_str().as_bytes();
        let file = match cursor::open_file(AT_FDCWD, name, OFlag::O_RDONLY) {
            Err(Errno::ENOENT) => {
                let words = "this workspace has no baseline to compare it with";
                return Err(FileError::refused(words));
            }
            opened => opened.map_err(|error| not_readable(error.into()))?,
        };
        let length = file.metadata().map_err(not_readable)?.len();
        let hashed = length.saturating_sub(size_of::<Hash>() as u64);
        let mut reader = Self {
            from: BufReader::with_capacity(BUFFER, Hashing::new(file.take(hashed))),
            generation: 0,
            before: Vec::new(),
            count: 0,
        };
        if reader.array()? != MAGIC {
            return Err(damaged());
        }
        reader.generation = u64::from_le_bytes(reader.array()?);
        Ok(reader)
    }

    /// Tells this baseline from all others of the workspace.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn next(&mut self) -> Result<Option<Record>, FileError> {
        let shared = u16::from_le_bytes(self.array()?);
        if shared == END {
            return self.end().map(|()| None);
        }
        let length = u32::from_le_bytes(self.array()?) as usize;
        if usize::from(shared) > self.before.len() || length > PATH {
            return Err(damaged());
        }
        self.before.truncate(usize::from(shared));
        let rest = self.bytes(length)?;
        self.before.extend_from_slice(&rest);

        let mode = u32::from_le_bytes(self.array()?);
        let size = u64::from_le_bytes(self.array()?);
        let mtime_ns = i64::from_le_bytes(self.array()?);
        let ctime_ns = i64::from_le_bytes(self.array()?);
        let inode = u64::from_le_bytes(self.array()?);
        let content = match status::kind(mode) {
            EntryKind::File => Content::File(Hash::from_le_bytes(self.array()?)),
            EntryKind::Directory => Content::Folder { empty: size == 1 },
            EntryKind::Symlink => match usize::try_from(size) {
                Ok(length) if length <= PATH => Content::Symlink(self.bytes(length)?),
                _ => return Err(damaged()),
            },
            EntryKind::Special => return Err(damaged()),
        };
        self.count += 1;
        Ok(Some(Record {
            path: self.before.clone(),
            mode,
            stamp: Stamp {
                inode,
                size,
                mtime_ns,
                ctime_ns,
            },
            content,
        }))
    }

    fn end(&mut self) -> Result<(), FileError> {
        let count = u64::from_le_bytes(self.array()?);
        let mut beyond = [0];
        let more = self.from.read(&mut beyond).map_err(not_readable)?;
        let hashing = self.from.get_mut();
        let mut hash = [0; size_of::<Hash>()];
        let file = hashing.inner.get_mut();
        file.read_exact(&mut hash).map_err(not_readable)?;
        let sound = Hash::from_le_bytes(hash) == std::mem::take(&mut hashing.hasher).finish();
        if count != self.count || more > 0 || !sound {
            return Err(damaged());
        }
        Ok(())
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], FileError> {
        let mut array = [0; LENGTH];
        self.from.read_exact(&mut array).map_err(not_readable)?;
        Ok(array)
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, FileError> {
        let mut bytes = vec![0; length];
        self.from.read_exact(&mut bytes).map_err(not_readable)?;
        Ok(bytes)
    }
}

fn damaged() -> FileError {
    not_readable(io::Error::new(
        io::ErrorKind::InvalidData,
        "it is damaged, and nothing can be compared until the workspace is reset",
    ))
}

fn not_readable(source: io::Error) -> FileError {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => damaged(),
        _ => FileError::at("read", "the index of the baseline", source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Record> {
        let stamp = Stamp {
            inode: 7,
            size: 12,
            mtime_ns: -5,
            ctime_ns: i64::MAX,
        };
        let record = |path: &[u8], mode, content| Record {
            path: path.to_vec(),
            mode,
            stamp,
            content,
        };
        let mut records = vec![
            record(b"a", libc::S_IFREG | 0o4755, Content::File(9)),
            record(b"a/\n\xff", libc::S_IFREG, Content::File(1)),
            record(&[b'b'; 70_000], libc::S_IFREG, Content::File(2)),
            record(&[b'b'; 70_001], libc::S_IFREG, Content::File(3)),
            record(
                b"l",
                libc::S_IFLNK | 0o777,
                Content::Symlink(b"to\xff".into()),
            ),
            record(b"z", libc::S_IFDIR | 0o700, Content::Folder { empty: true }),
        ];
        records[4].stamp.size = 3;
        records[5].stamp.size = 1;
        records
    }

    fn written(folder: &Path, records: &[Record]) -> std::path::PathBuf {
        let path = folder.join("index");
        let mut writer = Writer::create(&path, 42).unwrap();
        for record in records {
            writer.write(record).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    fn read(path: &Path) -> Result<Vec<Record>, FileError> {
        let mut reader = Reader::open(path)?;
        let mut records = Vec::new();
        while let Some(record) = reader.next()? {
            records.push(record);
        }
        Ok(records)
    }

    #[test]
    fn what_is_written_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), &sample());
        assert_eq!(read(&path).unwrap(), sample());
        assert_eq!(Reader::open(&path).unwrap().generation(), 42);
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let short: Vec<Record> = sample()
            .into_iter()
            .filter(|record| record.path.len() < 100)
            .collect();
        let path = written(folder.path(), &short);
        let sound = fs::read(&path).unwrap();
        for at in 0..sound.len() {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            assert!(read(&path).is_err(), "byte {at}");
            fs::write(&path, &sound[..at]).unwrap();
            assert!(read(&path).is_err(), "length {at}");
        }
        let mut longer = sound.clone();
        longer.push(0);
        fs::write(&path, longer).unwrap();
        assert!(read(&path).is_err());
        fs::remove_file(&path).unwrap();
        let fault = read(&path).unwrap_err().fault();
        assert_eq!(fault.code, pyro_wire::fault::FaultCode::Refused);
    }

    #[test]
    fn a_stamp_from_this_very_moment_is_not_relied_on() {
        let stamp = sample()[0].stamp;
        assert_eq!(settled(stamp, i64::MAX).ctime_ns, i64::MIN);
        let old = Stamp {
            ctime_ns: 5,
            ..stamp
        };
        assert_eq!(settled(old, 6), old);
        assert_ne!(settled(old, 5), old);
    }
}
