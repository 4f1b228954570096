//! What git calls the content of a file: the digest of a blob, in a repository of SHA-1 or SHA-256.

use sha1::{Digest, Sha1};
use sha2::Sha256;

/// The whole id in a repository of SHA-1. `None`: there is no file.
pub(crate) fn blob_id(content: Option<&[u8]>) -> String {
    match content {
        Some(content) => hex(&digest::<Sha1>(content)),
        None => "0".repeat(40),
    }
}

/// Whether content has this id, or one that begins so. Zeros are for what is not there.
pub(crate) fn is_blob_id(id: &[u8], content: &[u8]) -> bool {
    if id.iter().all(|digit| *digit == b'0') {
        return content.is_empty();
    }
    let whole = match id.len() {
        // More than SHA-1 has.
        41.. => hex(&digest::<Sha256>(content)),
        _ => hex(&digest::<Sha1>(content)),
    };
    whole.as_bytes().starts_with(id)
}

fn digest<D: Digest>(content: &[u8]) -> Vec<u8> {
    D::new()
        .chain_update(format!("blob {}\0", content.len()))
        .chain_update(content)
        .finalize()
        .to_vec()
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
