//! The caller behind every tool: a model, with what it may reach of this host.

use std::path::PathBuf;
use std::sync::Arc;

use pyro_api::{Caller, Folders};

use crate::KEPT_OUTPUT;
use crate::progress::Watched;

/// The folders of this host that arguments of a model may name, separated as in `PATH`; unset:
/// all that the server's user may use.
const FOLDERS: &str = "PYRO_MCP_FOLDERS";

/// A relative folder is below the server's working folder.
pub(crate) fn folders() -> Folders {
    let Some(named) = std::env::var_os(FOLDERS).filter(|named| !named.is_empty()) else {
        return Folders::All;
    };
    let folders: Vec<PathBuf> = std::env::split_paths(&named)
        .filter(|folder| !folder.as_os_str().is_empty())
        .collect();
    Folders::Only {
        folders: folders.into(),
        named_by: FOLDERS,
    }
}

pub(crate) fn caller(watched: &Arc<Watched>, folders: &Folders) -> Caller {
    Caller::new()
        .with_events(Arc::clone(watched) as _)
        .keeping_output(KEPT_OUTPUT)
        .for_model(folders.clone())
}
