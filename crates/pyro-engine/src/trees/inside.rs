//! `pyro owned-files`: hidden, started by the engine only, as root of a user namespace. Work on
//! files that belong to the ids of that namespace. Tells on standard output how it goes, a line of
//! JSON at a time, and ends with whoever started it.

use std::error::Error as _;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pyro_disk::UnpackError;
use pyro_disk::layers::Layer;
use serde::{Deserialize, Serialize};

use super::cache::Contents;

/// The word after `pyro`.
pub const COMMAND: &str = "owned-files";
pub(super) const UNPACK: &str = "--unpack";

const USAGE: &str = "usage: pyro owned-files --unpack IMAGE FOLDER";

/// How often to tell how far it is.
const TURN: Duration = Duration::from_millis(100);

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    Progress { done: u64, all: u64 },
    Unpacked(Contents),
    Failed(Failure),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    /// What the host said; without it, it is the image that is at fault.
    pub(super) errno: Option<i32>,
    pub(super) causes: Vec<String>,
}

/// Runs the command with the words after its name.
pub fn main(args: &[OsString]) -> ExitCode {
    let args: Vec<&Path> = args.iter().map(Path::new).collect();
    match args.as_slice() {
        [word, image, folder] if word.as_os_str() == UNPACK => {
            run(image, folder, &mut io::stdout().lock())
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

pub(super) fn run(image: &Path, folder: &Path, output: &mut impl Write) -> ExitCode {
    let report = match unpack(image, folder, output) {
        Ok(contents) => Report::Unpacked(contents),
        Err(failure) => Report::Failed(failure),
    };
    match (tell(output, &report), report) {
        (Ok(()), Report::Unpacked(_)) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn unpack(image: &Path, folder: &Path, output: &mut impl Write) -> Result<Contents, Failure> {
    let mut last = Instant::now();
    let mut progress = |done, all| {
        if last.elapsed() >= TURN {
            last = Instant::now();
            if tell(output, &Report::Progress { done, all }).is_err() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    };
    let unpacked = pyro_disk::unpack(&[Layer::raw(image)], folder, &mut progress)?;
    // A tree that is found is a tree that is whole, even after the host lost its power.
    let opened = File::open(folder).map_err(host)?;
    nix::unistd::syncfs(&opened).map_err(|errno| host(errno.into()))?;
    Ok(unpacked.into())
}

/// One line in one write.
fn tell(output: &mut impl Write, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

fn host(error: io::Error) -> Failure {
    Failure {
        errno: Some(error.raw_os_error().unwrap_or(nix::libc::EIO)),
        causes: vec![error.to_string()],
    }
}

impl From<UnpackError> for Failure {
    fn from(error: UnpackError) -> Self {
        let mut causes = vec![error.to_string()];
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        Self {
            errno: error
                .host()
                .map(|said| said.raw_os_error().unwrap_or(nix::libc::EIO)),
            causes,
        }
    }
}
