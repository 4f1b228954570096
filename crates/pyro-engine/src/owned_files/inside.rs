//! `pyro owned-files`: hidden, started by the engine only, as root of a user namespace. Tells on
//! standard output how it goes, and ends with whoever started it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pyro_disk::layers::Layer;
use pyro_disk::{CopyError, UnpackError};
use pyro_oci::apply::{ApplyError, Plan};

use super::report::{Failure, Report};
use super::{chain, image};

/// The word after `pyro`.
pub const COMMAND: &str = "owned-files";
pub(super) const UNPACK: &str = "--unpack";
pub(super) const APPLY: &str = "--apply";
pub(super) const COPY: &str = "--copy";
pub(super) const MERGE: &str = "--merge";
pub(super) const SERVE: &str = "--serve";
pub(super) const IMAGE: &str = "--image";

const USAGE: &str = "usage: pyro owned-files --unpack IMAGE FOLDER LAYER… | --apply PLAN FOLDER | --copy FROM TO | \
                     --merge LOWER UPPER TO | --serve ROOT FOLDER… | --image MKE2FS FILE FOLDER…";

/// How often to tell how far it is.
const TURN: Duration = Duration::from_millis(100);

/// Runs the command with the words after its name.
pub fn main(args: &[OsString]) -> ExitCode {
    run(args, &mut io::stdout().lock())
}

pub(crate) fn run(args: &[OsString], output: &mut impl Write) -> ExitCode {
    let args: Vec<&Path> = args.iter().map(Path::new).collect();
    let done = match args.as_slice() {
        [word, image, folder, layers @ ..] if word.as_os_str() == UNPACK => {
            unpack(image, folder, layers, output)
        }
        [word, plan, folder] if word.as_os_str() == APPLY => apply(plan, folder, output),
        [word, from, to] if word.as_os_str() == COPY => copy(from, to, output),
        [word, lower, upper, to] if word.as_os_str() == MERGE => merge(lower, upper, to, output),
        [word, mke2fs, file, folders @ ..] if word.as_os_str() == IMAGE => {
            image(mke2fs, file, folders, output)
        }
        [word, root, folders @ ..] if word.as_os_str() == SERVE && !folders.is_empty() => {
            // What it says is no report any more.
            return match serve(root, folders, output) {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => report(output, Err(failure)),
            };
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    report(output, done)
}

fn report(output: &mut impl Write, done: Result<Report, Failure>) -> ExitCode {
    let (report, code) = match done {
        Ok(report) => (report, ExitCode::SUCCESS),
        Err(failure) => (Report::Failed(failure), ExitCode::FAILURE),
    };
    match tell(output, &report) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn unpack(
    image: &Path,
    folder: &Path,
    layers: &[&Path],
    output: &mut impl Write,
) -> Result<Report, Failure> {
    let layers = layers.iter().map(|path| Layer::qcow2(path));
    let disk: Vec<Layer> = std::iter::once(Layer::raw(image)).chain(layers).collect();
    let mut teller = Teller::new(output);
    let mut progress =
        |done, all: u64| teller.tell(|| Some((done as f32 / all.max(1) as f32).min(1.0)));
    let unpacked = pyro_disk::unpack(&disk, folder, &mut progress)?;
    flush(folder)?;
    Ok(Report::Unpacked(unpacked.into()))
}

fn apply(plan: &Path, folder: &Path, output: &mut impl Write) -> Result<Report, Failure> {
    let plan = plan
        .to_str()
        .and_then(|plan| serde_json::from_str(plan).ok());
    let plan: Plan = plan.ok_or_else(|| host(Errno::EINVAL.into()))?;
    let mut teller = Teller::new(output);
    let mut progress =
        |done, all: u64| teller.tell(|| Some((done as f32 / all.max(1) as f32).min(1.0)));
    raise_open_files()?;
    let applied = pyro_oci::apply::apply(&plan, folder, &mut progress)?;
    Ok(Report::Applied(applied))
}

fn copy(from: &Path, to: &Path, output: &mut impl Write) -> Result<Report, Failure> {
    let mut teller = Teller::new(output);
    let copied = pyro_disk::copy_layer(from, to, &mut |_| teller.tell(|| None))?;
    flush(to)?;
    Ok(Report::Copied(copied.into()))
}

fn merge(
    lower: &Path,
    upper: &Path,
    to: &Path,
    output: &mut impl Write,
) -> Result<Report, Failure> {
    let mut teller = Teller::new(output);
    // Each folder on the way down may be open in all three.
    raise_open_files()?;
    let merged = pyro_disk::merge_layers(lower, upper, to, &mut |_| teller.tell(|| None))?;
    flush(to)?;
    Ok(Report::Copied(merged.into()))
}

fn raise_open_files() -> Result<(), Failure> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|errno| host(errno.into()))?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).map_err(|errno| host(errno.into()))
}

fn image(
    mke2fs: &Path,
    file: &Path,
    folders: &[&Path],
    output: &mut impl Write,
) -> Result<Report, Failure> {
    let mut teller = Teller::new(output);
    let mut progress = |done: u64, all: u64| teller.tell(|| Some(done as f32 / all as f32));
    let size = image::write(mke2fs, file, folders, &mut progress)?;
    Ok(Report::Imaged { size })
}

/// Answers what is asked of the files of a chain, as the only ones there are.
fn serve(root: &Path, folders: &[&Path], output: &mut impl Write) -> Result<(), Failure> {
    chain::mount(folders)
        .and_then(|place| chain::enter(&place))
        .map_err(host)?;
    // Before anything else is said than reports.
    if !fs::symlink_metadata(root).map_err(host)?.is_dir() {
        return Err(host(Errno::ENOTDIR.into()));
    }
    tell(output, &Report::Ready).map_err(host)?;
    // Whoever asked has gone, or hears of it by the end of this process.
    let _ = pyro_disk::serve(root, io::stdin().lock(), output);
    Ok(())
}

/// What is told to be done is done, even after the host lost its power.
fn flush(folder: &Path) -> Result<(), Failure> {
    let opened = File::open(folder).map_err(host)?;
    nix::unistd::syncfs(&opened).map_err(|errno| host(errno.into()))
}

/// Tells how far it is, not too often; with nobody to tell it to, it ends.
struct Teller<'a, W> {
    output: &'a mut W,
    last: Instant,
}

impl<'a, W: Write> Teller<'a, W> {
    fn new(output: &'a mut W) -> Self {
        let last = Instant::now();
        Self { output, last }
    }

    fn tell(&mut self, how_far: impl Fn() -> Option<f32>) -> ControlFlow<()> {
        if self.last.elapsed() < TURN {
            return ControlFlow::Continue(());
        }
        self.last = Instant::now();
        match tell(self.output, &Report::Progress(how_far())) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// One line in one write.
fn tell(output: &mut impl Write, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

pub(super) fn host(error: io::Error) -> Failure {
    Failure {
        errno: Some(number(&error)),
        causes: vec![error.to_string()],
    }
}

fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(nix::libc::EIO)
}

fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let mut causes = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}

impl From<UnpackError> for Failure {
    fn from(error: UnpackError) -> Self {
        Self {
            errno: error.host().map(number),
            causes: causes(&error),
        }
    }
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        Self {
            errno: match &error {
                ApplyError::Unwanted => Some(Errno::ECANCELED as i32),
                other => other.host().map(number),
            },
            causes: causes(&error),
        }
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        Self {
            errno: match &error {
                CopyError::TooDeep { .. } => Some(Errno::ENAMETOOLONG as i32),
                other => other.host().map(number),
            },
            causes: causes(&error),
        }
    }
}
