//! Text from an argument, or from a file of the host.

use std::io::Read;
use std::path::{Path, PathBuf};

use pyro_api::{Caller, Error, ErrorCode};

use crate::error::{broke, host_io};

/// What the contract allows, in bytes.
const LIMIT: u64 = 1_048_576;

/// Refuses a text that is too long.
pub(crate) fn text_input(what: &str, text: String) -> Result<String, Error> {
    match text.len() as u64 {
        0..=LIMIT => Ok(text),
        _ => Err(too_long(what)),
    }
}

/// Reads the text from a file; `-` is the caller's standard input.
pub(crate) async fn text_file(what: &str, path: &Path, caller: &Caller) -> Result<String, Error> {
    let bytes = file_bytes(what, path, LIMIT, caller).await?;
    String::from_utf8(bytes).map_err(|error| {
        Error::new(
            ErrorCode::InvalidArgument,
            format!("The {what} in {} is not UTF-8", path.display()),
        )
        .because(format!(
            "byte {} is not part of a character",
            error.utf8_error().valid_up_to()
        ))
        .hint("Binary files come in with `pyro workspace sync push` (`workspace_sync_push`)")
    })
}

/// The same for text in any encoding.
pub(crate) async fn file_bytes(
    what: &str,
    path: &Path,
    limit: u64,
    caller: &Caller,
) -> Result<Vec<u8>, Error> {
    let input = caller.take_input().filter(|_| path == Path::new("-"));
    let what = what.to_owned();
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || read(&what, &path, limit, input))
        .await
        .unwrap_or_else(|error| Err(broke(&error)))
}

fn read(
    what: &str,
    path: &PathBuf,
    limit: u64,
    input: Option<Box<dyn Read + Send>>,
) -> Result<Vec<u8>, Error> {
    let failed = |error: std::io::Error| {
        host_io(
            format!("The {what} could not be read from {}", path.display()),
            &error,
        )
    };
    let from: Box<dyn Read> = match input {
        Some(input) => input,
        None => Box::new(std::fs::File::open(path).map_err(failed)?),
    };
    let mut bytes = Vec::new();
    // One byte more than allowed tells a text that is too long.
    from.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match bytes.len() as u64 > limit {
        true => Err(too_long(what)),
        false => Ok(bytes),
    }
}

fn too_long(what: &str) -> Error {
    Error::new(
        ErrorCode::InvalidArgument,
        format!("The {what} is longer than {LIMIT} bytes"),
    )
    .hint(
        "Larger files come in with `pyro workspace sync push` (`workspace_sync_push`), or are made \
         by a command",
    )
}
