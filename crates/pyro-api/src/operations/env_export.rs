use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Cli, JsonFlag, Names, Operation, Report, Text, report::plain};

/// Write an environment to a file that Docker, Podman and pyro can load
///
/// An OCI archive with one layer: all files with their owners, rights, attributes and links, and what
/// the image says of its programs. Load it with `docker load`, `podman load`, `skopeo copy
/// oci-archive:FILE`, or `pyro env import`.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct EnvExport {
    /// The environment, such as `app` or `debian:12`
    pub environment: String,
    /// The file to write on this host
    #[arg(value_name = "FILE")]
    pub output_path: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    #[serde(default)]
    pub overwrite: bool,
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExportedEnvironment {
    pub environment: String,
    /// Absolute.
    pub output_path: String,
    /// Of the image's manifest.
    pub digest: String,
    /// The length of the file.
    pub bytes_written: u64,
    /// Files, folders and links in it.
    pub entry_count: u64,
    /// What an image cannot hold.
    pub notes: Vec<String>,
}

impl Report for ExportedEnvironment {
    fn report(&self, text: &mut Text) {
        for note in &self.notes {
            text.err(format!("[env-export] {note}"));
        }
        text.out(format!(
            "[env-export] environment={} output_path={} digest={} bytes_written={} entry_count={}",
            plain(&self.environment),
            plain(&self.output_path),
            self.digest,
            self.bytes_written,
            self.entry_count
        ));
    }
}

impl Operation for EnvExport {
    type Output = ExportedEnvironment;

    const NAMES: Names = Names {
        operation: "env_export",
        cli: Some(Cli {
            path: &["env", "export"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: None,
        sdk: Some("export_environment"),
    };
}
