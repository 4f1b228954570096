//! The layout of the OCI: `index.json`, and blobs by their digest.

use oci_spec::image::{Arch, Descriptor, ImageIndex, MediaType, Os};

use super::Source;
use crate::blob::Blob;
use crate::image::{digest_of, json};
use crate::{Image, OciError};

/// The annotation that names an image in a layout.
const NAME: &str = "org.opencontainers.image.ref.name";

/// An index may lead to another one; not for ever.
const MOST_INDEXES: usize = 4;

const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

pub(super) fn image(source: &Source<'_>) -> Result<Image, OciError> {
    let index = source
        .find("index.json")?
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

enum Kind {
    Manifest,
    Index,
}

fn kind(media_type: &MediaType) -> Option<Kind> {
    match media_type {
        MediaType::ImageManifest => Some(Kind::Manifest),
        MediaType::ImageIndex => Some(Kind::Index),
        MediaType::Other(other) if other == DOCKER_MANIFEST => Some(Kind::Manifest),
        MediaType::Other(other) if other == DOCKER_LIST => Some(Kind::Index),
        _ => None,
    }
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

/// The one that guests can run.
fn for_guests(all: &[Descriptor]) -> Result<&Descriptor, OciError> {
    let runs = |one: &&Descriptor| match one.platform() {
        Some(platform) => (platform.os(), platform.architecture()) == (&Os::Linux, &Arch::Amd64),
        None => false,
    };
    let only_one = || match all {
        [one] if one.platform().is_none() => Some(one),
        _ => None,
    };
    all.iter().find(runs).or_else(only_one).ok_or_else(|| {
        let platforms = all.iter().filter_map(|one| one.platform().as_ref());
        let platforms =
            platforms.map(|platform| format!("{}/{}", platform.os(), platform.architecture()));
        let platforms: Vec<String> = platforms.collect();
        OciError::OtherPlatform {
            found: match platforms.as_slice() {
                [] => "no platform that it names".to_owned(),
                some => some.join(", "),
            },
        }
    })
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
