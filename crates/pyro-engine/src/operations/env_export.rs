use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use async_trait::async_trait;
use pyro_api::operations::env_export::{EnvExport, ExportedEnvironment};
use pyro_api::{Caller, Error, ErrorCode, Handle};
use pyro_catalog::Installed;
use pyro_disk::{PackError, Packed, pack};
use pyro_oci::{About, Digest, ImageWriter};
use pyro_transfer::export::{ArtifactKind, Destination};
use pyro_transfer::host_paths::home;

use crate::Engine;
use crate::error::{broke, cancelled, catalog_failed, host_io};
use crate::machine::disk;
use crate::workspace::at_rest::layers_of;
use crate::workspace::host_paths::admit;
use crate::workspace::outgoing::unfit;
use crate::workspace::progress::report_progress;

const DOING: &str = "writing the image";

#[async_trait]
impl Handle<EnvExport> for Engine {
    async fn handle(
        &self,
        asked: EnvExport,
        caller: &Caller,
    ) -> Result<ExportedEnvironment, Error> {
        let spec = self.named(&asked.environment, caller).await?;
        admit(&asked.output_path, caller).await?;
        let installed = self.catalog().installed(spec).map_err(catalog_failed)?;
        let installed = installed.ok_or_else(|| {
            catalog_failed(pyro_catalog::CatalogError::NotInstalled { name: spec.name })
        })?;
        let (_cancel, mut progress) = report_progress(caller, DOING);
        let (output_path, overwrite) = (asked.output_path, asked.overwrite);
        tokio::task::spawn_blocking(move || {
            written(&installed, &output_path, overwrite, &mut progress)
        })
        .await
        .map_err(|error| broke(&error))?
    }
}

/// Beside the path until it is whole: a failure, and a kill, leave nothing that looks like one.
fn written(
    installed: &Installed,
    output_path: &Path,
    overwrite: bool,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<ExportedEnvironment, Error> {
    let name = installed.spec.name;
    let what = format!("Environment `{name}` could not be exported");
    let home = home();
    let mut destination =
        Destination::prepare(output_path, OsStr::new(""), home.as_deref(), overwrite)
            .map_err(unfit)?;
    let path = destination
        .stage(ArtifactKind::File)
        .map_err(unfit)?
        .content();
    let file = File::create_new(&path).map_err(|error| host_io(&what, &error))?;
    let (digest, packed) =
        image(installed, file, progress).map_err(|error| failed(&what, error))?;
    let bytes_written = path
        .metadata()
        .map_err(|error| host_io(&what, &error))?
        .len();
    let path = destination.commit().map_err(unfit)?;
    Ok(ExportedEnvironment {
        environment: name.to_owned(),
        output_path: path.display().to_string(),
        digest: digest.to_string(),
        bytes_written,
        entry_count: packed.entries,
        notes: notes(&packed),
    })
}

fn image(
    installed: &Installed,
    file: File,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<(Digest, Packed), PackError> {
    let layers = layers_of(&disk::environment(installed));
    let mut packed = Packed::default();
    let fill = |to: &mut dyn io::Write| {
        packed = pack(&layers, to, progress)?;
        Ok::<_, PackError>(())
    };
    let writer = ImageWriter::new(file, fill)?;
    let config = installed.image.as_ref().map(|image| image.config.clone());
    let about = About {
        name: &tag(installed),
        created: &installed.created_at,
        comment: &installed.source,
    };
    let digest = writer.finish(&config.unwrap_or_default(), &about)?;
    Ok((digest, packed))
}

/// What others are to call it: an image of a file has no name of its own.
fn tag(installed: &Installed) -> String {
    let spec = installed.spec;
    match (spec.registry(), spec.local_path()) {
        // A digest is none that this image will have.
        (Some(_), _) => spec.name.split('@').next().unwrap_or_default().to_owned(),
        (None, Some(_)) => "exported".to_owned(),
        (None, None) => spec.name.to_owned(),
    }
}

fn failed(what: &str, error: PackError) -> Error {
    match error {
        PackError::Cancelled => cancelled(),
        PackError::Write { source } => host_io(what, &source),
        PackError::TooMuch { .. } => Error::new(ErrorCode::Unsupported, what)
            .caused_by(&error)
            .hint("An image has holes of files as zeros: remove large sparse files first"),
        PackError::Disk(error) => Error::new(ErrorCode::Damaged, what).caused_by(&error).hint(
            "`pyro env inspect` tells whether its files are as they were; nothing was written",
        ),
    }
}

/// What is not in it.
fn notes(packed: &Packed) -> Vec<String> {
    let left_out = [
        (packed.devices_left_out, "device nodes"),
        (packed.sockets_left_out, "sockets"),
        (
            packed.names_left_out,
            "files whose names begin with `.wh.`, which means a removal in an image",
        ),
    ];
    left_out
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("left out {count} {what}"))
        .collect()
}
