//! Which kind of document describes an image, and which of several images is for guests.

use oci_spec::image::{Arch, Descriptor, MediaType, Os};
use serde::Deserialize;

use crate::OciError;
use crate::image::json;

const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What a registry may answer with.
pub(crate) const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    DOCKER_MANIFEST,
    DOCKER_LIST,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Manifest,
    Index,
}

/// As a descriptor says.
pub(crate) fn kind(media_type: &MediaType) -> Option<Kind> {
    match media_type {
        MediaType::ImageManifest => Some(Kind::Manifest),
        MediaType::ImageIndex => Some(Kind::Index),
        MediaType::Other(other) if other == DOCKER_MANIFEST => Some(Kind::Manifest),
        MediaType::Other(other) if other == DOCKER_LIST => Some(Kind::Index),
        _ => None,
    }
}

/// As a document itself says, which need not name its type.
pub(crate) fn kind_of(bytes: &[u8]) -> Result<Kind, OciError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Document {
        media_type: Option<MediaType>,
        manifests: Option<serde::de::IgnoredAny>,
        layers: Option<serde::de::IgnoredAny>,
    }
    let document: Document = json(bytes, "the manifest")?;
    let told = document.media_type.as_ref();
    match (told.map(kind), document.manifests, document.layers) {
        (Some(Some(kind)), ..) => Ok(kind),
        (None, Some(_), None) => Ok(Kind::Index),
        (None, None, Some(_)) => Ok(Kind::Manifest),
        _ => Err(OciError::Malformed {
            what: "the image".to_owned(),
            why: match told {
                Some(told) => format!("it is {told}, which is no manifest"),
                None => "its document is no manifest".to_owned(),
            },
        }),
    }
}

/// The one that guests can run.
pub(crate) fn for_guests(all: &[Descriptor]) -> Result<&Descriptor, OciError> {
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
