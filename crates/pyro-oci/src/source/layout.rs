//! The layout of the OCI: `index.json`, and blobs by their digest.

use oci_spec::image::{Descriptor, ImageIndex};

use super::Source;
use crate::blob::Blob;
use crate::image::{digest_of, json};
use crate::manifests::{Kind, for_guests, kind};
use crate::{Image, OciError};

/// The file that lists the images.
pub(super) const INDEX: &str = "index.json";

/// The annotation that names an image in a layout.
const NAME: &str = "org.opencontainers.image.ref.name";

/// An index may lead to another one; not for ever.
const MOST_INDEXES: usize = 4;

pub(super) fn image(source: &Source<'_>) -> Result<Image, OciError> {
    let index = source
        .find(INDEX)?
        .ok_or_else(|| source.no_image("there is no `index.json` in it"))?
        .document("`index.json`")?;
    let index: ImageIndex = json(&index, "`index.json`")?;
    let mut chosen = named(source, &index)?;
    for _ in 0..MOST_INDEXES {
        let what = "the manifest";
        let digest = digest_of(&chosen)?;
        let bytes = blob(source, &chosen, what)?.verified(what, &digest)?;
        match kind(chosen.media_type()) {
            Some(Kind::Manifest) => {
                return Image::of_manifest(digest, &bytes, |descriptor, what| {
                    blob(source, descriptor, what)
                });
            }
            Some(Kind::Index) => {
                let index: ImageIndex = json(&bytes, "an index")?;
                chosen = for_guests(index.manifests())?.clone();
            }
            None => break,
        }
    }
    Err(OciError::Malformed {
        what: "the image".to_owned(),
        why: format!("it is {}, which is no manifest", chosen.media_type()),
    })
}

/// The one of that name, or the only one.
fn named(source: &Source<'_>, index: &ImageIndex) -> Result<Descriptor, OciError> {
    let all = index.manifests();
    let name_of = |one: &Descriptor| Some(one.annotations().as_ref()?.get(NAME)?.clone());
    let known = || all.iter().filter_map(name_of).collect();
    let path = || source.path().to_owned();
    if let Some(name) = source.name() {
        let found = all.iter().find(|one| name_of(one).as_deref() == Some(name));
        return found.cloned().ok_or_else(|| OciError::NoSuchName {
            path: path(),
            name: name.to_owned(),
            known: known(),
        });
    }
    match all.as_slice() {
        [] => Err(source.no_image("its `index.json` lists no image")),
        [only] => Ok(only.clone()),
        // One image for several platforms, each listed by itself.
        several
            if several
                .iter()
                .all(|one| one.platform().is_some() && name_of(one).is_none()) =>
        {
            for_guests(several).cloned()
        }
        _ => Err(OciError::SeveralImages {
            path: path(),
            known: known(),
        }),
    }
}

fn blob(source: &Source<'_>, descriptor: &Descriptor, what: &str) -> Result<Blob, OciError> {
    let digest = digest_of(descriptor)?;
    let path = format!("blobs/sha256/{}", digest.hex());
    let blob = source
        .find(&path)?
        .ok_or_else(|| source.no_image(format!("{what} ({path}) is not in it")))?;
    match blob.size == descriptor.size() {
        true => Ok(blob),
        false => Err(OciError::WrongSize {
            what: what.to_owned(),
            expected: descriptor.size(),
            found: blob.size,
        }),
    }
}
