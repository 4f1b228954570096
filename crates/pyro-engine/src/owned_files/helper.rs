//! Starts a process that is root of a user namespace, and listens to how its work goes.

use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pyro_api::{Caller, Error, ErrorCode, Event};
use pyro_disk::layers::Layer;
use pyro_namespace::{IdMap, Namespaces, Program};
use pyro_oci::Image;
use pyro_oci::apply::{Applied, Limits, Plan};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::inside::{APPLY, COMMAND, COPY, IMAGE, MERGE, UNPACK};
use super::report::{Copied, Failure, Report, Unpacked};
use crate::error::{broke, cancelled, host_io, namespaces_refused, too_deep};

/// How long the process may have nothing to say: it may be flushing all to a slow disk.
pub(super) const SILENCE: Duration = Duration::from_secs(600);

/// How often to look whether somebody still wants it.
const TURN: Duration = Duration::from_millis(50);

/// Whoever does the work, and what a failure of it is called.
pub(crate) struct Helper {
    pyro: PathBuf,
    pub(super) ids: IdMap,
    what: String,
}

impl Helper {
    pub(crate) fn new(pyro: &Path, what: String) -> Result<Self, Error> {
        Ok(Self {
            pyro: pyro.to_owned(),
            ids: IdMap::of_caller().map_err(namespaces_refused)?,
            what,
        })
    }

    /// Unpacks a disk into an empty folder. `busy` stays open for as long as anybody writes there.
    pub(crate) fn unpack(
        &self,
        disk: &[Layer],
        folder: &Path,
        busy: OwnedFd,
        watch: &Watch,
    ) -> Result<Unpacked, Error> {
        let mut layers = disk.iter().map(|layer| layer.path.as_path());
        // The image comes first; the folder stands between it and what is on it.
        let paths = layers.next().into_iter().chain([folder]);
        let paths: Vec<&Path> = paths.chain(layers).collect();
        match self.run(UNPACK, paths, [busy], watch)? {
            Report::Unpacked(unpacked) => Ok(unpacked),
            _ => Err(self.garbled()),
        }
    }

    /// Applies the layers of an image to an empty folder.
    pub(crate) fn apply(
        &self,
        image: &Image,
        limits: Limits,
        folder: &Path,
        watch: &Watch,
    ) -> Result<Applied, Error> {
        let (plan, descriptors) = Plan::of(image, limits).map_err(|error| self.failed(&error))?;
        // Numbers and digests always are text.
        let plan = serde_json::to_string(&plan).unwrap_or_default();
        let keep = descriptors.into_inner();
        match self.run(APPLY, [Path::new(&plan), folder], keep, watch)? {
            Report::Applied(applied) => Ok(applied),
            _ => Err(self.garbled()),
        }
    }

    pub(super) fn copy(&self, from: &Path, to: &Path, watch: &Watch) -> Result<Copied, Error> {
        match self.run(COPY, [from, to], [], watch)? {
            Report::Copied(copied) => Ok(copied),
            _ => Err(self.garbled()),
        }
    }

    /// Makes one layer of two that nobody writes to any more, in an empty folder. `busy` stays open for as
    /// long as anybody writes there.
    pub(crate) fn merge(
        &self,
        lower: &Path,
        upper: &Path,
        to: &Path,
        busy: OwnedFd,
        watch: &Watch,
    ) -> Result<Copied, Error> {
        match self.run(MERGE, [lower, upper, to], [busy], watch)? {
            Report::Copied(copied) => Ok(copied),
            _ => Err(self.garbled()),
        }
    }

