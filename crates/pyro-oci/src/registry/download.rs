//! One blob, from a registry that may break off.

use std::cell::Cell;
use std::time::Duration;

use futures::StreamExt;
use oci_client::client::BlobResponse;
use oci_spec::image::Descriptor;

use super::store::Part;
use super::{Registry, RegistryError, Store, Watch};
use crate::OciError;
use crate::image::digest_of;

/// How often a download goes on after it broke off without having brought anything.
const TRIES: u32 = 4;

/// How long to wait before that, and for another process that fetches the same.
const PAUSE: Duration = Duration::from_secs(1);
const TURN: Duration = Duration::from_millis(100);

/// How far all blobs of an image are, each by its number.
pub(super) struct Progress<'a> {
    done: Vec<Cell<u64>>,
    all: u64,
    watch: &'a dyn Watch,
}

impl<'a> Progress<'a> {
    /// Begins with what is here already.
    pub(super) fn new(blobs: &[Descriptor], store: &Store, watch: &'a dyn Watch) -> Self {
        let sizes = blobs.iter().map(Descriptor::size);
        let here = blobs.iter().map(|blob| {
            let here = digest_of(blob).map_or(0, |digest| store.bytes_of(&digest));
            Cell::new(here.min(blob.size()))
        });
        let progress = Self {
            done: here.collect(),
            all: sizes.fold(0, u64::saturating_add),
            watch,
        };
        progress.tell();
        progress
    }

    fn set(&self, number: usize, bytes: u64) {
        self.done[number].set(bytes);
        self.tell();
    }

    fn tell(&self) {
        let done = self.done.iter().map(Cell::get);
        let done = done.fold(0, u64::saturating_add);
        self.watch.progress(done.min(self.all), self.all);
    }
}

impl Registry<'_> {
    /// Fetches what is missing of a blob.
    pub(super) async fn download(
        &self,
        (number, blob): (usize, &Descriptor),
        store: &Store,
        progress: &Progress<'_>,
    ) -> Result<(), OciError> {
        let digest = digest_of(blob)?;
        let has = |length| progress.set(number, length);
        let mut part = loop {
            if let Some(found) = store.find(&digest)? {
                has(found.size);
                return Ok(());
            }
            match store.part(&digest)? {
                Some(part) => break part,
                // Another process has it, and the caller ends this when nobody waits any more.
                None => tokio::time::sleep(TURN).await,
            }
        };
        if part.length() > blob.size() {
            part.restart()?;
        }
        has(part.length());
        let mut tries = 0;
        while part.length() < blob.size() {
            let before = part.length();
            if let Err(error) = self.more(blob, &mut part, &has).await {
                let is_lasting = error.is_lasting();
                tries = if part.length() > before { 0 } else { tries + 1 };
                if is_lasting || tries == TRIES {
                    return Err(error);
                }
                tokio::time::sleep(PAUSE * tries).await;
            }
        }
        part.finish(&format!("the blob {digest}"), &digest)
    }

    async fn more(
        &self,
        blob: &Descriptor,
        part: &mut Part,
        has: &dyn Fn(u64),
    ) -> Result<(), OciError> {
        let digest = blob.digest().to_string();
        let answer = self
            .client
            .pull_blob_stream_partial(&self.asked, digest.as_str(), part.length(), None)
            .await
            .map_err(|error| self.failed(error))?;
        let mut stream = match answer {
            BlobResponse::Partial(stream) => stream,
            // A registry that knows no parts begins anew.
            BlobResponse::Full(stream) => {
                part.restart()?;
                stream
            }
        };
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(|source| RegistryError::BrokeOff {
                name: self.name.to_string(),
                source,
            })?;
            if part.length() + bytes.len() as u64 > blob.size() {
                return Err(OciError::WrongSize {
                    what: format!("the blob {digest}"),
                    expected: blob.size(),
                    found: part.length() + bytes.len() as u64,
                });
            }
            part.write(&bytes)?;
            has(part.length());
        }
        match part.length() == blob.size() {
            true => Ok(()),
            false => Err(RegistryError::BrokeOff {
                name: self.name.to_string(),
                source: std::io::ErrorKind::UnexpectedEof.into(),
            }
            .into()),
        }
    }
}
