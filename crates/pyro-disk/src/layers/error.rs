//! Why layers cannot be read, or a new one not be made.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("the disk layer `{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the disk layer `{}` is damaged", path.display())]
    Damaged { path: PathBuf },
    #[error("the call was cancelled")]
    Cancelled,
}
