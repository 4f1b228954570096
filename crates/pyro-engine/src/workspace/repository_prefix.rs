//! A seed that is a folder of a git repository: git takes the names in a patch from the root of the
//! repository, wherever it is called, and passes over those that are not below the folder it is
//! called in. So a diff's names begin there, and those of a patch may.

/// What the folder of the seed is called in a workspace's metadata.
pub(crate) const SEED_IN_REPOSITORY: &str = "seed_in_repository";
