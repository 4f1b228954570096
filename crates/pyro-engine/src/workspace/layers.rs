//! The layers of a workspace's disk: files for a VM, folders for a sandbox.

use std::fs::DirEntry;
use std::io;
use std::path::{Path, PathBuf};

use pyro_api::Error;
use pyro_disk::layers;
use pyro_wire::launch::DiskLayer;

use super::at_rest::{layers_failed, layers_of};
use super::folder::WorkspaceFolder;
use crate::error::broke;
use crate::gvisor;
use crate::machine::create::Base;
use crate::machine::disk;
use crate::random::random_hex;

/// An empty layer with a name of its own. `None`: commands run on the host, which has no disk.
pub(crate) fn new_layer(folder: &WorkspaceFolder, base: &Base) -> io::Result<Option<String>> {
    let is_folder = match base {
        Base::Image(_) => false,
        Base::Tree(_) => true,
        Base::HostProcess => return Ok(None),
    };
    let name = new_name(is_folder)?;
    make(&folder.layer(&name), base)?;
    Ok(Some(name))
}

/// A name that no other layer has.
pub(crate) fn new_name(is_folder: bool) -> io::Result<String> {
    let name = random_hex(6)?;
    Ok(match is_folder {
        true => name,
        false => format!("{name}.qcow2"),
    })
}

/// Makes an empty layer.
pub(crate) fn make(path: &Path, base: &Base) -> io::Result<()> {
    match base {
        Base::Image(image) => disk::create_layer(path, &image.installed),
        Base::Tree(_) => gvisor::create_layer(path),
        Base::HostProcess => Ok(()),
    }
}

/// Removes a layer of either kind.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path)?.is_dir() {
        true => gvisor::remove_folder(path),
        false => std::fs::remove_file(path),
    }
}

/// Removes a folder of layers.
pub(crate) fn remove_all(folder: &Path) -> io::Result<()> {
    let is_folder = |entry: io::Result<DirEntry>| entry.is_ok_and(|entry| entry.path().is_dir());
    match std::fs::read_dir(folder)?.any(is_folder) {
        true => gvisor::remove_folder(folder),
        false => std::fs::remove_dir_all(folder),
    }
}

/// The whole disk, bottom first: what it stands on, own layers.
pub(crate) fn chain(base: &Base, own: impl IntoIterator<Item = PathBuf>) -> Vec<DiskLayer> {
    match base {
        Base::Image(image) => disk::chain(&image.installed, image.template.as_deref(), own),
        Base::Tree(tree) => gvisor::chain(tree, own),
        Base::HostProcess => Vec::new(),
    }
}

/// Refuses layers whose files are not all there: a guest that runs on them would see zeros, or an
/// older state, and write on top of that.
pub(crate) async fn check(id: &str, base: &Base, own: Vec<PathBuf>) -> Result<(), Error> {
    let is_tree = matches!(base, Base::Tree(_));
    let work = move || match is_tree {
        true => gvisor::check_layers(&own),
        false => {
            let own: Vec<_> = own.iter().map(|path| disk::layer(path)).collect();
            layers::check(&layers_of(&own))
        }
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| broke(&error))?
        .map_err(|error| {
            let what = format!("Workspace `{id}` could not be started: its disk is damaged");
            layers_failed(what, &error)
        })
}
