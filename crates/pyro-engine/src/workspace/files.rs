//! Asks a workspace's agent about files. The guest is not trusted: what it sends is bounded here,
//! and every wait ends.

use std::io::Write;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use pyro_api::Error;
use pyro_transfer::archive::{ArchiveWriter, Member, MemberKind};
use pyro_wire::Bytes;
use pyro_wire::agent::{AgentReply, AgentRequest, Freeze};
use pyro_wire::exec::ExecControl;
use pyro_wire::fault::Fault;
use pyro_wire::files::{
    Change, ChangeReply, Diff, DiffEntry, DiffEvent, Entry, Export, ExportEvent, List, ListEvent,
    Meta, Place, Read, ReadEvent, Stamp,
};
use pyro_wire::frame::{self, BULK_CHUNK, Frame, FrameError, Kind};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::pipe::{ChunkReader, ChunkWriter};

/// How long an agent may be silent. It hashes and moves whole trees, under emulation.
const SILENCE: Duration = Duration::from_secs(600);

/// How much of an archive the system holds that the other side has not taken.
const SEND_BUFFER: usize = 4 * BULK_CHUNK;

/// How many entries of a guest are taken before it is not believed any more.
const MOST_ENTRIES: usize = 5_000_000;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    #[error("{}", fault.message)]
    Refused { fault: Fault },
    #[error("the connection to the guest was lost")]
    Broken {
        #[source]
        source: FrameError,
    },
    #[error("the guest did not answer for {} s", SILENCE.as_secs())]
    Silent,
    #[error("the guest sent an invalid reply: {0}")]
    InvalidReply(&'static str),
    /// What was to be sent could not be made.
    #[error(transparent)]
    Own(#[from] Error),
}

impl From<FrameError> for FilesError {
    fn from(source: FrameError) -> Self {
        Self::Broken { source }
    }
}

impl From<Fault> for FilesError {
    fn from(fault: Fault) -> Self {
        Self::Refused { fault }
    }
}

async fn next(stream: &mut UnixStream) -> Result<Frame, FilesError> {
    timeout(SILENCE, frame::read(stream))
        .await
        .map_err(|_| FilesError::Silent)??
        .ok_or_else(|| FrameError::Ended.into())
}

async fn message<T: DeserializeOwned>(stream: &mut UnixStream) -> Result<T, FilesError> {
    Ok(next(stream).await?.message()?)
}

/// A request with nothing but `Done` for an answer.
async fn done(mut stream: UnixStream, request: &AgentRequest) -> Result<(), FilesError> {
    frame::write_message(&mut stream, request).await?;
    match message(&mut stream).await? {
        AgentReply::Done => Ok(()),
        AgentReply::Failed(fault) => Err(fault.into()),
        AgentReply::Ready(_) | AgentReply::Used { .. } => {
            Err(FilesError::InvalidReply("an answer to a different request"))
        }
    }
}

pub(crate) async fn freeze(stream: UnixStream, thaw_after: Duration) -> Result<(), FilesError> {
    let thaw_after_ms = u64::try_from(thaw_after.as_millis()).unwrap_or(u64::MAX);
    done(stream, &AgentRequest::Freeze(Freeze { thaw_after_ms })).await
}

/// Keeps frozen what was frozen all the time until now.
pub(crate) async fn stay_frozen(
    stream: UnixStream,
    thaw_after: Duration,
) -> Result<(), FilesError> {
    let thaw_after_ms = u64::try_from(thaw_after.as_millis()).unwrap_or(u64::MAX);
    done(stream, &AgentRequest::StayFrozen(Freeze { thaw_after_ms })).await
}

pub(crate) async fn thaw(stream: UnixStream) -> Result<(), FilesError> {
    done(stream, &AgentRequest::Thaw).await
}

pub(crate) async fn list(
    mut stream: UnixStream,
    path: Bytes,
    recursive: bool,
) -> Result<Vec<Entry>, FilesError> {
    let request = AgentRequest::List(List { path, recursive });
    frame::write_message(&mut stream, &request).await?;
    let mut entries = Vec::new();
    loop {
        match message(&mut stream).await? {
            ListEvent::Entries(batch) => entries.extend(batch),
            ListEvent::End => return Ok(entries),
            ListEvent::Failed(fault) => return Err(fault.into()),
        }
        if entries.len() > MOST_ENTRIES {
            return Err(FilesError::InvalidReply("an impossible number of files"));
        }
    }
}

/// Part of a file, and what the file is.
pub(crate) struct Piece {
    pub(crate) meta: Meta,
    pub(crate) stamp: Stamp,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) async fn read(
    mut stream: UnixStream,
    path: Bytes,
    offset: u64,
    length: u64,
) -> Result<Piece, FilesError> {
    let request = AgentRequest::Read(Read {
        path,
        offset,
        length,
    });
    frame::write_message(&mut stream, &request).await?;
    let (meta, stamp) = match message(&mut stream).await? {
        ReadEvent::Found { meta, stamp } => (meta, stamp),
        ReadEvent::Failed(fault) => return Err(fault.into()),
        ReadEvent::End => return Err(FilesError::InvalidReply("an end before a beginning")),
    };
    let mut bytes = Vec::new();
    loop {
        let frame = next(&mut stream).await?;
        if frame.kind == Kind::Output {
            bytes.extend_from_slice(&frame.body);
            if bytes.len() as u64 > length {
                return Err(FilesError::InvalidReply(
                    "more of a file than was requested",
                ));
            }
            continue;
        }
        return match frame.message()? {
            ReadEvent::End => Ok(Piece { meta, stamp, bytes }),
            ReadEvent::Failed(fault) => Err(fault.into()),
            ReadEvent::Found { .. } => Err(FilesError::InvalidReply("a second beginning")),
        };
    }
}

/// Changes files, all or nothing. `fill` writes the archive, on a thread of its own.
pub(crate) async fn change<T, F>(
    stream: UnixStream,
    change: Change,
    fill: F,
) -> Result<T, FilesError>
where
    T: Send + 'static,
    F: FnOnce(&mut dyn Write) -> Result<T, Error> + Send + 'static,
{
    send_archive(stream, &AgentRequest::Change(change), fill).await
}

/// Puts files anywhere in a guest. `fill` writes the archive, on a thread of its own.
pub(crate) async fn place<T, F>(stream: UnixStream, place: Place, fill: F) -> Result<T, FilesError>
where
    T: Send + 'static,
    F: FnOnce(&mut dyn Write) -> Result<T, Error> + Send + 'static,
{
    send_archive(stream, &AgentRequest::Place(place), fill).await
}

async fn send_archive<T, F>(
    stream: UnixStream,
    request: &AgentRequest,
    fill: F,
) -> Result<T, FilesError>
where
    T: Send + 'static,
    F: FnOnce(&mut dyn Write) -> Result<T, Error> + Send + 'static,
{
    // A wish: some chunks more on their way.
    let _ = setsockopt(&stream, sockopt::SndBuf, &SEND_BUFFER);
    let (mut from_guest, mut to_guest) = stream.into_split();
    frame::write_message(&mut to_guest, request).await?;
    let (mut to, mut chunks) = ChunkWriter::new();
    let packing = tokio::task::spawn_blocking(move || {
        let filled = fill(&mut to)?;
        // Who reads may be gone, and says why.
        let _ = to.flush();
        Ok(filled)
    });
    let send = async {
        while let Some(chunk) = chunks.recv().await {
            frame::write_bulk(&mut to_guest, Kind::Input, &chunk).await?;
        }
        let filled = packing
            .await
            .unwrap_or_else(|broken| Err(crate::error::broke(&broken)))?;
        // Without this word nothing is changed.
        frame::write_message(&mut to_guest, &ExecControl::InputEnd).await?;
        Ok::<T, FilesError>(filled)
    };
    let answer = async {
        let reply = frame::read_message::<ChangeReply>(&mut from_guest).await?;
        match reply {
            ChangeReply::Done { .. } => Ok(()),
            ChangeReply::Failed(fault) => Err(FilesError::from(fault)),
        }
    };
    tokio::pin!(send, answer);
    let mut sent = None;
    loop {
        tokio::select! {
            // An answer that comes early tells more than the pipe that breaks behind it.
            biased;
            answered = &mut answer => {
                answered?;
                return sent.ok_or(FilesError::InvalidReply("done before all was sent"));
            }
            result = &mut send, if sent.is_none() => match result {
                Ok(filled) => sent = Some(filled),
                Err(FilesError::Own(error)) => return Err(FilesError::Own(error)),
                // The agent says why it hung up.
                Err(broken) => {
                    return match timeout(SILENCE, &mut answer).await {
                        Ok(Err(FilesError::Refused { fault })) => Err(fault.into()),
                        _ => Err(broken),
                    };
                }
            },
            () = tokio::time::sleep(SILENCE), if sent.is_some() => return Err(FilesError::Silent),
        }
    }
}

/// A file for an archive that is held in memory.
pub(crate) struct NewFile {
    /// Relative to the change's destination.
    pub(crate) name: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) content: Content,
}

