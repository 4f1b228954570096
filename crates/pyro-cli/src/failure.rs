//! How a command fails: the errors that every command can meet, and their exit status.

use std::io;
use std::process::ExitCode;

use pyro_api::{Error, ErrorCode};

use crate::render;

const FAILED: u8 = 1;
/// What a shell reports for a program that a closed pipe ended.
const BROKEN_PIPE: u8 = 141;

pub(crate) fn not_written(failure: &io::Error) -> Error {
    let code = match failure.kind() {
        io::ErrorKind::StorageFull => ErrorCode::NoSpace,
        _ => ErrorCode::HostIo,
    };
    Error::new(code, "The output could not be written")
        .because(failure)
        .hint("Check where standard output goes, and that there is free space")
}

pub(crate) fn fail(error: &Error, json: bool) -> ExitCode {
    if error.code == ErrorCode::Cancelled {
        return ExitCode::from(BROKEN_PIPE);
    }
    render::error(error, json);
    ExitCode::from(FAILED)
}

pub(crate) fn no_threads(error: io::Error) -> Error {
    Error::new(
        ErrorCode::HostIo,
        "pyro could not start threads on this host",
    )
    .caused_by(&error)
}
