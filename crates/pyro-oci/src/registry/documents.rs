//! Short documents of a registry: manifests, indexes and lists of tags, of which no more is read than they may have.

use std::io;

use futures::StreamExt;
use oci_client::Reference;
use oci_client::RegistryOperation;
use oci_client::secrets::RegistryAuth;
use reqwest::header::{ACCEPT, LINK};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::{Registry, RegistryError};
use crate::OciError;
use crate::blob::LONGEST_DOCUMENT;
use crate::image::json;
use crate::manifests;

/// How many tags are asked for at once, and how often: registries have thousands, sorted by name.
const TAGS_AT_ONCE: usize = 1000;
const MOST_PAGES: usize = 5;

impl Registry<'_> {
    /// What a tag or a digest names there.
    pub(super) async fn manifest(&self, reference: &Reference) -> Result<Vec<u8>, OciError> {
        let version = reference.digest().or(reference.tag()).unwrap_or("latest");
        let path = format!("manifests/{version}");
        let accepted = manifests::MEDIA_TYPES.join(", ");
        let response = self.get(&path, &accepted).await?;
        self.whole(response, "the manifest").await
    }

    /// The tags that there are; some of them, where they are many.
    pub(super) async fn tags(&self) -> Result<Vec<String>, OciError> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let mut all: Vec<String> = Vec::new();
        for _ in 0..MOST_PAGES {
            let mut path = format!("tags/list?n={TAGS_AT_ONCE}");
            if let Some(last) = all.last() {
                path += &format!("&last={last}");
            }
            let response = self.get(&path, "application/json").await?;
            let goes_on = response.headers().contains_key(LINK);
            let page: Page = json(&self.whole(response, "the tags").await?, "the tags")?;
            let tags = page.tags.unwrap_or_default();
            // They come to be part of an address, and are somebody else's.
            let is_tag = |tag: &String| tag.bytes().all(|byte| byte.is_ascii_graphic());
            all.extend(
                tags.into_iter()
                    .filter(is_tag)
                    .filter(|tag| !tag.contains(['&', '#', '%'])),
            );
            if !goes_on {
                break;
            }
        }
        Ok(all)
    }

    async fn get(&self, path: &str, accepted: &str) -> Result<Response, RegistryError> {
        let reference = &self.asked;
        // Asked for once: it is remembered for the blobs.
        let token = self
            .client
            .auth(reference, &self.auth, RegistryOperation::Pull);
        let token = token.await.map_err(|error| self.failed(error))?;
        let address = format!(
            "{}://{}/v2/{}/{path}",
            if self.is_plain { "http" } else { "https" },
            reference.resolve_registry(),
            reference.repository(),
        );
        let request = self.http.get(address).header(ACCEPT, accepted);
        let request = match (token, &self.auth) {
            (Some(token), _) => request.bearer_auth(token),
            (None, RegistryAuth::Basic(user, password)) => request.basic_auth(user, Some(password)),
            (None, _) => request,
        };
        let response = request
            .send()
            .await
            .map_err(|error| self.failed(error.into()))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => {
                let error = RegistryError::of_status(self.name, reference, status.as_u16());
                Err(error.to(&self.auth))
            }
        }
    }

    async fn whole(&self, response: Response, what: &str) -> Result<Vec<u8>, OciError> {
        let mut stream = response.bytes_stream();
        let mut whole = Vec::new();
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(|error| RegistryError::BrokeOff {
                name: self.name.to_string(),
                source: io::Error::other(error),
            })?;
            if (whole.len() + bytes.len()) as u64 > LONGEST_DOCUMENT {
                return Err(OciError::TooLong {
                    what: what.to_owned(),
                    most: LONGEST_DOCUMENT,
                });
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole)
    }
}
