//! The kernel without its compression, for guests that would unpack it slowly: those of an emulator.
//!
//! Linux's `vmlinuz` is a small program around a compressed `vmlinux`. That is an ELF file, which
//! QEMU boots where it finds a note in it that tells the entry of PVH. It lies beside the image that
//! it was unpacked from, it is made at its first use, and nothing is missing where it cannot be made.
//!
//! The image's own header says where the payload is, and the payload's last word how long it gets.
//! See [The Linux/x86 Boot Protocol](https://docs.kernel.org/arch/x86/boot.html).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::elf::Elf;
use crate::layout::VMLINUX_FILE;
use crate::{Kernel, files};

/// How the format begins that Linux compresses with LZ4: the frames of LZ4's first days.
const LZ4_LEGACY: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];

/// Five times that of Debian 12.
const LARGEST: u64 = 256 << 20;

/// The bytes of a `vmlinuz` that say where its payload is.
const SETUP_HEADER: usize = 0x250;

/// The first version of the boot protocol that says so.
const FIRST_VERSION: u16 = 0x0208;

/// The note that tells where a kernel is entered by PVH: its owner and its type.
const PVH_NOTE: (&[u8], u32) = (b"Xen\0", 18);

/// Why a kernel cannot be had without its compression. It boots with it.
#[derive(Debug, thiserror::Error)]
pub enum VmlinuxError {
    #[error("the image is no bzImage that says where its payload is")]
    NotBzImage,
    #[error("the image is not compressed with LZ4")]
    OtherCompression,
    #[error("the image would be {size} bytes long")]
    TooLarge { size: u64 },
    #[error("the image's payload is damaged")]
    Damaged,
    #[error("the kernel has no entry for PVH")]
    NoPvhEntry,
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl Kernel {
    /// The `vmlinux` of this kernel, unpacked when it is not in the cache yet, or cut off.
    pub fn vmlinux(&self) -> Result<PathBuf, VmlinuxError> {
        let reading = |action| io_error(action, &self.image);
        let image = File::open(&self.image).map_err(reading("open"))?;
        let payload = Payload::find(&image).map_err(reading("read"))??;
        let folder = self.image.parent().unwrap_or(Path::new("/"));
        let path = folder.join(VMLINUX_FILE);
        if fs::metadata(&path).is_ok_and(|found| found.len() == payload.unpacked_size) {
            return Ok(path);
        }
        // Asked beforehand: in another user's cache each boot would unpack it in vain.
        access(folder, AccessFlags::W_OK)
            .map_err(io::Error::from)
            .map_err(io_error("write to", folder))?;
        let packed = payload.read(&image).map_err(reading("read"))?;
        let vmlinux = unpack(&packed, payload.unpacked_size)?;
        files::write_whole(&path, &vmlinux).map_err(io_error("write", &path))?;
        Ok(path)
    }
}

/// What killed processes left in a kernel's directory.
pub(crate) fn abandoned(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| files::is_abandoned(path)).collect()
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VmlinuxError + use<> {
    let path = path.to_owned();
    move |source| VmlinuxError::Io {
        action,
        path,
        source,
    }
}

/// The LZ4 blocks in an image.
#[derive(Debug)]
struct Payload {
    start: u64,
    size: usize,
    unpacked_size: u64,
}

impl Payload {
    /// Believes nothing that the image says before it was compared with what it is.
    fn find(image: &File) -> io::Result<Result<Self, VmlinuxError>> {
        let image_size = image.metadata()?.len();
        let mut header = [0; SETUP_HEADER];
        if image_size < header.len() as u64 {
            return Ok(Err(VmlinuxError::NotBzImage));
        }
        image.read_exact_at(&mut header, 0)?;
        let word = |at: usize| u64::from(u32_at(&header, at));
        let version = u16::from_le_bytes([header[0x206], header[0x207]]);
        if &header[0x202..0x206] != b"HdrS" || version < FIRST_VERSION {
            return Ok(Err(VmlinuxError::NotBzImage));
        }
        let setup_sectors = match header[0x1f1] {
            0 => 4,
            sectors => u64::from(sectors),
        };
        let start = (setup_sectors + 1) * 512 + word(0x248);
        let (frame, trailer) = (LZ4_LEGACY.len() as u64, 4);
        let end = start + word(0x24c);
        if end > image_size || end < start + frame + trailer {
            return Ok(Err(VmlinuxError::NotBzImage));
        }
        let mut magic = [0; LZ4_LEGACY.len()];
        image.read_exact_at(&mut magic, start)?;
        if magic != LZ4_LEGACY {
            return Ok(Err(VmlinuxError::OtherCompression));
        }
        let mut size = [0; 4];
        image.read_exact_at(&mut size, end - trailer)?;
        let unpacked_size = u64::from(u32::from_le_bytes(size));
        if unpacked_size > LARGEST {
            return Ok(Err(VmlinuxError::TooLarge {
                size: unpacked_size,
            }));
        }
        let start = start + frame;
        let size = usize::try_from(end - trailer - start).map_err(io::Error::other)?;
        Ok(Ok(Self {
            start,
            size,
            unpacked_size,
        }))
    }

    fn read(&self, image: &File) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.size];
        image.read_exact_at(&mut bytes, self.start)?;
        Ok(bytes)
    }
}

