//! The files of jobs in a workspace's folder.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};
use pyro_api::Stream;
use pyro_wire::jobs::{JOB_FILE_PREFIX, JobEnd, end_file, output_files};

use crate::private_file;
use crate::store::Command;
use crate::workspace::folder::WorkspaceFolder;

/// What the shim writes of an end, tails included, as JSON.
const END_BYTES: u64 = 1024 * 1024;

/// How much is read at once.
const PIECE: u64 = 256 * 1024;

impl WorkspaceFolder {
    pub(crate) fn job_output(&self, job: u64, stream: Stream) -> PathBuf {
        let [stdout, stderr] = output_files(job);
        self.outputs().join(match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        })
    }

    /// Where the output of a command is, or will be.
    pub(crate) fn output_of(&self, command: &Command, stream: Stream) -> PathBuf {
        match command.job {
            Some(job) => self.job_output(job, stream),
            None => self.output(command.reset_count, command.sequence, stream),
        }
    }

    /// What that file is called.
    pub(crate) fn output_name_of(&self, command: &Command, stream: Stream) -> String {
        let path = self.output_of(command, stream);
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// How much of each stream of a job was kept.
    pub(crate) fn job_bytes(&self, job: u64) -> [u64; 2] {
        [Stream::Stdout, Stream::Stderr].map(|stream| {
            fs::metadata(self.job_output(job, stream)).map_or(0, |metadata| metadata.len())
        })
    }

    /// How a job ended, as its shim wrote it down. `None`: it did not.
    pub(crate) fn job_end(&self, job: u64) -> Option<JobEnd> {
        let mut text = Vec::new();
        File::open(self.outputs().join(end_file(job)))
            .and_then(|file| file.take(END_BYTES).read_to_end(&mut text))
            .ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Keeps the files of a job that no record names yet.
    pub(crate) fn keep_job(&self, job: u64) -> io::Result<KeptJob> {
        let path = self.hold_of(job);
        let lock = private_file::create_locked(&path)?;
        Ok(KeptJob { path, _lock: lock })
    }

    fn hold_of(&self, job: u64) -> PathBuf {
        self.outputs().join(format!("{JOB_FILE_PREFIX}{job}.hold"))
    }

    /// Removes the files of jobs that are in no history: whoever held them was killed.
    pub(crate) fn remove_unknown_jobs<E>(
        &self,
        history: impl FnOnce() -> Result<Vec<Command>, E>,
    ) -> Result<(), E> {
        let entries = || fs::read_dir(self.outputs()).into_iter().flatten().flatten();
        let number = |name: &str| -> Option<u64> {
            let (number, _) = name.strip_prefix(JOB_FILE_PREFIX)?.split_once('.')?;
            number.parse().ok()
        };
        let held = |job| {
            File::open(self.hold_of(job))
                .is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err())
        };
        let numbered = entries().filter_map(|entry| {
            let job = entry.file_name().to_str().and_then(number)?;
            Some((job, entry.path()))
        });
        let unheld: Vec<_> = numbered.filter(|(job, _)| !held(*job)).collect();
        // In this order: what nobody holds any more is in the history by now, or never comes there.
        let commands = history()?;
        let known: BTreeSet<u64> = commands.iter().filter_map(|command| command.job).collect();
        for (job, path) in unheld {
            if !known.contains(&job) || path == self.hold_of(job) {
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }
}

/// Dropping it leaves the files of a job to its record.
pub(crate) struct KeptJob {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Drop for KeptJob {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Hands on what a file holds behind `at`, and moves that.
pub(crate) fn read_on<E>(
    path: &std::path::Path,
    at: &mut u64,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<io::Result<()>, E> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        // Nothing was written yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(())),
        Err(error) => return Ok(Err(error)),
    };
    if let Err(error) = file.seek(SeekFrom::Start(*at)) {
        return Ok(Err(error));
    }
    loop {
        let mut piece = Vec::new();
        match file.by_ref().take(PIECE).read_to_end(&mut piece) {
            Ok(0) => return Ok(Ok(())),
            Ok(count) => {
                *at += count as u64;
                take(&piece)?;
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}
