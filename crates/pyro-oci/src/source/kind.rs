//! What kind of image lies at a path, where nobody has said it.

use std::fs;
use std::path::Path;

use super::archive::Archive;
use crate::{Local, OciError, Reference};

/// What names the image at a path, by what is in there.
pub fn reference_of(path: &Path) -> Result<Reference, OciError> {
    let no_image = |why: &str| OciError::NoImage {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let found = fs::metadata(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => OciError::NotFound {
            what: "file or folder",
            path: path.to_owned(),
        },
        _ => OciError::Path {
            path: path.to_owned(),
            source,
        },
    })?;
    let kind = match found.is_dir() {
        true if path.join("index.json").exists() => "oci",
        true => return Err(no_image("there is no `index.json` in it")),
        false => {
            let archive = Archive::open(path)?;
            let has = |name: &str| Ok::<_, OciError>(archive.find(name)?.is_some());
            // Docker of today writes both, and then the first says more.
            match (has("index.json")?, has("manifest.json")?) {
                (true, _) => "oci-archive",
                (false, true) => "docker-archive",
                (false, false) => {
                    return Err(no_image(
                        "neither `index.json` nor `manifest.json` is in it",
                    ));
                }
            }
        }
    };
    let text = path.to_str().filter(|text| !text.contains(':'));
    let text =
        text.ok_or_else(|| no_image("its path has a colon, or is no UTF-8; give it another name"))?;
    match Local::parse(&format!("{kind}:{text}")) {
        Ok(Some(local)) => Ok(Reference::Local(local)),
        _ => Err(no_image("its path cannot be the name of an image")),
    }
}
