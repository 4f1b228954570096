//! An environment: a root file system that VMs start from.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::report::{Report, Text, yes_no};

/// An environment of the catalog, and whether it is installed here.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Environment {
    pub name: String,
    pub version: String,
    pub description: String,
    pub default_packages: Vec<String>,
    pub distribution: String,
    pub distribution_version: String,
    pub platform: String,
    /// Absent for environments that are built from Debian packages.
    pub oci_registry: Option<String>,
    pub oci_repository: Option<String>,
    pub oci_reference: Option<String>,
    /// Of the installed disk: SHA-256 in hex; absent when it is not installed.
    pub source_digest: Option<String>,
    /// The versions of pyro that can use it.
    pub compatibility: String,
    pub catalog_version: String,
    pub installed: bool,
    pub cache_dir: String,
    pub install_dir: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub install_manifest: Option<String>,
    /// Why an installed environment cannot be used; absent when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// When an installed one was made: RFC 3339, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// What an installed one takes on disk, files that it shares with others included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Where an installed one came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_from: Option<String>,
    /// What an OCI image says of itself, also where an environment was made of a workspace that began
    /// with one; absent for all other environments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageFacts>,
}

/// What an OCI image says about the programs in it, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ImageFacts {
    /// Of its manifest, or of its configuration in an archive of Docker's.
    pub digest: String,
    /// Variables of every command, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// Where commands of one-shot VMs run unless they are told otherwise.
    pub working_dir: Option<String>,
    pub user: Option<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// Such as `8080/tcp`.
    pub exposed_ports: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// Device nodes that its layers have; a guest has its own.
    pub devices_left_out: u64,
    /// Extended attributes that could not be kept.
    pub attributes_left_out: u64,
}

impl ImageFacts {
    fn report(&self, text: &mut Text) {
        text.field("Image digest", &self.digest);
        text.field("Environment variables", self.env.join(", "));
        text.field(
            "Working dir",
            self.working_dir.as_deref().unwrap_or_default(),
        );
        text.field("User", self.user.as_deref().unwrap_or_default());
        text.field("Entrypoint", self.entrypoint.join(" "));
        text.field("Cmd", self.cmd.join(" "));
        text.field("Exposed ports", self.exposed_ports.join(", "));
        let labels = self
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        text.field("Labels", labels.collect::<Vec<_>>().join(", "));
        if self.devices_left_out > 0 {
            text.field("Device nodes left out", self.devices_left_out.to_string());
        }
        if self.attributes_left_out > 0 {
            text.field("Attributes left out", self.attributes_left_out.to_string());
        }
    }
}

impl Environment {
    /// The detail lines, headed by what was done.
    pub fn report_as(&self, heading: &str, text: &mut Text) {
        text.field(heading, &self.name);
        text.field("Version", &self.version);
        let distribution = format!("{} {}", self.distribution, self.distribution_version);
        text.field("Distribution", distribution.trim());
        text.field("Installed", yes_no(self.installed));
        text.field("Problem", self.problem.as_deref().unwrap_or_default());
        text.field("Cache dir", &self.cache_dir);
        text.field("Default packages", self.default_packages.join(", "));
        text.field("Description", &self.description);
        text.field("Made from", self.made_from.as_deref().unwrap_or_default());
        text.field("Made at", self.created_at.as_deref().unwrap_or_default());
        if let Some(bytes) = self.disk_bytes {
            text.field("On disk", format!("{:.1} MiB", bytes as f64 / 1048576.0));
        }
        text.field("Digest", self.source_digest.as_deref().unwrap_or_default());
        if self.installed {
            text.field("Install dir", &self.install_dir);
            text.field(
                "Install manifest",
                self.install_manifest.as_deref().unwrap_or_default(),
            );
        }
        if let Some(image) = &self.image {
            image.report(text);
        }
    }
}

impl Report for Environment {
    fn report(&self, text: &mut Text) {
        self.report_as("Environment", text);
    }
}
