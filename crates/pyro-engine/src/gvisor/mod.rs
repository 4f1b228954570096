//! What a sandbox of gVisor is made of: its program, its root file system, its own layer. How it is
//! started is the shim's business.

mod diagnosis;
pub(crate) mod lacks;
mod runsc;

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use pyro_api::{Caller, Error};
use pyro_catalog::Installed;
use pyro_disk::layers::LayerError;
use pyro_namespace::IdMap;
use pyro_namespace::overlay::{self, upper};
use pyro_wire::launch::{DiskFormat, DiskLayer, Gvisor, Runs};
use pyro_wire::network::Network;
use pyro_wire::reached;

use crate::engine::Engine;
use crate::error::no_sandboxes;

/// Name of the layer in the folder of a VM.
const LAYER: &str = "layer";

/// How long nobody may ask for files until the agent beside a sandbox ends. No freeze is longer, so none is
/// ended by that.
const FILES_IDLE_MS: u64 = 10 * 60 * 1000;

impl Engine {
    /// What sandboxes of an environment run on, with `runsc`; made and fetched where it is not there
    /// yet. Returns the folder of the environment's files.
    pub(crate) async fn gvisor_base(
        &self,
        installed: &Installed,
        caller: &Caller,
    ) -> Result<PathBuf, Error> {
        // Before anything is fetched for nothing.
        IdMap::of_caller().map_err(no_sandboxes)?;
        self.runsc(caller).await?;
        reached!("runsc found");
        let folder = self.environment_tree(installed, caller).await?;
        reached!("environment's tree found");
        Ok(folder)
    }

    /// A machine of gVisor's on a chain of folders.
    pub(crate) async fn gvisor_machine(
        &self,
        disk: Vec<DiskLayer>,
        vcpu_count: u32,
        mem_mib: u32,
        network: Option<Network>,
        caller: &Caller,
    ) -> Result<Gvisor, Error> {
        let runsc = self.runsc(caller).await?;
        Ok(Gvisor {
            runsc: runsc.path,
            version: runsc.version,
            agent: self.config().agent()?.to_owned(),
            vcpu_count,
            mem_mib,
            disk,
            network,
            runs: Runs::Sandbox,
            jail: self.config().jail,
            files_idle_ms: FILES_IDLE_MS,
        })
    }
}

/// Where the layer of a VM is in its folder.
pub(crate) fn own_layer(folder: &Path) -> PathBuf {
    folder.join(LAYER)
}

/// Makes an empty layer: what the sandbox writes comes into `upper`, `work` is the kernel's.
pub(crate) fn create_layer(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    for part in [upper(path), path.join("work")] {
        DirBuilder::new().create(part)?;
    }
    // It becomes the root folder of the sandbox, which everybody in there walks through. Not when it
    // is made: there the caller's umask would take something away.
    fs::set_permissions(upper(path), Permissions::from_mode(0o755))
}

/// Removes the layer of a VM's folder, if it has one.
pub(crate) fn remove_layer(folder: &Path) {
    let layer = own_layer(folder);
    if layer.exists() {
        // Where that cannot be done, whoever removes the rest says why.
        let _ = remove_folder(&layer);
    }
}

/// Removes a layer, or a folder with layers in it. Their files belong to ids that only a user namespace
/// has, and a sandbox may have made more folders in one another than one should go down by oneself.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    pyro_namespace::remove_tree(path).map_err(io::Error::other)
}

/// Refuses layers, bottom first, that do not have all that they are made of.
pub(crate) fn check_layers(layers: &[PathBuf]) -> Result<(), LayerError> {
    for (number, layer) in layers.iter().enumerate() {
        check_folder(layer)?;
        check_folder(&upper(layer))?;
        // What is only read needs no place to work.
        if number + 1 == layers.len() {
            check_folder(&layer.join("work"))?;
        }
    }
    Ok(())
}

