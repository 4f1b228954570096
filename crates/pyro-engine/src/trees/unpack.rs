//! Unpacks an image in a process that is root of a user namespace, and listens to how it goes.

use std::io::{self, BufRead, BufReader, PipeReader};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pyro_api::{Error, ErrorCode};
use pyro_namespace::{IdMap, Namespaces, Program};

use super::cache::{Builder, Contents, Partial};
use super::identity::Identity;
use super::inside::{COMMAND, Failure, Report, UNPACK};
use crate::error::{cancelled, host_io, namespaces_refused};

/// How long the process may have nothing to say: it may be flushing all to a slow disk.
const SILENCE: Duration = Duration::from_secs(600);

/// How often to look whether somebody still wants it.
const TURN: Duration = Duration::from_millis(50);

/// What is to be unpacked, and by what.
pub(super) struct Work {
    pub(super) pyro: PathBuf,
    pub(super) image: PathBuf,
    pub(super) environment: &'static str,
}

impl Work {
    /// Makes the tree; tells where its root is. Blocks.
    pub(super) fn build(
        &self,
        builder: Builder,
        identity: &Identity,
        stopped: &AtomicBool,
        progress: &dyn Fn(f32),
    ) -> Result<PathBuf, Error> {
        let what = format!(
            "The files of environment `{}` could not be unpacked",
            self.environment
        );
        let failed = |error: io::Error| host_io(&what, &error);
        let partial = builder.partial().map_err(failed)?;
        let contents = self.unpack(&partial, identity.ids(), stopped, progress, &what)?;
        builder
            .publish(&partial, identity, contents)
            .map_err(failed)
    }

    fn unpack(
        &self,
        partial: &Partial,
        ids: &IdMap,
        stopped: &AtomicBool,
        progress: &dyn Fn(f32),
        what: &str,
    ) -> Result<Contents, Error> {
        let failed = |error: io::Error| host_io(what, &error);
        let (reader, writer) = io::pipe().map_err(failed)?;
        let mut program = Program::new(&self.pyro, Namespaces::Files);
        program
            .args([COMMAND, UNPACK])
            .arg(&self.image)
            .arg(partial.root())
            .keep(partial.busy().map_err(failed)?)
            .stdout(writer);
        // Dropped, it is killed.
        let _child = program.start(ids).map_err(namespaces_refused)?;
        // It holds the end for writing.
        drop(program);
        let mut lines = Lines::of(reader);
        loop {
            match lines.next(stopped).map_err(failed)? {
                Next::Stopped => return Err(cancelled()),
                Next::Report(Report::Progress { done, all }) => {
                    progress((done as f32 / all.max(1) as f32).min(1.0));
                }
                Next::Report(Report::Unpacked(contents)) => return Ok(contents),
                Next::Report(Report::Failed(failure)) => return Err(refusal(what, failure)),
                Next::End => {
                    return Err(Error::new(ErrorCode::Internal, what)
                        .because("the process that unpacks it was killed, or is another pyro")
                        .hint("If PYRO_BIN is set, check that it is the `pyro` of this version"));
                }
            }
        }
    }
}

/// What a process inside told.
fn refusal(what: &str, failure: Failure) -> Error {
    let mut error = match failure.errno {
        Some(errno) => {
            let mut error = host_io(what, &Errno::from_raw(errno).into());
            error.causes.clear();
            error
        }
        None => Error::new(ErrorCode::Damaged, what)
            .hint("Repair the image with `pyro env pull ENVIRONMENT`"),
    };
    error.causes.extend(failure.causes);
    error
}

struct Lines(BufReader<PipeReader>);

enum Next {
    Report(Report),
    /// Nobody wants it any more.
    Stopped,
    /// There is nothing more to come.
    End,
}

impl Lines {
    fn of(reader: PipeReader) -> Self {
        Self(BufReader::new(reader))
    }

    fn next(&mut self, stopped: &AtomicBool) -> io::Result<Next> {
        let until = Instant::now() + SILENCE;
        // A line comes in one piece, as it is shorter than what a pipe takes at once.
        while self.0.buffer().is_empty() {
            if stopped.load(Ordering::Relaxed) {
                return Ok(Next::Stopped);
            }
            if Instant::now() >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut fds = [PollFd::new(self.0.get_ref().as_fd(), PollFlags::POLLIN)];
            let turn = PollTimeout::try_from(TURN).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, turn) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(match serde_json::from_str(&line) {
            Ok(report) => Next::Report(report),
            Err(_) => Next::End,
        })
    }
}
