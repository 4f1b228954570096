//! Images in registries: fetched blob by blob into a store that all images share.
//!
//! A blob is written beside its place, and takes it when its digest was compared. One that a killed pull left
//! half goes on where it was.

mod access;
mod credentials;
mod documents;
mod download;
mod error;
mod name;
mod store;
#[cfg(test)]
mod tests;

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use oci_client::Reference;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

pub use self::access::{Access, AccessError};
pub use self::error::RegistryError;
pub use self::name::ImageName;
pub use self::store::Store;
use crate::blob::LONGEST_DOCUMENT;
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
    /// The image where it is asked for: its own registry, or a mirror's.
    asked: Reference,
    client: Client,
    /// For documents, which the other one reads however long they are.
    http: reqwest::Client,
    is_plain: bool,
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
    /// Reads the credentials that Docker's and Podman's files have for the registry.
    pub fn new(name: &'a ImageName, access: &Access) -> Result<Self, RegistryError> {
        const AGENT: &str = concat!("pyro/", env!("CARGO_PKG_VERSION"));
        // Fails only when somebody else has chosen one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let asked = access.asked(name);
        let is_plain = access.is_plain(asked.registry());
        let config = ClientConfig {
            protocol: match is_plain {
                true => ClientProtocol::HttpsExcept(vec![asked.resolve_registry().to_owned()]),
                false => ClientProtocol::Https,
            },
            connect_timeout: Some(CONNECT),
            read_timeout: Some(SILENCE),
            platform_resolver: None,
            user_agent: AGENT,
            ..ClientConfig::default()
        };
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .user_agent(AGENT)
            .build();
        let unusable = |error| RegistryError::of(name, &asked, error);
        Ok(Self {
            client: Client::try_from(config).map_err(unusable)?,
            http: http.map_err(|error| unusable(error.into()))?,
            auth: credentials::of(&asked)?,
            name,
            asked,
            is_plain,
            answer: ANSWER,
        })
    }

    /// Asks which image the name means now: the one for guests, where there are several.
    pub fn meant(&self, watch: &dyn Watch) -> Result<Meant, OciError> {
        let found = async {
            let found = tokio::time::timeout(self.answer, self.find()).await;
            found.unwrap_or_else(|_| {
                Err(RegistryError::Silent {
                    registry: self.asked.registry().to_owned(),
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
        // It is read as a whole later on, and so are manifests and indexes.
        if manifest.config().size() > LONGEST_DOCUMENT {
            return Err(OciError::TooLong {
                what: "the configuration".to_owned(),
                most: LONGEST_DOCUMENT,
            });
        }
        let mut blobs: Vec<Descriptor> = vec![manifest.config().clone()];
        for layer in manifest.layers() {
            if !blobs.iter().any(|known| known.digest() == layer.digest()) {
                blobs.push(layer.clone());
            }
        }
        let progress = download::Progress::new(&blobs, store, watch);
        let fetched = futures::stream::iter(blobs.iter().enumerate())
            .map(|blob| self.download(blob, store, &progress))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>();
        block_on(fetched, watch)?;
        store.put(&meant.digest, &meant.bytes)?;
        store.image(&meant.digest)
    }

    fn failed(&self, error: OciDistributionError) -> RegistryError {
        RegistryError::of(self.name, &self.asked, error).to(&self.auth)
    }

    async fn find(&self) -> Result<Meant, OciError> {
        let mut reference = self.asked.clone();
        for _ in 0..MOST_INDEXES {
            let bytes = match self.manifest(&reference).await {
                Err(OciError::Registry(error)) => return Err(self.not_found(error).await.into()),
                other => other?,
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
                    return Ok(Meant { digest, bytes });
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
    async fn not_found(&self, error: RegistryError) -> RegistryError {
        let RegistryError::NoSuchImage { name, .. } = error else {
            return error;
        };
        RegistryError::NoSuchImage {
            near: self.name.near(self.tags().await.unwrap_or_default()),
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
