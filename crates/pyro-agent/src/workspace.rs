//! The folder `/workspace` itself: that it is there, and whose it is.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::unistd::{Gid, Uid, fchown};
use pyro_wire::Bytes;

use crate::agent::Agent;
use crate::backend::WORKSPACE;
use crate::mounts::{self, MountError};
use crate::{console, user};

/// Makes it where it is missing.
pub(crate) fn make() -> Result<(), MountError> {
    mounts::make_folder(Path::new(WORKSPACE), 0o755)
}

/// Gives it to the user who runs commands there, where it is root's: what was made for root is of no
/// use to somebody else. What is in it stays as it is.
///
/// That there is no such user is told to whoever runs a command. The guest is of use all the same.
pub(crate) fn give_to_user(agent: &Agent, asked: Option<&Bytes>) {
    let Some(asked) = asked else { return };
    let Ok(found) = user::find(&agent.backend, asked) else {
        return;
    };
    let (uid, gid) = found.credentials.owner();
    if let Err(error) = give(uid, gid) {
        console::report(format_args!("cannot give {WORKSPACE} to its user: {error}"));
    }
}

fn give(uid: Uid, gid: Gid) -> io::Result<()> {
    // Not through a link: where it leads is nobody's workspace.
    let folder = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(WORKSPACE)?;
    let now = folder.metadata()?;
    if now.uid() == 0 && !uid.is_root() {
        fchown(&folder, Some(uid), Some(gid))?;
    }
    Ok(())
}
