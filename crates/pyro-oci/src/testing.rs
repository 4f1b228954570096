//! Layers and images for tests.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tar::{EntryType, Header};

use crate::blob::Blob;
use crate::{Digest, Layer};

/// A layer that is written member by member.
#[derive(Default)]
pub(crate) struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    pub(crate) fn folder(self, name: &str, mode: u32) -> Self {
        self.member(EntryType::Directory, name, b"", "", mode)
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.member(EntryType::Regular, name, content.as_bytes(), "", 0o644)
    }

    pub(crate) fn file_with_mode(self, name: &str, mode: u32) -> Self {
        self.member(EntryType::Regular, name, b"", "", mode)
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Symlink, name, b"", target, 0o777)
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Link, name, b"", target, 0o644)
    }

    pub(crate) fn special(self, kind: EntryType, name: &str) -> Self {
        self.member(kind, name, b"", "", 0o600)
    }

    /// What the next member is said to be, beyond its header.
    pub(crate) fn pax(self, key: &str, value: &str) -> Self {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len() + 1;
        while length != rest.len() + length.to_string().len() {
            length += 1;
        }
        let record = format!("{length}{rest}");
        self.member(EntryType::XHeader, "pax", record.as_bytes(), "", 0o644)
    }

    fn member(mut self, kind: EntryType, name: &str, data: &[u8], link: &str, mode: u32) -> Self {
        let mut header = Header::new_ustar();
        // Byte by byte, as the crate refuses the names that matter here.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        header.set_mtime(1_000_000_000);
        header.set_uid(nix::unistd::geteuid().as_raw().into());
        header.set_gid(nix::unistd::getegid().as_raw().into());
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// A layer that is stored as these bytes, and is that archive.
pub(crate) fn layer(stored: &[u8], archive: &[u8]) -> Layer {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(stored).unwrap();
    Layer {
        blob: blob(file),
        digest: Some(Digest::of(stored)),
        diff_id: Digest::of(archive),
    }
}

fn blob(file: File) -> Blob {
    Blob {
        size: file.metadata().unwrap().len(),
        file: Arc::new(file),
        offset: 0,
    }
}

pub(crate) fn configuration(layers: &[Vec<u8>]) -> Value {
    let diff_ids: Vec<String> = layers.iter().map(|it| Digest::of(it).to_string()).collect();
    json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": ["PATH=/app/bin:/bin", "MODE=test"],
            "WorkingDir": "/app",
            "User": "",
            "Entrypoint": ["/app/bin/serve"],
            "Cmd": ["--verbose"],
            "ExposedPorts": { "8080/tcp": {} },
            "Labels": { "maker": "a test" },
        },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
}

/// A layout of the OCI that is written blob by blob.
pub(crate) struct Layout<'a>(pub(crate) &'a Path);

impl Layout<'_> {
    pub(crate) fn blob(&self, bytes: &[u8], media_type: &str) -> Value {
        let folder = self.0.join("blobs/sha256");
        fs::create_dir_all(&folder).unwrap();
        let digest = Digest::of(bytes);
        fs::write(folder.join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    }

    pub(crate) fn document(&self, value: &Value, media_type: &str) -> Value {
        self.blob(value.to_string().as_bytes(), media_type)
    }

    /// The descriptor of its manifest.
    pub(crate) fn image(&self, configuration: &Value, layers: &[Vec<u8>]) -> Value {
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| self.blob(&gzip(layer), "application/vnd.oci.image.layer.v1.tar+gzip"))
            .collect();
        let config = "application/vnd.oci.image.config.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.document(configuration, config),
            "layers": layers,
        });
        self.document(&manifest, "application/vnd.oci.image.manifest.v1+json")
    }

    pub(crate) fn index(&self, manifests: &[Value]) {
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        fs::write(self.0.join("index.json"), index.to_string()).unwrap();
        fs::write(
            self.0.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
    }

    /// As one file.
    pub(crate) fn archive(&self, file: &Path) {
        let mut tar = tar::Builder::new(File::create(file).unwrap());
        tar.append_dir_all(".", self.0).unwrap();
        tar.finish().unwrap();
    }
}
