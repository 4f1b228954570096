//! Content that is no text, as git writes it into a patch: packed, in its own base 85, for both
//! directions. The names of the contents before it are what git looks at before it applies one.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::base85::encode;
use crate::blob_id::blob_id;

/// Adds what follows the head of a file. `None`: nothing is there on this side.
pub(crate) fn write_section(text: &mut Vec<u8>, old: Option<&[u8]>, new: Option<&[u8]>) {
    let head = format!(
        "index {}..{}\nGIT binary patch\n",
        blob_id(old),
        blob_id(new)
    );
    text.extend_from_slice(head.as_bytes());
    write_literal(text, new.unwrap_or_default());
    write_literal(text, old.unwrap_or_default());
}

fn write_literal(text: &mut Vec<u8>, content: &[u8]) {
    text.extend_from_slice(format!("literal {}\n", content.len()).as_bytes());
    encode(&packed(content), text);
    text.push(b'\n');
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut to = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to a Vec cannot fail.
    let _ = to.write_all(content);
    to.finish().unwrap_or_default()
}
