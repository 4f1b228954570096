//! An image: its layers, and what it says about them.

use oci_spec::image::{Arch, Descriptor, ImageConfiguration, ImageManifest, Os};
use serde::de::DeserializeOwned;

use crate::blob::Blob;
use crate::{Config, Digest, OciError};

/// Docker makes at most 127.
pub(crate) const MOST_LAYERS: usize = 512;

#[derive(Debug)]
pub struct Image {
    /// What the image is called by its contents: of its manifest, or of its configuration where there is no
    /// manifest (in Docker's archives).
    pub digest: Digest,
    pub config: Config,
    /// The lowest first.
    pub layers: Vec<Layer>,
}

/// One layer, as it is stored.
#[derive(Clone, Debug)]
pub struct Layer {
    pub(crate) blob: Blob,
    /// Of what is stored; Docker's archives name it by `diff_id` only.
    pub(crate) digest: Option<Digest>,
    /// Of the archive in it.
    pub(crate) diff_id: Digest,
}

impl Layer {
    /// Bytes that are stored of it.
    pub fn size(&self) -> u64 {
        self.blob.size
    }
}

impl Image {
    /// From the manifest that a digest named. `blob` finds what a descriptor means.
    pub(crate) fn of_manifest(
        digest: Digest,
        bytes: &[u8],
        blob: impl Fn(&Descriptor, &str) -> Result<Blob, OciError>,
    ) -> Result<Self, OciError> {
        let manifest: ImageManifest = json(bytes, "the manifest")?;
        let described = manifest.config();
        let config = blob(described, "the configuration")?
            .verified("the configuration", &digest_of(described)?)?;
        let mut layers = Vec::new();
        for (number, layer) in manifest.layers().iter().enumerate() {
            let stored = blob(layer, &format!("layer {}", number + 1))?;
            layers.push((stored, Some(digest_of(layer)?)));
        }
        Self::of_config(digest, &config, layers)
    }

    /// From a configuration that was verified, and the layers that belong to it.
    pub(crate) fn of_config(
        digest: Digest,
        config: &[u8],
        layers: Vec<(Blob, Option<Digest>)>,
    ) -> Result<Self, OciError> {
        let config: ImageConfiguration = json(config, "the configuration")?;
        if (config.os(), config.architecture()) != (&Os::Linux, &Arch::Amd64) {
            return Err(OciError::OtherPlatform {
                found: format!("{}/{}", config.os(), config.architecture()),
            });
        }
        let diff_ids = config.rootfs().diff_ids();
        if diff_ids.len() != layers.len() {
            return Err(OciError::Malformed {
                what: "the image".to_owned(),
                why: format!(
                    "its configuration is about {} layers, and it has {}",
                    diff_ids.len(),
                    layers.len()
                ),
            });
        }
        if layers.len() > MOST_LAYERS {
            return Err(OciError::TooManyLayers {
                count: layers.len(),
                most: MOST_LAYERS,
            });
        }
        let layers = layers.into_iter().zip(diff_ids);
        let layers = layers.map(|((blob, digest), diff_id)| {
            Ok(Layer {
                blob,
                digest,
                diff_id: Digest::parse(diff_id)?,
            })
        });
        Ok(Self {
            digest,
            layers: layers.collect::<Result<_, OciError>>()?,
            config: Config::of(&config),
        })
    }
}

pub(crate) fn digest_of(descriptor: &Descriptor) -> Result<Digest, OciError> {
    Digest::parse(descriptor.digest().as_ref())
}

pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, OciError> {
    serde_json::from_slice(bytes).map_err(|error| OciError::Malformed {
        what: what.to_owned(),
        why: error.to_string(),
    })
}
