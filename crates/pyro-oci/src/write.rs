//! Writes an image of one layer into an archive of the OCI's, as it comes.
//!
//! The layer is compressed and hashed on its way into the file, and its header, which has its digest for a name,
//! is written when both are known. So nothing is kept beside the archive, and memory is bounded. Other tools read
//! it as `oci-archive`; a `manifest.json` of Docker's is in it as well, so that every `docker load` knows it, and
//! the layer is compressed by gzip, which they all know.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::Header;

use crate::{Config, Digest};

/// The length of a header, and of what contents are filled up to.
const BLOCK: u64 = 512;

/// Nearly as small as the default in a third of the time.
const LEVEL: u32 = 3;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What an archive says of its image beside the configuration.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// What tools that load it are to call it, such as `app:1.0`.
    pub name: &'a str,
    /// RFC 3339.
    pub created: &'a str,
    /// Where the files came from, for people.
    pub comment: &'a str,
}

/// An archive that has its layer.
#[derive(Debug)]
pub struct ImageWriter {
    file: File,
    layer: Written,
    diff_id: Digest,
}

/// A blob.
#[derive(Debug)]
struct Written {
    digest: Digest,
    size: u64,
}

impl ImageWriter {
    /// Begins an archive in an empty file. `fill` writes the layer, a tar archive.
    pub fn new<E: From<io::Error>>(
        file: File,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<Self, E> {
        let (layer, diff_id) = compressed(&file, fill)?;
        Ok(Self {
            file,
            layer,
            diff_id,
        })
    }

    /// Writes what says of the layer that it is an image, and flushes all of it to the disk. Returns what the image is
    /// called by its contents.
    pub fn finish(mut self, config: &Config, about: &About<'_>) -> io::Result<Digest> {
        let name = match about.name.rsplit_once(':') {
            Some((_, tag)) if !tag.contains('/') => about.name.to_owned(),
            _ => format!("{}:latest", about.name),
        };
        let config = self.blob(&self.configuration(config, about))?;
        let manifest = self.blob(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": [descriptor(LAYER, &self.layer)],
        }))?;
        let mut described = descriptor(MANIFEST, &manifest);
        described["platform"] = json!({"architecture": "amd64", "os": "linux"});
        // One reads the first, containerd and so Docker the other.
        described["annotations"] = json!({
            "org.opencontainers.image.ref.name": name,
            "io.containerd.image.name": full_name(&name),
        });
        let index = json!({"schemaVersion": 2, "manifests": [described]});
        let of_docker = json!([{
            "Config": blob_path(&config.digest),
            "RepoTags": [name],
            "Layers": [blob_path(&self.layer.digest)],
        }]);
        self.member("index.json", &index.to_string())?;
        self.member("manifest.json", &of_docker.to_string())?;
        self.member("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        self.file.write_all(&[0; 2 * BLOCK as usize])?;
        self.file.sync_all()?;
        Ok(manifest.digest)
    }

    fn configuration(&self, config: &Config, about: &About<'_>) -> Value {
        let mut says = json!({ "Env": config.env });
        let texts = [("WorkingDir", &config.working_dir), ("User", &config.user)];
        for (key, text) in texts {
            if let Some(text) = text {
                says[key] = json!(text);
            }
        }
        for (key, words) in [("Entrypoint", &config.entrypoint), ("Cmd", &config.cmd)] {
            if !words.is_empty() {
                says[key] = json!(words);
            }
        }
        if !config.exposed_ports.is_empty() {
            let ports = config.exposed_ports.iter();
            says["ExposedPorts"] = ports.map(|port| (port.clone(), json!({}))).collect();
        }
        if !config.labels.is_empty() {
            says["Labels"] = json!(config.labels);
        }
        json!({
            "created": about.created,
            "architecture": "amd64",
            "os": "linux",
            "config": says,
            "rootfs": {"type": "layers", "diff_ids": [self.diff_id.to_string()]},
            "history": [{
                "created": about.created,
                "created_by": "pyro env export",
                "comment": about.comment,
            }],
        })
    }

    fn blob(&mut self, document: &Value) -> io::Result<Written> {
        let text = document.to_string();
        let digest = Digest::of(text.as_bytes());
        self.member(&blob_path(&digest), &text)?;
        Ok(Written {
            digest,
            size: text.len() as u64,
        })
    }