pub(crate) enum Content {
    File(std::sync::Arc<[u8]>),
    Symlink(Vec<u8>),
}

/// Writes an archive of files that are in memory; of nothing, when there are none.
pub(crate) fn archive_of(
    files: &[NewFile],
    mtime_ns: i64,
    to: &mut dyn Write,
) -> Result<(), Error> {
    let write = || {
        let mut archive = ArchiveWriter::new(to);
        for file in files {
            let (kind, data): (_, &[u8]) = match &file.content {
                Content::File(bytes) => (MemberKind::File, bytes),
                Content::Symlink(target) => {
                    let target = target.clone();
                    (MemberKind::Symlink { target }, &[])
                }
            };
            archive.member(&Member {
                name: file.name.clone(),
                kind,
                mode: file.mode,
                mtime_ns,
                size: data.len() as u64,
            })?;
            archive.data(data)?;
        }
        archive.finish().map(drop)
    };
    write().map_err(|error| crate::error::host_io("The guest did not accept the files", &error))
}

/// What a guest did not send.
#[derive(Default)]
pub(crate) struct Unsent {
    /// Neither file, folder nor link.
    pub(crate) special: Vec<Bytes>,
    pub(crate) too_deep: Vec<Bytes>,
}

/// Takes an archive of files out. `unpack` reads it, on a thread of its own.
pub(crate) async fn export<T, F>(
    mut stream: UnixStream,
    path: Bytes,
    unpack: F,
) -> Result<(T, Unsent), FilesError>
where
    T: Send + 'static,
    F: FnOnce(&mut dyn std::io::Read) -> Result<T, Error> + Send + 'static,
{
    frame::write_message(&mut stream, &AgentRequest::Export(Export { path })).await?;
    let (chunks, mut from) = ChunkReader::new();
    let unpacking = tokio::task::spawn_blocking(move || unpack(&mut from));
    let received = loop {
        let frame = match next(&mut stream).await {
            Ok(frame) => frame,
            Err(error) => break Err(error),
        };
        if frame.kind == Kind::Output {
            if chunks.send(frame.body).await.is_err() {
                // Whoever unpacks had enough of it, and says why.
                break Ok(Unsent::default());
            }
            continue;
        }
        break match frame.message() {
            Ok(ExportEvent::End { skipped, too_deep }) => Ok(Unsent {
                special: skipped,
                too_deep,
            }),
            Ok(ExportEvent::Failed(fault)) => Err(fault.into()),
            Err(error) => Err(error.into()),
        };
    };
    // An archive that the guest broke off must not look complete, and it does not: it lacks its
    // end.
    drop(chunks);
    let unpacked = unpacking
        .await
        .unwrap_or_else(|broken| Err(crate::error::broke(&broken)));
    match (received, unpacked) {
        (Err(error), _) => Err(error),
        (Ok(_), Err(error)) => Err(error.into()),
        (Ok(unsent), Ok(unpacked)) => Ok((unpacked, unsent)),
    }
}

