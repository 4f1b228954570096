//! Writes one file of a workspace in one step.

use pyro_wire::Bytes;
use pyro_wire::fault::{Fault, FaultCode};
use pyro_wire::files::{Change, EntryKind, Expected};
use tokio::net::UnixStream;

use super::files::{self, Content, FilesError, NewFile};
use super::paths::GuestPath;
use crate::machine::now;

/// The permissions of a new file.
pub(crate) const NEW_FILE: u32 = 0o644;

/// Writes the file, which is this user's when it is new; true when there was none before. `look` and `line` are two lines to the same
/// agent.
pub(crate) async fn write_file(
    look: UnixStream,
    line: UnixStream,
    path: &GuestPath,
    content: Vec<u8>,
    user: Option<Bytes>,
) -> Result<bool, FilesError> {
    let existed = match files::read(look, path.bytes(), 0, 0).await {
        Ok(piece) => piece.meta.kind == EntryKind::File,
        Err(FilesError::Refused { fault }) if fault.code == FaultCode::NotFound => false,
        Err(FilesError::Refused { fault }) if fault.code == FaultCode::Refused => {
            let words = format!("{} exists and is not a regular file", path.absolute());
            return Err(Fault::new(FaultCode::Conflict, words).into());
        }
        Err(error) => return Err(error),
    };
    let change = Change {
        keep_modes: true,
        edit: true,
        follow: true,
        user,
        // Nobody else's new file is written over unseen.
        expect: match existed {
            true => Vec::new(),
            false => vec![Expected {
                path: path.bytes(),
                stamp: None,
            }],
        },
        ..Change::default()
    };
    let file = NewFile {
        name: path.relative().into(),
        mode: NEW_FILE,
        content: Content::File(content.into()),
    };
    let mtime_ns = (now() * 1e9) as i64;
    files::change(line, change, move |to| {
        files::archive_of(&[file], mtime_ns, to)
    })
    .await?;
    Ok(!existed)
}
