//! Files of the host that QEMU is about to open.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use pyro_wire::fault::{Fault, FaultCode};

use crate::backend::BootFailure;

pub(super) fn readable(path: &Path, what: &str) -> Result<(), BootFailure> {
    usable(path, what, OpenOptions::new().read(true))
}

/// Opens a file as QEMU is about to, because QEMU's own words about it are for experts.
pub(super) fn usable(path: &Path, what: &str, how: &OpenOptions) -> Result<(), BootFailure> {
    let opened: io::Result<File> = how.open(path);
    opened.map(drop).map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => FaultCode::NotFound,
            _ => FaultCode::HostIo,
        };
        let message = format!("{what} {} cannot be opened: {error}", path.display());
        BootFailure::lasting(Fault::new(code, message))
    })
}
