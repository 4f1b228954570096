//! What goes wrong with layers, in words.

use pyro_api::{Error, ErrorCode};

use super::LayersError;
use crate::machine::start::cancelled;

pub(crate) fn layers_failed(what: String, error: &LayersError) -> Error {
    let full = |source: &std::io::Error| source.kind() == std::io::ErrorKind::StorageFull;
    let (code, hint) = match error {
        LayersError::Cancelled => return cancelled(),
        LayersError::Write { source, .. } if full(source) => (
            ErrorCode::NoSpace,
            "Free space on this host; nothing was changed",
        ),
        LayersError::Write { .. } => (
            ErrorCode::HostIo,
            "See that the folder can be written; nothing was changed",
        ),
        LayersError::Read { .. } | LayersError::Damaged { .. } => (
            ErrorCode::Damaged,
            "Nothing was changed. Another snapshot may be sound: `pyro workspace reset --snapshot` \
             (`workspace_reset`)",
        ),
    };
    Error::new(code, what).caused_by(error).hint(hint)
}
