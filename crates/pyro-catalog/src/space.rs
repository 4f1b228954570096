//! The disk space of the cache, for `pyro doctor`.

use crate::disk_usage::{allocated_bytes, free_bytes};
use crate::{Catalog, CatalogError};

/// The cache's share of its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Allocated blocks, so a sparse image counts what it holds.
    pub used_bytes: u64,
    pub free_bytes: u64,
}

impl Catalog {
    /// What the cache takes and what its file system has left.
    pub fn space(&self) -> Result<Space, CatalogError> {
        let path = self.cache_dir();
        let free_bytes =
            free_bytes(path).map_err(CatalogError::reading("ask for the free space at", path))?;
        Ok(Space {
            used_bytes: allocated_bytes(path),
            free_bytes,
        })
    }
}
