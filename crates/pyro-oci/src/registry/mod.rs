//! Images in registries: fetched blob by blob into a store that all images share.
//!
//! A blob is written beside its place, and takes it when its digest was compared. One that a killed pull left
//! half goes on where it was.

mod credentials;
mod download;
mod error;
mod name;
mod store;
#[cfg(test)]
mod tests;

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

pub use self::error::RegistryError;
pub use self::name::ImageName;
pub use self::store::Store;
use crate::image::{digest_of, json};
use crate::manifests::{self, Kind};
use crate::{Digest, Image, OciError};

/// How many layers come at once.
const AT_ONCE: usize = 4;

/// How long a registry may take to be reached, and to send more.
const CONNECT: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(60);

/// How long it may take to say which image a name means, with all that it asks before.
const ANSWER: Duration = Duration::from_secs(60);

/// An index may lead to another one; not for ever.
const MOST_INDEXES: usize = 4;

/// How often to look whether somebody still wants the image.
const TURN: Duration = Duration::from_millis(100);

/// Whoever waits for a pull.
pub trait Watch {
    /// How many bytes of the image are here, of how many.
    fn progress(&self, done: u64, all: u64);
    fn is_stopped(&self) -> bool;
}

/// A registry, asked about one image.
pub struct Registry<'a> {
    name: &'a ImageName,
    client: Client,
    auth: RegistryAuth,
    answer: Duration,
}

/// The manifest that a name means now.
#[derive(Debug)]
pub struct Meant {
    pub digest: Digest,
    bytes: Vec<u8>,
}

impl<'a> Registry<'a> {
    /// Reads the credentials that Docker's and Podman's files have for the registry. `plain` names registries that
    /// have no TLS, beside those of this host.
    pub fn new(name: &'a ImageName, plain: &[String]) -> Result<Self, RegistryError> {
        // Fails only when somebody else has chosen one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let registry = name.reference().resolve_registry().to_owned();
        let is_plain = name.is_on_this_host() || plain.iter().any(|one| *one == name.registry());
        let config = ClientConfig {
            protocol: match is_plain {
                true => ClientProtocol::HttpsExcept(vec![registry]),
                false => ClientProtocol::Https,
            },
            connect_timeout: Some(CONNECT),
            read_timeout: Some(SILENCE),
            platform_resolver: None,
            user_agent: concat!("pyro/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        Ok(Self {
            client: Client::try_from(config).map_err(|error| RegistryError::of(name, error))?,
            auth: credentials::of(name)?,
            name,
            answer: ANSWER,
        })
    }

    /// Asks which image the name means now: the one for guests, where there are several.
    pub fn meant(&self, watch: &dyn Watch) -> Result<Meant, OciError> {
        let found = async {
            let found = tokio::time::timeout(self.answer, self.find()).await;
            found.unwrap_or_else(|_| {
                Err(RegistryError::Silent {
                    registry: self.name.registry().to_owned(),
                    seconds: self.answer.as_secs(),
                }
                .into())
            })
        };
        block_on(found, watch)
    }

    /// Fetches what is missing of it.
    pub fn fetch(
        &self,
        meant: &Meant,
        store: &Store,
        watch: &dyn Watch,
    ) -> Result<Image, OciError> {
        let manifest: ImageManifest = json(&meant.bytes, "the manifest")?;
        let mut blobs: Vec<Descriptor> = vec![manifest.config().clone()];
        for layer in manifest.layers() {
            if !blobs.iter().any(|known| known.digest() == layer.digest()) {
                blobs.push(layer.clone());
            }
        }
        let progress = download::Progress::new(&blobs, watch);
        let fetched = futures::stream::iter(&blobs)
            .map(|blob| self.download(blob, store, &progress))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>();
        block_on(fetched, watch)?;
        store.put(&meant.digest, &meant.bytes)?;
        store.image(&meant.digest)
    }

    async fn find(&self) -> Result<Meant, OciError> {
        let mut reference = self.name.reference().clone();
        for _ in 0..MOST_INDEXES {
            let raw = self
                .client
                .pull_manifest_raw(&reference, &self.auth, &manifests::MEDIA_TYPES)
                .await;
            let (bytes, _) = match raw {
                Ok(found) => found,
                Err(error) => return Err(self.not_found(error).await.into()),
            };
            let digest = Digest::of(&bytes);
            if let Some(expected) = reference.digest() {
                let expected = Digest::parse(expected)?;
                if digest != expected {
                    return Err(OciError::WrongDigest {
                        what: "the manifest".to_owned(),
                        expected,
                        found: digest,
                    });
                }
            }
            match manifests::kind_of(&bytes)? {
                Kind::Manifest => {
                    return Ok(Meant {
                        digest,
                        bytes: bytes.to_vec(),
                    });
                }
                Kind::Index => {
                    let index: ImageIndex = json(&bytes, "the index")?;
                    let chosen = digest_of(manifests::for_guests(index.manifests())?)?;
                    reference = reference.clone_with_digest(chosen.to_string());
                }
            }
        }
        Err(OciError::Malformed {
            what: "the index".to_owned(),
            why: "it leads from one to another".to_owned(),
        })
    }

    /// With the names that there are, where it is the name that there is not.
    async fn not_found(&self, error: oci_client::errors::OciDistributionError) -> RegistryError {
        let error = RegistryError::of(self.name, error);
        let RegistryError::NoSuchImage { name, .. } = error else {
            return error;
        };
        let tags = self
            .client
            .list_tags(self.name.reference(), &self.auth, Some(100), None)
            .await;
        let tags = tags.map(|answer| answer.tags).unwrap_or_default();
        RegistryError::NoSuchImage {
            near: self.name.near(tags),
            name,
        }
    }
}

/// Waits for what a registry does, for as long as somebody wants it.
fn block_on<T, E: Into<OciError>>(
    work: impl Future<Output = Result<T, E>>,
    watch: &dyn Watch,
) -> Result<T, OciError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|source| OciError::Unreadable {
        what: "the registry".to_owned(),
        source,
    })?;
    runtime.block_on(async {
        tokio::pin!(work);
        loop {
            match tokio::time::timeout(TURN, &mut work).await {
                Ok(done) => return done.map_err(Into::into),
                Err(_) if watch.is_stopped() => return Err(OciError::Unwanted),
                Err(_) => {}
            }
        }
    })
}
