//! What commands wrote, in files: the beginning of each stream, up to a cap.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{Flock, FlockArg};
use pyro_api::{Caller, Disconnected, Event, EventSink, Stream};

use super::folder::WorkspaceFolder;
use crate::private_file;
use crate::random::random_hex;

/// How much of each stream of a command is kept.
pub(crate) const CAP: u64 = 64 * 1024 * 1024;

/// The output of a command that still runs.
const RUNNING: &str = ".running-";

/// Passes everything on to a caller and keeps a copy of what the command writes.
pub(crate) struct Recorder {
    caller: Caller,
    streams: [Mutex<Recording>; 2],
}

struct Recording {
    path: PathBuf,
    /// Made with the first byte, and locked so that nobody takes it for debris.
    file: Option<Flock<File>>,
    written: u64,
    /// Output is not worth failing a command for.
    broken: bool,
}

impl Recorder {
    pub(crate) fn new(folder: &WorkspaceFolder, caller: Caller) -> io::Result<Self> {
        let name = random_hex(6)?;
        let recording = |kind: &str| {
            Mutex::new(Recording {
                path: folder.outputs().join(format!("{RUNNING}{name}.{kind}")),
                file: None,
                written: 0,
                broken: false,
            })
        };
        Ok(Self {
            caller,
            streams: [recording("stdout"), recording("stderr")],
        })
    }

    /// Keeps what a command wrote that reaches its caller another way.
    pub(crate) fn record(&self, stream: Stream, bytes: &[u8]) {
        let index = match stream {
            Stream::Stdout => 0,
            Stream::Stderr => 1,
        };
        self.streams[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(bytes);
    }

    /// How many bytes of each stream there are so far: of one that is longer, as many as are kept.
    pub(crate) fn written(&self) -> [u64; 2] {
        self.streams.each_ref().map(|recording| {
            let recording = recording.lock().unwrap_or_else(PoisonError::into_inner);
            recording.written
        })
    }

    /// Gives the files the names that the command's number leads to.
    pub(crate) fn keep(&self, folder: &WorkspaceFolder, reset_count: u32, sequence: u32) {
        for (recording, stream) in self.streams.iter().zip([Stream::Stdout, Stream::Stderr]) {
            let mut recording = recording.lock().unwrap_or_else(PoisonError::into_inner);
            if recording.file.take().is_some() {
                let _ = fs::rename(
                    &recording.path,
                    folder.output(reset_count, sequence, stream),
                );
            }
        }
    }
}

impl EventSink for Recorder {
    fn event(&self, event: Event<'_>) -> Result<(), Disconnected> {
        if let Event::Output { stream, bytes } = &event {
            self.record(*stream, bytes);
        }
        self.caller.emit(event)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        for recording in &self.streams {
            let recording = recording.lock().unwrap_or_else(PoisonError::into_inner);
            if recording.file.is_some() {
                let _ = fs::remove_file(&recording.path);
            }
        }
    }
}

impl Recording {
    fn push(&mut self, bytes: &[u8]) {
        let room = usize::try_from(CAP - self.written).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(room)];
        if bytes.is_empty() || self.broken {
            return;
        }
        let written = match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => private_file::create_locked(&self.path).and_then(|file| {
                let file = self.file.insert(file);
                file.write_all(bytes)
            }),
        };
        match written {
            Ok(()) => self.written += bytes.len() as u64,
            Err(_) => self.broken = true,
        }
    }
}

/// Removes the output of commands whose pyro was killed.
pub(crate) fn remove_abandoned(outputs: &Path) {
    for entry in fs::read_dir(outputs).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(RUNNING) {
            continue;
        }
        let unlocked = File::open(entry.path())
            .is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok());
        if unlocked {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Part of a kept output, and how much was kept in all.
pub(crate) fn read(path: &Path, offset: u64, length: u64) -> io::Result<(Vec<u8>, u64)> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        // Nothing was written.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(error),
    };
    let kept = file.metadata()?.len();
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    // What a command that runs has written meanwhile is here as well.
    let read_to = match bytes.is_empty() {
        true => 0,
        false => offset + bytes.len() as u64,
    };
    Ok((bytes, kept.max(read_to)))
}
