//! Files that belong to the ids of a user namespace: the trees that sandboxes start from, and the
//! layers with what they changed. From outside they can be read at best, so work on them is done by a
//! process that is root in there.
//!
//! `helper` starts it and listens, and `served` asks it for files; `inside` is what it does, on what
//! `chain` mounts or for an `image` (with `times` of its files), and `report` what it tells.

mod chain;
mod helper;
mod image;
mod inside;
mod report;
mod served;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod times;

pub(crate) use helper::{Helper, OnOwnThread, Watch};
#[cfg(test)]
use inside::run as run_inside;
pub use inside::{COMMAND as FILES_COMMAND, main as files_command};
pub(crate) use report::{Copied, Unpacked};

use std::path::{Path, PathBuf};

use pyro_api::{Caller, Error, ErrorCode};

use crate::engine::Engine;

/// The program that writes disks. `what` fails without it.
pub(crate) fn mke2fs(what: &str) -> Result<PathBuf, Error> {
    let mut tools = pyro_catalog::tools().into_iter();
    let found = tools.find(|tool| tool.name == "mke2fs");
    found.and_then(|tool| tool.path).ok_or_else(|| {
        Error::new(ErrorCode::ToolMissing, what)
            .because("`mke2fs` is needed to write an image, but was not found")
            .hint("Install it with `sudo apt-get install e2fsprogs`")
    })
}

impl Engine {
    /// Copies what a sandbox changed, the `upper` of a layer, into a folder that is there and empty,
    /// and flushes it. Nobody may write to either meanwhile. After an error the folder holds a part,
    /// which `pyro_namespace::remove_tree` removes.
    pub(crate) async fn copy_layer(
        &self,
        from: &Path,
        to: &Path,
        caller: &Caller,
    ) -> Result<Copied, Error> {
        let what = format!("The layer {} could not be copied", from.display());
        let helper = Helper::new(self.config().pyro()?, what)?;
        let (from, to): (PathBuf, PathBuf) = (from.to_owned(), to.to_owned());
        let message = "copying what was changed";
        OnOwnThread::start(move |watch| helper.copy(&from, &to, watch))
            .finish(message, caller)
            .await
    }
}