fn unpack(packed: &[u8], size: u64) -> Result<Vec<u8>, VmlinuxError> {
    let size = usize::try_from(size).map_err(|_| VmlinuxError::TooLarge { size })?;
    let vmlinux = unpack_blocks(packed, size).ok_or(VmlinuxError::Damaged)?;
    let (owner, kind) = PVH_NOTE;
    match Elf::parse(&vmlinux).and_then(|elf| elf.has_note(owner, kind)) {
        Some(true) => Ok(vmlinux),
        Some(false) => Err(VmlinuxError::NoPvhEntry),
        None => Err(VmlinuxError::Damaged),
    }
}

/// Each block comes after its length. None when that does not end up at exactly the size.
fn unpack_blocks(mut packed: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut unpacked = vec![0; size];
    let mut filled = 0;
    while let Some((length, rest)) = packed.split_first_chunk() {
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (block, rest) = rest.split_at_checked(length)?;
        filled += lz4_flex::block::decompress_into(block, unpacked.get_mut(filled..)?).ok()?;
        packed = rest;
    }
    (packed.is_empty() && filled == size).then_some(unpacked)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_note;

    /// What may follow the payload.
    const SIGNATURE: &[u8] = b"a signature";

    /// LZ4 without any compression: all of it literals, whose number is told in steps of 255.
    fn literals(bytes: &[u8]) -> Vec<u8> {
        let rest = bytes.len() - 15;
        let mut block = vec![0xf0];
        block.resize(1 + rest / 255, 255);
        block.push((rest % 255) as u8);
        block.extend(bytes);
        block
    }

    /// A bzImage of two blocks, with what its last word says.
    fn image(vmlinux: &[u8], claimed: u32) -> Vec<u8> {
        let (one, other) = vmlinux.split_at(vmlinux.len() / 2);
        let mut payload = LZ4_LEGACY.to_vec();
        for block in [one, other].map(literals) {
            payload.extend((block.len() as u32).to_le_bytes());
            payload.extend(block);
        }
        payload.extend(claimed.to_le_bytes());

        let mut image = vec![0; 3 * 512 + 100];
        image[0x1f1] = 2;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[0x248..0x24c].copy_from_slice(&100_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend(payload);
        image.extend(SIGNATURE);
        image
    }

    fn good() -> Vec<u8> {
        let mut vmlinux = with_note(b"Xen\0", 18);
        vmlinux.resize(1000, 7);
        vmlinux
    }

    fn unpacked(image: &[u8]) -> Result<Vec<u8>, VmlinuxError> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(image, 0).unwrap();
        let payload = Payload::find(&file).unwrap()?;
        unpack(&payload.read(&file).unwrap(), payload.unpacked_size)
    }

    #[test]
    fn it_is_unpacked_once_and_again_when_it_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = Kernel {
            image: folder.path().join("vmlinuz"),
            modules_dir: folder.path().join("modules"),
            release: String::new(),
            digest: String::new(),
        };
        fs::write(&kernel.image, image(&good(), 1000)).unwrap();
        let path = kernel.vmlinux().unwrap();
        assert_eq!(fs::read(&path).unwrap(), good());

        let stamp = || files::Stamp::of(&path).unwrap();
        let written = stamp();
        assert_eq!(kernel.vmlinux().unwrap(), path);
        assert_eq!(stamp(), written);

        fs::write(&path, "short").unwrap();
        assert_eq!(kernel.vmlinux().unwrap(), path);
        assert_eq!(fs::read(&path).unwrap(), good());
    }

    #[test]
    fn a_kernel_that_qemu_could_not_boot_stays_packed() {
        let refused = |image: &[u8]| unpacked(image).unwrap_err().to_string();
        assert_eq!(
            refused(b"Linux"),
            "the image is no bzImage that says where its payload is"
        );
        assert_eq!(refused(&[0; 5000]), refused(b"Linux"));
        let whole = image(&good(), 1000);
        assert_eq!(refused(&whole[..2000]), refused(b"Linux"));
        let mut old = whole.clone();
        old[0x206] = 7;
        assert_eq!(refused(&old), refused(b"Linux"));
        let mut endless = whole.clone();
        endless[0x248..0x250].fill(255);
        assert_eq!(refused(&endless), refused(b"Linux"));

        let mut gzip = whole;
        gzip[3 * 512 + 100..][..2].copy_from_slice(&[0x1f, 0x8b]);
        assert_eq!(refused(&gzip), "the image is not compressed with LZ4");
        assert_eq!(
            refused(&image(&good(), u32::MAX)),
            "the image would be 4294967295 bytes long"
        );
        for claimed in [0, 999, 1001] {
            let words = refused(&image(&good(), claimed));
            assert_eq!(words, "the image's payload is damaged", "{claimed}");
        }
        let other = with_note(b"GNU\0", 18);
        assert_eq!(
            refused(&image(&other, other.len() as u32)),
            "the kernel has no entry for PVH"
        );
    }

    /// It may make nothing, or something of the right size, and never panics.
    #[test]
    fn damage_anywhere_in_the_image_is_survived() {
        let whole = image(&good(), 1000);
        for at in 0x1f0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                if let Ok(vmlinux) = unpacked(&damaged) {
                    assert!(vmlinux.len() == 1000, "{at}");
                }
            }
            let nothing_lost = at >= whole.len() - SIGNATURE.len();
            assert_eq!(unpacked(&whole[..at]).is_ok(), nothing_lost, "{at}");
        }
    }
}
