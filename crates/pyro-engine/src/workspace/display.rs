//! What the guest says of files, as callers read it.

use pyro_api::values::ArtifactType;
use pyro_wire::files::EntryKind;

use super::paths::absolute;

pub(crate) fn artifact_type(kind: EntryKind) -> ArtifactType {
    match kind {
        EntryKind::File => ArtifactType::File,
        EntryKind::Directory => ArtifactType::Directory,
        EntryKind::Symlink => ArtifactType::Symlink,
        EntryKind::Special => ArtifactType::Special,
    }
}

/// Permission bits in octal, as `chmod` takes them.
pub(crate) fn octal(mode: u32) -> String {
    format!("{:04o}", mode & 0o7777)
}

/// A path below `/workspace`; bytes that are not UTF-8 are replaced.
pub(crate) fn shown_absolute(relative: &[u8]) -> String {
    absolute(&String::from_utf8_lossy(relative))
}