/// The same of what [`shown`] returns, which is only read.
pub(crate) fn check_shown(folders: &[PathBuf]) -> Result<(), LayerError> {
    let above_the_tree = folders.iter().rev().skip(1);
    for upper in above_the_tree {
        if let Some(layer) = upper.parent() {
            check_folder(layer)?;
        }
        check_folder(upper)?;
    }
    Ok(())
}

/// A link is none: whoever puts one there may have anything behind it.
fn check_folder(path: &Path) -> Result<(), LayerError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(LayerError::Damaged {
            path: path.to_owned(),
        }),
        Err(source) => Err(LayerError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// A root disk, bottom first: the environment's tree, own layers.
pub(crate) fn chain(tree: &Path, layers: impl IntoIterator<Item = PathBuf>) -> Vec<DiskLayer> {
    let folder = |path: PathBuf| DiskLayer {
        path,
        format: DiskFormat::Folder,
    };
    let tree = folder(tree.to_owned());
    std::iter::once(tree)
        .chain(layers.into_iter().map(folder))
        .collect()
}

/// The folders of a chain that show something, top first, as an overlay wants them.
pub(crate) fn shown(chain: &[DiskLayer]) -> Vec<PathBuf> {
    let Some((tree, layers)) = chain.split_first() else {
        return Vec::new();
    };
    overlay::shown(&tree.path, layers.iter().map(|layer| layer.path.as_path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_two_folders_and_its_root_is_everybodys_to_walk_through() {
        let folder = tempfile::tempdir().unwrap();
        let layer = own_layer(folder.path());
        create_layer(&layer).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&layer), 0o700);
        assert_eq!(mode(&layer.join("upper")), 0o755);
        assert!(layer.join("work").is_dir());
        let chain = chain(Path::new("/tree"), [layer.clone()]);
        let paths: Vec<_> = chain.iter().map(|layer| layer.path.as_path()).collect();
        assert_eq!(paths, [Path::new("/tree"), &layer]);
        assert!(chain.iter().all(|layer| layer.format == DiskFormat::Folder));
        assert_eq!(shown(&chain), [layer.join("upper"), PathBuf::from("/tree")]);
        assert_eq!(shown(&chain[..1]), [PathBuf::from("/tree")]);
    }

    #[test]
    fn a_layer_that_lacks_a_part_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let layers = ["a", "b"].map(|name| folder.path().join(name));
        for layer in &layers {
            create_layer(layer).unwrap();
        }
        check_layers(&layers).unwrap();
        // Nobody works in what is only read.
        fs::remove_dir(layers[0].join("work")).unwrap();
        check_layers(&layers).unwrap();
        let [low, high] = layers.each_ref().map(|layer| upper(layer));
        let shown = [high, low, folder.path().to_owned()];
        check_shown(&shown).unwrap();
        fs::remove_dir(layers[1].join("work")).unwrap();
        check_shown(&shown).unwrap();
        let refused = check_layers(&layers).unwrap_err();
        assert!(matches!(refused, LayerError::Read { .. }), "{refused:?}");
        fs::write(layers[1].join("work"), "").unwrap();
        let refused = check_layers(&layers).unwrap_err();
        assert!(matches!(refused, LayerError::Damaged { .. }), "{refused:?}");
        fs::remove_dir(layers[0].join("upper")).unwrap();
        assert!(check_layers(&layers[..1]).is_err());
        assert!(check_shown(&shown).is_err());
        // Nor is a link to a sound one.
        fs::rename(&layers[1], folder.path().join("c")).unwrap();
        std::os::unix::fs::symlink("c", &layers[1]).unwrap();
        let refused = check_shown(&shown[..1]);
        assert!(refused.is_ok(), "the last one is the tree: {refused:?}");
        let refused = check_shown(&[shown[0].clone(), shown[2].clone()]).unwrap_err();
        assert!(matches!(refused, LayerError::Damaged { .. }), "{refused:?}");
    }
}
