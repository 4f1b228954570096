//! The disk of a sandbox: folders, of which one image is made.

use std::path::PathBuf;

use pyro_api::{Caller, Error, ErrorCode};
use pyro_catalog::{Keeping, Kernel, Part, Parts};
use pyro_disk::Tree;
use pyro_disk::layers::Layer;

use super::{Held, is_running};
use crate::engine::Engine;
use crate::error::{catalog_failed, host_io};
use crate::gvisor;
use crate::machine::create::Base;
use crate::owned_files::{Helper, OnOwnThread, mke2fs};
use crate::private_file;
use crate::store::StoredWorkspace;
use crate::workspace::layers;
use crate::workspace::snapshots::Target;
use crate::workspace::stopped::scrub;

const DOING: &str = "writing the disk of the environment";

impl Engine {
    /// An image of what the folders of a sandbox show, made in the catalog.
    pub(super) async fn folder_parts(
        &self,
        held: &Held,
        base: &Base,
        target: Option<&Target>,
        keeping: &Keeping,
        caller: &Caller,
    ) -> Result<Parts, Error> {
        let Base::Tree(tree) = base else {
            return Err(Error::new(ErrorCode::Unsupported, &*held.what)
                .because("its commands run on the host itself"));
        };
        let kernel = self.kernel_for(&held.stored, &held.what)?;
        let mke2fs = mke2fs(&held.what)?;
        let helper = Helper::new(self.config().pyro()?, held.what.clone())?;
        let folder = self.workspace_folder(&held.stored.record.workspace_id);
        // Of a running sandbox what it writes to is copied, as it has that mounted.
        let (chain, _copy) = match target {
            Some(target) => (target.layers(&held.stored), None),
            None if is_running(&held.stored) => {
                let chain = self
                    .copy_top(&held.stored, base, &held.what, caller)
                    .await?;
                let copy = chain.last().map(|name| Copy(folder.layer(name)));
                (chain, copy)
            }
            None => (held.stored.layers.clone(), None),
        };
        let own = chain.iter().map(|name| folder.layer(name));
        let shown = gvisor::shown(&gvisor::chain(tree, own));
        gvisor::check_shown(&shown)
            .map_err(|error| crate::workspace::at_rest::layers_failed(held.what.clone(), &error))?;
        let image = keeping
            .folder()
            .map_err(catalog_failed)?
            .join("rootfs.ext4");
        let what = held.what.clone();
        let rootfs = OnOwnThread::start(move |watch| {
            private_file::create(&image).map_err(|error| host_io(&what, &error))?;
            let folders = shown.iter().map(PathBuf::as_path);
            helper.image(&mke2fs, &image, folders, watch)?;
            let tree = Tree::disk(&[Layer::raw(&image)], b"")
                .map_err(|error| Error::new(ErrorCode::Internal, &*what).caused_by(&error))?;
            scrub::agent_files(&tree, &image, &what)?;
            Ok(image)
        })
        .finish(DOING, caller)
        .await?;
        Ok(Parts {
            rootfs: Part::at(rootfs),
            layers: Vec::new(),
            kernel,
            config: None,
            source: String::new(),
        })
    }

    /// The kernel that VMs of it are to boot. The sandbox has none.
    fn kernel_for(&self, stored: &StoredWorkspace, what: &str) -> Result<Kernel, Error> {
        let found = self.catalog().find_recorded(&stored.record.environment);
        let installed = found.and_then(|spec| self.catalog().installed(spec));
        let of_environment = installed.ok().flatten().map(|installed| installed.kernel);
        of_environment
            .or_else(|| self.catalog().latest_kernel())
            .ok_or_else(|| {
                Error::new(ErrorCode::Damaged, what)
                    .because("there is no kernel in the cache, which VMs need")
                    .hint("Get one with `pyro env pull debian:12-base`")
            })
    }
}

/// A layer that no record names. What a kill leaves of it is swept with the workspace.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = layers::remove(&self.0);
    }
}
