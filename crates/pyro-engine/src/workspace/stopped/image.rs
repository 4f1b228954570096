//! The whole disk as one file of this host.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use pyro_api::{Caller, Error};
use pyro_disk::Tree;
use pyro_disk::layers::{self, Layer};
use pyro_transfer::export::{ArtifactKind, Destination, ExportError};
use pyro_transfer::host_paths::home;

use super::{StoppedDisk, scrub, unreadable};
use crate::error::{broke, cancelled, host_io};
use crate::private_file;
use crate::workspace::at_rest::layers_failed;
use crate::workspace::host_paths::admit;
use crate::workspace::outgoing::unfit;
use crate::workspace::progress::report_progress;

impl StoppedDisk {
    /// Writes the disk to an image at a path where nothing is. Beside the path until it is whole:
    /// a failure, and a kill, leave nothing that looks like one. Returns its path and its length.
    pub(crate) async fn export(
        &self,
        output_path: PathBuf,
        caller: &Caller,
    ) -> Result<(PathBuf, u64), Error> {
        admit(&output_path, caller).await?;
        let (_cancel, mut progress) = report_progress(caller, "copying the disk");
        let copy = Copy {
            chain: self.chain.clone(),
            id: self.id.clone(),
        };
        tokio::task::spawn_blocking(move || copy.run(&output_path, &mut progress))
            .await
            .map_err(|error| broke(&error))?
    }
}

struct Copy {
    chain: Vec<Layer>,
    id: String,
}

impl Copy {
    fn run(
        &self,
        output_path: &Path,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<(PathBuf, u64), Error> {
        let what = format!(
            "The disk of workspace `{}` could not be copied out",
            self.id
        );
        // That it is sound, before anything is made.
        layers::check(&self.chain).map_err(|error| layers_failed(what.clone(), &error))?;
        let files = Tree::disk(&self.chain, b"");
        files.map_err(|error| unreadable(&what, &self.id, &error))?;
        let home = home();
        // A disk has no name of its own, to be put into a folder with.
        if output_path.is_dir() {
            let path = output_path.to_owned();
            return Err(unfit(ExportError::IsFolder { path }));
        }
        let no_name = OsStr::new("");
        let mut destination =
            Destination::prepare(output_path, no_name, home.as_deref(), false).map_err(unfit)?;
        let path = destination
            .stage(ArtifactKind::File)
            .map_err(unfit)?
            .content();
        let image = private_file::create(&path).map_err(|error| host_io(&what, &error))?;
        let size = layers::flatten(&self.chain, &image, &path, progress)
            .map_err(|error| layers_failed(what.clone(), &error))?;
        let tree = Tree::disk(&[Layer::raw(&path)], b"");
        let tree = tree.map_err(|error| unreadable(&what, &self.id, &error))?;
        scrub::agent_files(&tree, &path, &what)?;
        image.sync_all().map_err(|error| host_io(&what, &error))?;
        if progress(size, size).is_break() {
            return Err(cancelled());
        }
        let path = destination.commit().map_err(unfit)?;
        Ok((path, size))
    }
}
