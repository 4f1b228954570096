//! The whole disk as one file of this host.

use std::ffi::OsStr;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use pyro_api::{Caller, Error};
use pyro_disk::layers::{self, Layer};
use pyro_disk::{Tree, TreeError};
use pyro_transfer::export::{ArtifactKind, Destination, ExportError};
use pyro_transfer::host_paths::home;

use super::{StoppedDisk, scrub, unreadable};
use crate::error::{broke, cancelled, host_io};
use crate::owned_files::{Helper, OnOwnThread, Watch, mke2fs};
use crate::private_file;
use crate::workspace::at_rest::{DiskAtRest, layers_failed};
use crate::workspace::host_paths::admit;
use crate::workspace::outgoing::unfit;
use crate::workspace::progress::report_progress;

const DOING: &str = "copying the disk";

impl StoppedDisk {
    /// Writes the disk to an image at a path where nothing is. Beside the path until it is whole:
    /// a failure, and a kill, leave nothing that looks like one. Returns its path and its length.
    pub(crate) async fn export(
        &self,
        output_path: PathBuf,
        caller: &Caller,
    ) -> Result<(PathBuf, u64), Error> {
        admit(&output_path, caller).await?;
        let copy = Copy {
            id: self.id.clone(),
            what: format!(
                "The disk of workspace `{}` could not be copied out",
                self.id
            ),
            output_path,
        };
        let disk = self.disk.clone();
        let disk = tokio::task::spawn_blocking(move || disk.check().map(|()| disk))
            .await
            .map_err(|error| broke(&error))?
            .map_err(|error| layers_failed(copy.what.clone(), &error))?;
        match disk {
            DiskAtRest::Image(chain) => {
                let (_cancel, mut progress) = report_progress(caller, DOING);
                tokio::task::spawn_blocking(move || copy.of_image(&chain, &mut progress))
                    .await
                    .map_err(|error| broke(&error))?
            }
            DiskAtRest::Folders { folders, pyro } => {
                OnOwnThread::start(move |watch| copy.of_folders(&folders, &pyro, watch))
                    .finish(DOING, caller)
                    .await
            }
        }
    }
}

/// Gets how many bytes of all are done, and may end the work.
type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

struct Copy {
    id: String,
    what: String,
    output_path: PathBuf,
}

impl Copy {
    fn of_image(&self, chain: &[Layer], progress: Progress<'_>) -> Result<(PathBuf, u64), Error> {
        let layers_failed = |error| layers_failed(self.what.clone(), &error);
        self.readable(Tree::disk(chain, b""))?;
        self.make(progress, |image, path, progress| {
            layers::flatten(chain, image, path, progress).map_err(layers_failed)
        })
    }

    fn of_folders(
        &self,
        folders: &[PathBuf],
        pyro: &Path,
        watch: &Watch,
    ) -> Result<(PathBuf, u64), Error> {
        let mke2fs = mke2fs(&self.what)?;
        let helper = Helper::new(pyro, self.what.clone())?;
        let folders = folders.iter().map(PathBuf::as_path);
        let mut wanted = |_, _| match watch.is_stopped() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        self.make(&mut wanted, |_, path, _| {
            helper.image(&mke2fs, path, folders, watch)
        })
    }

    /// Has an image written aside, and puts it to its place.
    fn make(
        &self,
        progress: Progress<'_>,
        write: impl FnOnce(&File, &Path, Progress<'_>) -> Result<u64, Error>,
    ) -> Result<(PathBuf, u64), Error> {
        let output_path = self.output_path.as_path();
        let home = home();
        // A disk has no name of its own, to be put into a folder with.
        if output_path.is_dir() {
            let path = output_path.to_owned();
            return Err(no_place(ExportError::IsFolder { path }));
        }
        let no_name = OsStr::new("");
        let mut destination =
            Destination::prepare(output_path, no_name, home.as_deref(), false).map_err(no_place)?;
        let path = destination
            .stage(ArtifactKind::File)
            .map_err(no_place)?
            .content();
        let host_io = |error| host_io(&self.what, &error);
        let image = private_file::create(&path).map_err(host_io)?;
        let size = write(&image, &path, progress)?;
        let tree = self.readable(Tree::disk(&[Layer::raw(&path)], b""))?;
        scrub::agent_files(&tree, &path, &self.what)?;
        image.sync_all().map_err(host_io)?;
        if progress(size, size).is_break() {
            return Err(cancelled());
        }
        let path = destination.commit().map_err(no_place)?;
        Ok((path, size))
    }

    fn readable(&self, tree: Result<Tree, TreeError>) -> Result<Tree, Error> {
        tree.map_err(|error| unreadable(&self.what, &self.id, &error))
    }
}

/// An image never replaces what is there.
fn no_place(error: ExportError) -> Error {
    let is_there = matches!(error, ExportError::Exists { .. });
    let told = unfit(error);
    match is_there {
        true => told.hint("Give another path, or move away what is there; nothing was written"),
        false => told,
    }
}
