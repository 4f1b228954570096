//! Guest files on their way out to this host.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pyro_api::{Caller, Error, ErrorCode, Event};
use pyro_transfer::Totals;
use pyro_transfer::export::{Destination, ExportError, Received};
use pyro_transfer::host_paths::home;

use super::host_paths::admit;
use crate::error::{broke, cancelled};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// Looks at where an export goes, before the guest is asked for anything.
pub(crate) async fn prepare(
    path: PathBuf,
    name: OsString,
    overwrite: bool,
    caller: &Caller,
) -> Result<Destination, Error> {
    admit(&path, caller).await?;
    let look = move || {
        let home = home();
        Destination::prepare(&path, &name, home.as_deref(), overwrite)
    };
    tokio::task::spawn_blocking(look)
        .await
        .map_err(|error| broke(&error))?
        .map_err(unfit)
}

/// Takes the guest's archive and puts it in place. Blocks.
pub(crate) fn receive(
    mut destination: Destination,
    from: &mut dyn std::io::Read,
    caller: &Caller,
) -> Result<(Received, PathBuf), Error> {
    let mut told = Instant::now();
    let mut on_progress = |done: Totals| {
        if told.elapsed() < TELL_EVERY {
            return ControlFlow::Continue(());
        }
        told = Instant::now();
        let mib = done.bytes >> 20;
        // A file counts once it is whole, and the first one may be large.
        let message = match done.entries {
            0 => format!("copying out, {mib} MiB"),
            entries => format!("copying out {entries} entries, {mib} MiB"),
        };
        let fraction = None;
        match caller.emit(Event::Progress { message, fraction }) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    let received = destination.unpack(from, &mut on_progress).map_err(unfit)?;
    let path = destination.commit().map_err(unfit)?;
    Ok((received, path))
}

pub(crate) fn unfit(error: ExportError) -> Error {
    let (code, hint) = match &error {
        ExportError::Cancelled => return cancelled(),
        ExportError::NoName { .. } => (
            ErrorCode::InvalidArgument,
            "Give the path of the file or folder to create",
        ),
        ExportError::NoFolder { .. } => (
            ErrorCode::InvalidArgument,
            "Create the folder first, or give the path without the `/` at its end; nothing was \
             written",
        ),
        ExportError::Exists { .. } => (
            ErrorCode::Conflict,
            "Give another path, or add `--overwrite` (`overwrite`) to replace what is there",
        ),
        ExportError::IsFolder { .. } | ExportError::IsFile { .. } => (
            ErrorCode::Conflict,
            "Give another path, or move away what is there; nothing was written",
        ),
        ExportError::Protected { .. } | ExportError::NoSwap { .. } => (
            ErrorCode::Conflict,
            "Give another path; nothing was written",
        ),
        ExportError::Unwritable { source, .. } | ExportError::Write { source, .. } => {
            match source.kind() {
                std::io::ErrorKind::StorageFull => (
                    ErrorCode::NoSpace,
                    "Free space on this host; nothing was written",
                ),
                _ => (
                    ErrorCode::HostIo,
                    "Check that the folder is writable; nothing was written",
                ),
            }
        }
        ExportError::Hostile { .. } | ExportError::Archive { .. } => (
            ErrorCode::GuestIo,
            "Nothing was written. If the guest is not hostile, stop it with `pyro workspace stop` \
             (`workspace_stop`) and try again",
        ),
    };
    Error::new(code, "The files could not be copied out")
        .caused_by(&error)
        .hint(hint)
}
