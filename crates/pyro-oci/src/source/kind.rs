//! What kind of image lies at a path, where nobody has said it.

use std::path::Path;

use crate::{Local, OciError, Reference};

/// What names the image at a path. Of archives it need not be known which kind they are.
pub fn reference_of(path: &Path) -> Result<Reference, OciError> {
    let no_image = |why: &str| OciError::NoImage {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let kind = match path.is_dir() {
        true => "oci",
        false => "oci-archive",
    };
    let text = path.to_str().filter(|text| !text.contains(':'));
    let text =
        text.ok_or_else(|| no_image("its path has a colon, or is no UTF-8; give it another name"))?;
    match Local::parse(&format!("{kind}:{text}")) {
        Ok(Some(local)) => Ok(Reference::Local(local)),
        _ => Err(no_image("its path cannot be the name of an image")),
    }
}
