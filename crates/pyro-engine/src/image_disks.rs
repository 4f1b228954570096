//! Disks of images: layers are applied, and a file system made of the result, by a process that is root of a
//! user namespace.

use std::fs::{self, DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use pyro_catalog::{DiskWriter, Phase, ProgressMonitor, Step};
use pyro_oci::Image;
use pyro_oci::apply::{Applied, Limits};

use crate::config::Config;
use crate::error::host_io;
use crate::owned_files::{Helper, Watch, mke2fs};

/// How far a pull is when it begins to unpack, to write the disk, and to do the rest: the shares of the time
/// that it took with Debian's files on two processors.
const UNPACKING: f32 = 0.3;
const WRITING: f32 = 0.65;
const WRITTEN: f32 = 0.9;

pub(crate) struct ImageDisks {
    config: Config,
}

impl ImageDisks {
    pub(crate) fn new(config: Config) -> Self {
        Self { config }
    }
}

impl DiskWriter for ImageDisks {
    fn write(
        &self,
        image: &Image,
        limits: Limits,
        folder: &Path,
        rootfs: &Path,
        monitor: &dyn ProgressMonitor,
    ) -> Result<Applied, Box<dyn std::error::Error + Send + Sync>> {
        let what = "The image could not be unpacked";
        let helper = Helper::new(self.config.pyro()?, what.to_owned())?;
        let mke2fs = mke2fs(what)?;
        let failed = |error| host_io(what, &error);
        // Programs in there may be setuid.
        fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed)?;
        let root = folder.join("root");
        DirBuilder::new()
            .mode(0o755)
            .create(&root)
            .map_err(failed)?;
        let watch = |phase, message: &'static str, from: f32, to: f32| {
            Watch::new(
                move |fraction| {
                    monitor.progress(&Step {
                        phase,
                        message: message.to_owned(),
                        fraction: fraction.map(|part| from + (to - from) * part),
                    });
                },
                || monitor.cancelled(),
            )
        };
        let unpacking = watch(
            Phase::Installing,
            "unpacking the layers",
            UNPACKING,
            WRITING,
        );
        let applied = helper.apply(image, limits, &root, &unpacking)?;
        File::create_new(rootfs).map_err(failed)?;
        let writing = watch(Phase::Image, "writing the disk image", WRITING, WRITTEN);
        helper.image(&mke2fs, rootfs, [root.as_path()], &writing)?;
        Ok(applied)
    }
}
