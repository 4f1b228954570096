//! What lies beside an image, a kernel or a `runsc` and says what it is: `environment.json`,
//! `kernel.json`, `runsc.json`.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use pyro_oci::Config;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::files::{self, Stamp};
use crate::{CatalogError, digest};

/// Raised when a reader of today could not make sense of what is written from then on.
pub(crate) const SCHEMA: u64 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EnvironmentManifest {
    pub(crate) schema_version: u64,
    pub(crate) catalog_version: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) platform: String,
    pub(crate) source: String,
    /// Bare hex; see `digest.rs` for what it covers.
    pub(crate) rootfs_digest: String,
    pub(crate) rootfs: Stamp,
    /// Disk layers on the image, bottom first, of an environment that was kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) layers: Vec<LayerRecord>,
    pub(crate) kernel: KernelName,
    pub(crate) created_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<ImageRecord>,
}

/// A frozen qcow2 layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// Relative to the environment's directory.
    pub(crate) file: String,
    /// Of the file, as of an image; bare hex.
    pub(crate) digest: String,
    #[serde(flatten)]
    pub(crate) stamp: Stamp,
}

impl EnvironmentManifest {
    /// Names the whole disk: without layers as the image is named.
    pub(crate) fn disk_digest(&self) -> String {
        if self.layers.is_empty() {
            return self.rootfs_digest.clone();
        }
        let mut text = format!("pyro-chain-1\n{}\n", self.rootfs_digest);
        for layer in &self.layers {
            text.push_str(&format!("{}\n", layer.digest));
        }
        digest::of_bytes(text.as_bytes())
    }
}

/// Which image an environment is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    /// Of its manifest, with the algorithm before it.
    pub(crate) digest: String,
    /// Of the file that was read, or of the index in a folder: while that is the same, so is the image. One
    /// of a registry has none.
    #[serde(default)]
    pub(crate) source: Option<Stamp>,
    pub(crate) config: Config,
    pub(crate) devices_left_out: u64,
    pub(crate) attributes_left_out: u64,
}

/// Which kernel directory an environment boots with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KernelName {
    pub(crate) release: String,
    pub(crate) digest: String,
}

impl KernelName {
    /// One release can be built twice, so the directory also carries the digest.
    pub(crate) fn dir_name(&self) -> String {
        let short = self.digest.get(..8).unwrap_or(&self.digest);
        format!("kernel-{}-{short}", self.release)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KernelManifest {
    pub(crate) schema_version: u64,
    pub(crate) release: String,
    pub(crate) digest: String,
    /// The image first, then the modules in load order.
    pub(crate) files: Vec<KernelFile>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KernelFile {
    /// Relative to the kernel's directory.
    pub(crate) path: String,
    pub(crate) sha256: String,
    #[serde(flatten)]
    pub(crate) stamp: Stamp,
}

impl KernelManifest {
    /// The digest that these files amount to.
    pub(crate) fn digest_of(release: &str, files: &[KernelFile]) -> String {
        let mut text = format!("pyro-kernel-1\n{release}\n");
        for file in files {
            text.push_str(&format!("{} {}\n", file.sha256, file.path));
        }
        digest::of_bytes(text.as_bytes())
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunscManifest {
    pub(crate) schema_version: u64,
    /// As it says itself.
    pub(crate) version: String,
    /// The version of Debian's package.
    pub(crate) package: String,
    pub(crate) source: String,
    /// SHA-256 of the program, bare hex.
    pub(crate) digest: String,
    #[serde(flatten)]
    pub(crate) stamp: Stamp,
    pub(crate) created_at: String,
}

/// Reads a manifest; a missing or unreadable one means that what it describes is damaged.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, CatalogError> {
    #[derive(Deserialize)]
    struct Version {
        schema_version: u64,
    }
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(CatalogError::damaged(path, "a manifest", "no file"));
        }
        Err(error) => return Err(CatalogError::reading("read", path)(error)),
    };
    // The version first: the rest of a newer manifest may look like nonsense to us.
    let found = serde_json::from_slice::<Version>(&bytes).map(|version| version.schema_version);
    match found {
        Ok(found) if found > SCHEMA => Err(CatalogError::NewerManifest {
            path: path.to_owned(),
            found,
            known: SCHEMA,
        }),
        _ => serde_json::from_slice(&bytes)
            .map_err(|error| CatalogError::damaged(path, "a manifest", error.to_string())),
    }
}

pub(crate) fn write<T: Serialize>(path: &Path, manifest: &T) -> Result<(), CatalogError> {
    let mut json = serde_json::to_vec_pretty(manifest).expect("plain structs become JSON");
    json.push(b'\n');
    files::write_whole(path, &json).map_err(CatalogError::writing("write", path))
}

/// The present, like `2026-11-23T13:04:36Z`.
pub(crate) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    rfc3339(since.map_or(0, |since| since.as_secs()))
}

fn rfc3339(seconds: u64) -> String {
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    // Days to a date: http://howardhinnant.github.io/date_algorithms.html#civil_from_days
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::ENVIRONMENT_FILE;

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_439_076), "2026-11-23T13:04:36Z");
    }

    #[test]
    fn a_newer_manifest_is_told_from_a_broken_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ENVIRONMENT_FILE);
        let read = || read::<EnvironmentManifest>(&path).unwrap_err();

        fs::write(&path, r#"{"schema_version": 9, "all": "different"}"#).unwrap();
        assert!(matches!(
            read(),
            CatalogError::NewerManifest { found: 9, .. }
        ));
        fs::write(&path, r#"{"schema_version": 1}"#).unwrap();
        assert!(matches!(read(), CatalogError::Damaged { .. }));
        fs::write(&path, "garbage").unwrap();
        assert!(matches!(read(), CatalogError::Damaged { .. }));
        fs::remove_file(&path).unwrap();
        assert!(matches!(read(), CatalogError::Damaged { .. }));
    }
}