    /// Writes folders on one another, top first, into an empty file as an image of a disk. Returns how large
    /// that is.
    pub(crate) fn image<'a>(
        &self,
        mke2fs: &'a Path,
        file: &'a Path,
        folders: impl IntoIterator<Item = &'a Path>,
        watch: &Watch,
    ) -> Result<u64, Error> {
        let paths = [mke2fs, file].into_iter().chain(folders);
        match self.run(IMAGE, paths, [], watch)? {
            Report::Imaged { size } => Ok(size),
            _ => Err(self.garbled()),
        }
    }

    /// The command with the words of one kind of work.
    pub(super) fn program<'a>(
        &self,
        work: &str,
        paths: impl IntoIterator<Item = &'a Path>,
    ) -> Program {
        let mut program = Program::new(&self.pyro, Namespaces::Files);
        program.arg(COMMAND).arg(work).args(paths);
        program
    }

    /// Runs the command until it says that it is done. The calling thread must live as long.
    fn run<'a>(
        &self,
        work: &str,
        paths: impl IntoIterator<Item = &'a Path>,
        keep: impl IntoIterator<Item = OwnedFd>,
        watch: &Watch,
    ) -> Result<Report, Error> {
        let (reader, writer) = io::pipe().map_err(|error| self.failed(&error))?;
        let mut program = self.program(work, paths);
        program.stdout(writer);
        for fd in keep {
            program.keep(fd);
        }
        // Dropped, it is killed.
        let _child = program.start(&self.ids).map_err(namespaces_refused)?;
        // It holds the end for writing.
        drop(program);
        let mut reader = BufReader::new(reader);
        loop {
            match self.next(&mut reader, work, || watch.is_stopped())? {
                Report::Progress(fraction) => watch.tell(fraction),
                done => return Ok(done),
            }
        }
    }

    /// What it tells next, if that is no failure.
    pub(super) fn next(
        &self,
        reader: &mut BufReader<impl Read + AsFd>,
        work: &str,
        is_stopped: impl Fn() -> bool,
    ) -> Result<Report, Error> {
        match next(reader, is_stopped).map_err(|error| self.failed(&error))? {
            Next::Stopped => Err(cancelled()),
            Next::Report(Report::Failed(failure)) => Err(self.refused(work, failure)),
            Next::Report(report) => Ok(report),
            Next::End => Err(self.garbled()),
        }
    }

    pub(super) fn failed(&self, error: &io::Error) -> Error {
        host_io(&*self.what, error)
    }

    pub(super) fn garbled(&self) -> Error {
        Error::new(ErrorCode::Internal, &*self.what)
            .because("the process that works on these files was killed, or is another pyro")
            .hint("If PYRO_BIN is set, check that it is the `pyro` of this version")
    }

    /// What the process itself told of the work.
    fn refused(&self, work: &str, failure: Failure) -> Error {
        let mut error = match failure.errno.map(Errno::from_raw) {
            Some(Errno::ENAMETOOLONG) => too_deep(&self.what),
            Some(errno) => self.failed(&errno.into()),
            None if work == UNPACK => Error::new(ErrorCode::Damaged, &*self.what),
            None if work == APPLY => Error::new(ErrorCode::PullFailed, &*self.what),
            None => Error::new(ErrorCode::HostIo, &*self.what),
        };
        // In its words, which say where it was.
        error.causes = failure.causes;
        error
    }
}

/// Between work that blocks and whoever waits for it.
pub(crate) struct Watch<'a> {
    tell: Box<dyn Fn(Option<f32>) + 'a>,
    is_stopped: Box<dyn Fn() -> bool + 'a>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(tell: impl Fn(Option<f32>) + 'a, is_stopped: impl Fn() -> bool + 'a) -> Self {
        Self {
            tell: Box::new(tell),
            is_stopped: Box::new(is_stopped),
        }
    }

    fn tell(&self, fraction: Option<f32>) {
        (self.tell)(fraction);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        (self.is_stopped)()
    }
}

/// Work that blocks. Dropping this lets it end soon.
pub(crate) struct OnOwnThread<T> {
    thread: JoinHandle<Result<T, Error>>,
    steps: mpsc::UnboundedReceiver<Option<f32>>,
    stopped: Arc<AtomicBool>,
}

impl<T: Send + 'static> OnOwnThread<T> {
    pub(crate) fn start(work: impl FnOnce(&Watch) -> Result<T, Error> + Send + 'static) -> Self {
        let (sender, steps) = mpsc::unbounded_channel();
        let stopped = Arc::<AtomicBool>::default();
        let is_stopped = Arc::clone(&stopped);
        let thread = tokio::task::spawn_blocking(move || {
            work(&Watch::new(
                move |fraction| {
                    let _ = sender.send(fraction);
                },
                move || is_stopped.load(Ordering::Relaxed),
            ))
        });
        Self {
            thread,
            steps,
            stopped,
        }
    }

    /// Waits for it, and tells the caller how far it is.
    pub(crate) async fn finish(mut self, message: &str, caller: &Caller) -> Result<T, Error> {
        loop {
            tokio::select! {
                Some(fraction) = self.steps.recv() => caller
                    .emit(Event::Progress {
                        message: message.to_owned(),
                        fraction,
                    })
                    .map_err(|_| cancelled())?,
                done = &mut self.thread => return done.map_err(|error| broke(&error))?,
            }
        }
    }
}

impl<T> Drop for OnOwnThread<T> {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

enum Next {
    Report(Report),
    /// Nobody wants it any more.
    Stopped,
    /// There is nothing more to come.
    End,
}

fn next(
    reader: &mut BufReader<impl Read + AsFd>,
    is_stopped: impl Fn() -> bool,
) -> io::Result<Next> {
    let until = Instant::now() + SILENCE;
    // A line comes in one piece, as it is shorter than what a pipe takes at once.
    while reader.buffer().is_empty() {
        if is_stopped() {
            return Ok(Next::Stopped);
        }
        if Instant::now() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut fds = [PollFd::new(reader.get_ref().as_fd(), PollFlags::POLLIN)];
        let turn = PollTimeout::try_from(TURN).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, turn) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(match serde_json::from_str(&line) {
        Ok(report) => Next::Report(report),
        Err(_) => Next::End,
    })
}