/// A difference, with what the file holds now where that was wanted.
pub(crate) struct Changed {
    pub(crate) entry: DiffEntry,
    pub(crate) content: Option<Vec<u8>>,
}

/// Sends each difference as it comes, so that no more of them are held than whoever takes them is
/// behind. Says what was left out.
pub(crate) async fn diff(
    mut stream: UnixStream,
    content_limit: u64,
    each: mpsc::Sender<Changed>,
) -> Result<Vec<Bytes>, FilesError> {
    let request = AgentRequest::Diff(Diff { content_limit });
    frame::write_message(&mut stream, &request).await?;
    for _ in 0..MOST_ENTRIES {
        match message(&mut stream).await? {
            DiffEvent::Entry(entry) => {
                let content = if entry.content {
                    Some(content(&mut stream, content_limit).await?)
                } else {
                    None
                };
                if each.send(Changed { entry, content }).await.is_err() {
                    // Whoever takes them had enough of it, and says why.
                    return Ok(Vec::new());
                }
            }
            DiffEvent::End { skipped } => return Ok(skipped),
            DiffEvent::Failed(fault) => return Err(fault.into()),
            DiffEvent::ContentEnd => return Err(FilesError::InvalidReply("an end of nothing")),
        }
    }
    Err(FilesError::InvalidReply("an impossible number of files"))
}

async fn content(stream: &mut UnixStream, limit: u64) -> Result<Vec<u8>, FilesError> {
    let mut bytes = Vec::new();
    loop {
        let frame = next(stream).await?;
        if frame.kind == Kind::Output {
            bytes.extend_from_slice(&frame.body);
            if bytes.len() as u64 > limit {
                return Err(FilesError::InvalidReply(
                    "more of a file than was requested",
                ));
            }
            continue;
        }
        return match frame.message()? {
            DiffEvent::ContentEnd => Ok(bytes),
            DiffEvent::Failed(fault) => Err(fault.into()),
            _ => Err(FilesError::InvalidReply("no end of a file")),
        };
    }
}
