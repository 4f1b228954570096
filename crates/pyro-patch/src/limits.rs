//! How large patches and files may be.

/// The longest text of a patch, in bytes.
pub const MAX_PATCH: usize = 1024 * 1024;

/// Files larger than this are neither patched nor made, and not compared.
pub const MAX_FILE: usize = 8 * 1024 * 1024;

/// What all new files of one patch may hold together.
pub(crate) const MAX_RESULT: usize = 128 * 1024 * 1024;
