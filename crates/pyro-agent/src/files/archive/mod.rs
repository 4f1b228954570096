//! Tar archives as streams: in with [`read`], out with [`write`].
//!
//! The crate `tar` knows the fields of a header. What comes after one is done here, since names
//! may hold any byte (newlines too), memory must stay bounded whatever a header claims, and an
//! archive that was cut off must not look complete.

pub(crate) mod pax;
pub(crate) mod read;
pub(crate) mod write;

/// Everything in an archive is padded to blocks of this size.
const BLOCK: usize = 512;

/// How many bytes fill the last block of so many.
fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}
