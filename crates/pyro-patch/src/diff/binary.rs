//! Content that is no text, as git writes it into a patch: packed, in its own base 85, for both
//! directions. The names of the contents before it are what git looks at before it applies one.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha1::{Digest, Sha1};

/// Bytes on a line, packed ones.
const LINE: usize = 52;

const DIGITS: &[u8; 85] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// Adds what follows the head of a file. `None`: nothing is there on this side.
pub(super) fn write_section(text: &mut Vec<u8>, old: Option<&[u8]>, new: Option<&[u8]>) {
    let head = format!("index {}..{}\nGIT binary patch\n", name(old), name(new));
    text.extend_from_slice(head.as_bytes());
    write_literal(text, new.unwrap_or_default());
    write_literal(text, old.unwrap_or_default());
}

/// What git calls this content, in a repository that names by SHA-1.
fn name(content: Option<&[u8]>) -> String {
    let Some(content) = content else {
        return "0".repeat(40);
    };
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn write_literal(text: &mut Vec<u8>, content: &[u8]) {
    text.extend_from_slice(format!("literal {}\n", content.len()).as_bytes());
    for line in packed(content).chunks(LINE) {
        // A letter for the number of bytes: A to Z are 1 to 26, a to z go on.
        text.push(match line.len() {
            count @ 1..=26 => b'A' - 1 + count as u8,
            count => b'a' - 27 + count as u8,
        });
        for four in line.chunks(4) {
            let mut bytes = [0; 4];
            bytes[..four.len()].copy_from_slice(four);
            let mut value = u32::from_be_bytes(bytes);
            let mut digits = [0; 5];
            for digit in digits.iter_mut().rev() {
                *digit = DIGITS[(value % 85) as usize];
                value /= 85;
            }
            text.extend_from_slice(&digits);
        }
        text.push(b'\n');
    }
    text.push(b'\n');
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut to = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to a Vec cannot fail.
    let _ = to.write_all(content);
    to.finish().unwrap_or_default()
}
