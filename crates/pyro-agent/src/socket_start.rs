//! An agent whose channel is a connected Unix socket that it was started with: what is the same in a
//! sandbox, beside one, and without any.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::net;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::{console, inherited};

/// How long work on files may take to end. What it leaves is put right at the next start.
const FILES_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("descriptor {number} is not a connected socket: {source}")]
    Channel { number: RawFd, source: io::Error },
    #[error("cannot use the folder {}: {source}", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("cannot prepare the process: {source}")]
    System {
        #[from]
        source: io::Error,
    },
}

pub(crate) fn take_channel(number: RawFd) -> Result<net::UnixStream, StartError> {
    inherited::take_channel(number).map_err(|source| StartError::Channel { number, source })
}

/// Serves to the end, on one thread.
pub(crate) fn serve(serving: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(serving);
    // Work on files hears of the end and gives up, or comes to its own.
    runtime.shutdown_timeout(FILES_LIMIT);
    served
}

/// Tells why it could not serve, if it could not.
pub(crate) fn exit_code(served: Result<(), StartError>) -> ExitCode {
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::report(error);
            ExitCode::FAILURE
        }
    }
}
