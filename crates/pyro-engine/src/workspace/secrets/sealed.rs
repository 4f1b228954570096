//! The file of a workspace's secrets: XChaCha20-Poly1305, whose nonces are long enough to be drawn
//! at random, bound to the workspace's id, so that one file does not pass for another's.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use pyro_api::{Error, ErrorCode};
use pyro_wire::frame;
use pyro_wire::secrets::{InstallSecrets, MAX_TOGETHER, Secret};
use zeroize::Zeroizing;

use super::key::Key;
use super::plain::PlainSecrets;
use crate::core_dumps::NoCoreDumps;
use crate::error::host_io;
use crate::private_file;

/// The first bytes of the file: what it is, and its form.
const HEAD: &[u8] = b"pyro secrets 1\n";

const NONCE: usize = 24;

/// Far more than names and frames around the values can add.
const LIMIT: u64 = MAX_TOGETHER as u64 + 64 * 1024;

/// Seals secrets into a new file.
pub(super) fn write(path: &Path, id: &str, key: &Key, secrets: &[Secret]) -> Result<(), Error> {
    let failed = |error: io::Error| host_io("The secrets could not be saved", &error);
    let broken = |words: String| {
        Error::new(ErrorCode::Internal, "The secrets could not be encrypted").because(words)
    };
    let secrets = InstallSecrets {
        secrets: secrets.to_vec(),
    };
    let plain = frame::encode_wiped(&secrets).map_err(|error| broken(error.to_string()))?;
    let mut nonce = [0; NONCE];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut nonce))
        .map_err(failed)?;
    let sealed = cipher(key)
        .encrypt(&XNonce::from(nonce), payload(&plain, &bound_to(id)))
        .map_err(|error| broken(error.to_string()))?;
    let keep = || -> io::Result<()> {
        let mut file = private_file::create(path)?;
        file.write_all(HEAD)?;
        file.write_all(&nonce)?;
        file.write_all(&sealed)?;
        file.sync_all()
    };
    keep().map_err(failed)
}

/// Opens the file. `None`: it is gone, or damaged, or sealed with another key.
pub(super) fn read(path: &Path, id: &str, key: &Key) -> Result<Option<PlainSecrets>, Error> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(host_io(
                format!("The secrets of workspace `{id}` could not be read"),
                &error,
            ));
        }
    }
    let _no_cores = NoCoreDumps::begin();
    let opened = || -> Option<InstallSecrets> {
        let rest = bytes.strip_prefix(HEAD)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        let plain = cipher(key).decrypt(&XNonce::from(*nonce), payload(sealed, &bound_to(id)));
        frame::decode(&Zeroizing::new(plain.ok()?)).ok()
    };
    Ok(opened().map(|InstallSecrets { secrets }| PlainSecrets { secrets, _no_cores }))
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&(**key).into())
}

/// What is not secret and must not be changed either.
fn bound_to(id: &str) -> Vec<u8> {
    [HEAD, id.as_bytes()].concat()
}

fn payload<'a>(msg: &'a [u8], aad: &'a [u8]) -> Payload<'a, 'a> {
    Payload { msg, aad }
}

#[cfg(test)]
mod tests {
    use super::super::plain::secret;
    use super::*;

    #[test]
    fn what_was_sealed_is_opened_with_the_same_key_for_the_same_workspace_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets");
        let key = Key::new([7; 32]);
        let secrets = [secret("TOKEN", b"hunter2-hunter2".to_vec())];
        assert!(read(&path, "a", &key).unwrap().is_none());
        write(&path, "a", &key, &secrets).unwrap();
        assert_eq!(read(&path, "a", &key).unwrap().unwrap().secrets, secrets);
        assert!(read(&path, "b", &key).unwrap().is_none());
        assert!(read(&path, "a", &Key::new([8; 32])).unwrap().is_none());

        let sound = std::fs::read(&path).unwrap();
        let shown = String::from_utf8_lossy(&sound);
        assert!(!shown.contains("hunter2") && !shown.contains("TOKEN"));
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(read(&path, "a", &key).unwrap().is_none(), "byte {at}");
            std::fs::write(&path, &sound[..at]).unwrap();
            assert!(read(&path, "a", &key).unwrap().is_none(), "{at} bytes");
        }
        // A second one is sealed differently.
        let again = folder.path().join("again");
        write(&again, "a", &key, &secrets).unwrap();
        assert_ne!(std::fs::read(again).unwrap(), sound);
    }
}