    fn member(&mut self, path: &str, text: &str) -> io::Result<()> {
        let size = text.len() as u64;
        self.file.write_all(head(path, size).as_bytes())?;
        self.file.write_all(text.as_bytes())?;
        self.file.write_all(&padding(size))
    }
}

/// Writes the first member, and leaves the file at its end.
fn compressed<E: From<io::Error>>(
    mut file: &File,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(Written, Digest), E> {
    file.seek(SeekFrom::Start(BLOCK))?;
    let stored = Hashing::new(BufWriter::with_capacity(1 << 20, file));
    let mut whole = Hashing::new(GzEncoder::new(stored, Compression::new(LEVEL)));
    fill(&mut whole)?;
    let Hashing { to, hash, .. } = whole;
    let diff_id = Digest::of_hash(hash);
    let Hashing { mut to, hash, size } = to.finish()?;
    to.write_all(&padding(size))?;
    to.flush()?;
    let layer = Written {
        digest: Digest::of_hash(hash),
        size,
    };
    file.seek(SeekFrom::Start(0))?;
    file.write_all(head(&blob_path(&layer.digest), size).as_bytes())?;
    file.seek(SeekFrom::End(0))?;
    Ok((layer, diff_id))
}

fn descriptor(kind: &str, blob: &Written) -> Value {
    json!({"mediaType": kind, "digest": blob.digest.to_string(), "size": blob.size})
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// As Docker completes a name that has no registry.
fn full_name(name: &str) -> String {
    match name.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

fn head(path: &str, size: u64) -> Header {
    let mut header = Header::new_ustar();
    let name = path.as_bytes();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_mode(0o644);
    // Beyond 8 GiB in the way of GNU, which all of them read.
    header.set_size(size);
    header.set_cksum();
    header
}

fn padding(size: u64) -> Vec<u8> {
    let length = size.next_multiple_of(BLOCK) - size;
    vec![0; usize::try_from(length).unwrap_or_default()]
}

/// Hashes and counts what is written through it.
struct Hashing<W> {
    to: W,
    hash: Sha256,
    size: u64,
}

impl<W> Hashing<W> {
    fn new(to: W) -> Self {
        Self {
            to,
            hash: Sha256::new(),
            size: 0,
        }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::{Reference, Source, reference_of};

    #[test]
    fn what_is_written_is_read_as_either_kind_of_archive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.tar");
        let file = File::create_new(&path).unwrap();
        let layer = vec![7; 100_000];
        let writer = ImageWriter::new(file, |to| to.write_all(&layer)).unwrap();
        let config = Config {
            env: vec!["A=1".to_owned()],
            working_dir: Some("/app".to_owned()),
            user: None,
            entrypoint: vec!["/bin/app".to_owned()],
            cmd: Vec::new(),
            exposed_ports: vec!["80/tcp".to_owned()],
            labels: [("of".to_owned(), "me".to_owned())].into(),
        };
        let about = About {
            name: "team/app",
            created: "2026-11-30T00:00:00Z",
            comment: "a test",
        };
        let digest = writer.finish(&config, &about).unwrap();
        let guessed = reference_of(&path).unwrap().to_string();
        assert_eq!(guessed, format!("oci-archive:{}", path.display()));
        let room = crate::Room {
            folder: folder.path(),
            most_bytes: 0,
            is_stopped: &|| false,
        };
        for kind in ["oci-archive", "docker-archive"] {
            for name in ["", ":team/app:latest"] {
                let text = format!("{kind}:{}{name}", path.display());
                let reference = Reference::parse(&text).unwrap();
                let source = Source::open(reference.local().unwrap(), &room).unwrap();
                let image = source.image().unwrap();
                assert_eq!(image.config, config);
                assert_eq!(image.digest == digest, kind == "oci-archive");
                let [stored] = image.layers.as_slice() else {
                    panic!("{:?}", image.layers);
                };
                let mut unpacked = Vec::new();
                let mut reader = flate2::read::GzDecoder::new(stored.blob.reader());
                reader.read_to_end(&mut unpacked).unwrap();
                assert!(unpacked == layer);
                assert_eq!(stored.diff_id, Digest::of(&layer));
            }
        }
    }
}
