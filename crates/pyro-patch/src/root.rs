//! The folder that patches are for.

use crate::text::shown;

/// Names in a patch may be absolute below it; all others are relative to it.
pub const ROOT: &str = "/workspace";

/// The same, in front of a name.
pub(crate) const ROOT_PREFIX: &[u8] = b"/workspace/";

/// A path for people.
pub(crate) fn absolute(path: &[u8]) -> String {
    format!("{ROOT}/{}", shown(path))
}
