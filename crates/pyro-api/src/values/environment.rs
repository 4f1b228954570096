//! An environment: a root file system that VMs start from.

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
    /// SHA-256 of the installed root image, in hex; absent when it is not installed.
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
}

impl Environment {
    /// The detail lines, headed by what was done.
    pub fn report_as(&self, heading: &str, text: &mut Text) {
        text.field(heading, &self.name);
        text.field("Version", &self.version);
        text.field(
            "Distribution",
            format!("{} {}", self.distribution, self.distribution_version),
        );
        text.field("Installed", yes_no(self.installed));
        text.field("Problem", self.problem.as_deref().unwrap_or_default());
        text.field("Cache dir", &self.cache_dir);
        text.field("Default packages", self.default_packages.join(", "));
        text.field("Description", &self.description);
        if self.installed {
            text.field("Install dir", &self.install_dir);
            text.field(
                "Install manifest",
                self.install_manifest.as_deref().unwrap_or_default(),
            );
        }
    }
}

impl Report for Environment {
    fn report(&self, text: &mut Text) {
        self.report_as("Environment", text);
    }
}
