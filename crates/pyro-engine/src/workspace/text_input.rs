//! Text from an argument, or from a file of the host; of a file's content also other bytes.

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use pyro_api::values::{ContentEncoding, FileText};
use pyro_api::{Caller, Error, ErrorCode};

use crate::error::{broke, host_io};

/// What the contract allows, in bytes.
const LIMIT: u64 = 1_048_576;

/// Base64 of so many bytes is longer by a third, and by its line ends.
const LIMIT_OF_BASE64: u64 = LIMIT / 2 * 3;

const ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Refuses a text that is too long.
pub(crate) fn text_input(what: &str, text: String) -> Result<String, Error> {
    match text.len() as u64 {
        0..=LIMIT => Ok(text),
        _ => Err(too_long(what)),
    }
}

/// The content of a file: text as it is, or bytes of any kind from base64 or from a file of the
/// host.
pub(crate) async fn content(
    text: FileText,
    encoding: ContentEncoding,
    caller: &Caller,
) -> Result<Vec<u8>, Error> {
    let limit = match encoding {
        ContentEncoding::Utf8 => LIMIT,
        ContentEncoding::Base64 => LIMIT_OF_BASE64,
    };
    let given = match text {
        FileText::Inline(text) => text.into_bytes(),
        FileText::File(file) => file_bytes("text", &file, limit, caller).await?,
    };
    let bytes = match encoding {
        ContentEncoding::Utf8 => given,
        ContentEncoding::Base64 => from_base64(given)?,
    };
    match bytes.len() as u64 {
        0..=LIMIT => Ok(bytes),
        _ => Err(too_long("text")),
    }
}

/// With or without its padding, and broken into lines as `base64` does.
fn from_base64(mut text: Vec<u8>) -> Result<Vec<u8>, Error> {
    text.retain(|byte| !byte.is_ascii_whitespace());
    ANY_PADDING.decode(text).map_err(|error| {
        Error::invalid("The text is not base64")
            .because(error)
            .hint("Leave out `encoding` for plain text")
    })
}

/// Reads bytes of any kind from a file; `-` is the caller's standard input.
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
    // One byte more than allowed tells a content that is too long.
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
        "Copy larger files in with `pyro workspace sync push` (`workspace_sync_push`), or create \
         them with a command",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_taken_as_tools_write_it() {
        for text in ["AAEC/w==", "AAEC/w", "AAEC\n/w==\n"] {
            assert_eq!(from_base64(text.into()).unwrap(), [0, 1, 2, 255], "{text}");
        }
        for bad in ["AAEC_w==", "A", "no base64!"] {
            let refused = from_base64(bad.into()).unwrap_err();
            assert_eq!(refused.code, ErrorCode::InvalidArgument, "{bad}");
        }
    }

    #[tokio::test]
    async fn the_limit_is_of_what_is_written() {
        let caller = Caller::new();
        let fits = vec![b'x'; LIMIT as usize];
        let text = base64::prelude::BASE64_STANDARD.encode(&fits);
        let encoded = FileText::Inline(text.clone());
        let done = content(encoded, ContentEncoding::Base64, &caller).await;
        assert_eq!(done.unwrap(), fits);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        let of_file = || FileText::File(file.path().to_owned());
        let done = content(of_file(), ContentEncoding::Base64, &caller).await;
        assert_eq!(done.unwrap(), fits);
        assert!(
            content(of_file(), ContentEncoding::Utf8, &caller)
                .await
                .is_err()
        );
    }
}
