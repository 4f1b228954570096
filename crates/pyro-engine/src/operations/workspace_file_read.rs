use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pyro_api::operations::workspace_file_read::{FileContent, WorkspaceFileRead};
use pyro_api::values::{ContentEncoding, OutputEncoding};
use pyro_api::{Caller, Error, Handle, Operation};

use crate::Engine;
use crate::workspace::connect::Connected;
use crate::workspace::display::octal;
use crate::workspace::paths::GuestPath;
use crate::workspace::read::ReadRange;

#[async_trait]
impl Handle<WorkspaceFileRead> for Engine {
    async fn handle(
        &self,
        asked: WorkspaceFileRead,
        caller: &Caller,
    ) -> Result<FileContent, Error> {
        asked.check()?;
        let path = GuestPath::parse("path", &asked.path)?;
        let doing = "read the file";
        let Connected {
            stored, started, ..
        } = self
            .connect_files(&asked.workspace_id, doing, caller)
            .await?;
        let part = ReadRange {
            offset: asked.offset,
            start_line: asked.start_line,
            line_count: asked.line_count,
            max_bytes: asked.max_bytes.get().into(),
        };
        let found = self
            .read_part(&stored, &path, part)
            .await
            .map_err(|error| {
                let what = format!("`{}` could not be read", path.absolute());
                self.files_failed(&stored, &what, doing, error)
            })?;
        self.touch_workspace(&stored.record.workspace_id)?;
        let next_offset = found.offset + found.bytes.len() as u64;
        let binary = found.bytes.contains(&0);
        let in_base64 = asked.encoding == ContentEncoding::Base64;
        let (content, exact) = match std::str::from_utf8(&found.bytes) {
            _ if in_base64 => (BASE64_STANDARD.encode(&found.bytes), false),
            _ if binary => (String::new(), false),
            Ok(text) => (text.to_owned(), true),
            // A character that the end of the piece cuts is not the file's fault.
            Err(error) if error.error_len().is_none() && next_offset < found.size => {
                let whole = &found.bytes[..error.valid_up_to()];
                (String::from_utf8_lossy(whole).into_owned(), true)
            }
            Err(_) => (String::from_utf8_lossy(&found.bytes).into_owned(), false),
        };
        let mut bytes = found.bytes;
        if exact {
            // What was cut off is read again with the next piece.
            bytes.truncate(content.len());
        }
        let next_offset = found.offset + bytes.len() as u64;
        // Who asks for base64 asks whether it is text.
        let binary =
            binary || (in_base64 && !is_text(&bytes, found.offset == 0, next_offset >= found.size));
        Ok(FileContent {
            workspace_id: stored.record.workspace_id,
            path: path.absolute(),
            size_bytes: found.size,
            max_bytes: asked.max_bytes.get(),
            content,
            truncated: next_offset < found.size,
            execution_mode: stored.record.execution_mode,
            offset: found.offset,
            next_offset,
            start_line: asked.start_line,
            binary,
            content_encoding: match exact {
                _ if in_base64 => OutputEncoding::Base64,
                true => OutputEncoding::Utf8,
                false => OutputEncoding::Utf8Replaced,
            },
            mode: octal(found.meta.mode),
            workspace_started: started,
            bytes,
        })
    }
}

/// Whether a piece of a file is text, at whose ends characters may be cut.
fn is_text(piece: &[u8], is_first: bool, is_last: bool) -> bool {
    let cut = piece
        .iter()
        .take(if is_first { 0 } else { 3 })
        .take_while(|byte| **byte & 0xc0 == 0x80);
    match std::str::from_utf8(&piece[cut.count()..]) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && !is_last,
    }
}

#[cfg(test)]
mod tests {
    use super::is_text;

    #[test]
    fn characters_that_are_cut_are_text_and_other_bytes_are_not() {
        let whole = "a\u{e9}\u{20ac}".as_bytes();
        assert!(is_text(whole, true, true));
        assert!(is_text(&whole[2..5], false, false));
        assert!(!is_text(&whole[..5], true, true));
        assert!(!is_text(&whole[2..], true, true));
        assert!(!is_text(b"caf\xe9!", false, false));
    }
}
