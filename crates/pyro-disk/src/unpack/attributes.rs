//! Gives files their extended attributes.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use super::UnpackError;
use super::error::write;
use super::walk::Unpacker;
use crate::ext4::Inode;
use crate::xattr;

/// What an overlay keeps in attributes of its layers. A disk that had them could make an overlay
/// over the folder show what is not there.
const OF_OVERLAYS: [&[u8]; 2] = [b"user.overlay.", b"trusted.overlay."];

/// Values longer than this find no room on some file systems that are not full.
const SURELY_FITS: usize = 1024;

impl Unpacker<'_> {
    pub(super) fn set_attributes(
        &mut self,
        inode: &Inode,
        open: BorrowedFd,
        path: &[u8],
    ) -> Result<(), UnpackError> {
        for attribute in self.disk.attributes(inode)? {
            let of_overlays = OF_OVERLAYS
                .iter()
                .any(|prefix| attribute.name.starts_with(prefix));
            if of_overlays {
                self.done.attributes += 1;
                continue;
            }
            let name = CString::new(attribute.name).map_err(|_| Errno::EINVAL);
            match name.and_then(|name| xattr::set(&open, &name, &attribute.value)) {
                Ok(()) => {}
                Err(errno @ (Errno::EIO | Errno::EDQUOT)) => return Err(write(path)(errno)),
                Err(Errno::ENOSPC) if attribute.value.len() <= SURELY_FITS => {
                    return Err(write(path)(Errno::ENOSPC));
                }
                // Whatever the reason is, the file is of use without it.
                Err(_) => self.done.attributes += 1,
            }
        }
        Ok(())
    }
}
