use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{ContentEncoding, DiskReadBytes, OutputEncoding};
use crate::{
    Cli, Effect, JsonFlag, Mcp, Names, Only, Operation, Profile, Report, Text, report::yes_no,
};

/// Read a file on the disk of a stopped workspace, without starting it
///
/// Any regular file of the guest; links are followed inside the disk only. For a running workspace
/// use `workspace_file_read`, or stop it first.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceDiskRead {
    /// Workspace id or name
    pub workspace_id: String,
    /// A path in the guest; below `/workspace` if relative
    pub path: String,
    /// How much to read, in bytes; one call reads at most 64 MiB
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub max_bytes: DiskReadBytes,
    /// Where to start, in bytes
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub offset: u64,
    /// `content` as text, or in base64 for a binary file
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    pub encoding: ContentEncoding,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DiskContent {
    pub workspace_id: String,
    /// Absolute, as requested.
    pub path: String,
    /// Of the whole file.
    pub size_bytes: u64,
    pub max_bytes: u32,
    /// As text: what is not UTF-8 is replaced.
    pub content: String,
    /// Whether there is more after what is shown.
    pub truncated: bool,
    /// Where in the file the content begins, in bytes.
    pub offset: u64,
    /// Where to continue reading.
    pub next_offset: u64,
    pub content_encoding: OutputEncoding,
    /// The bytes themselves, for the command line.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

impl Report for DiskContent {
    fn report(&self, text: &mut Text) {
        text.content(&self.content);
        text.err(format!(
            "[workspace-disk-read] workspace_id={} path={} size_bytes={} truncated={}",
            self.workspace_id,
            self.path,
            self.size_bytes,
            yes_no(self.truncated)
        ));
    }

    fn only(&self) -> Vec<u8> {
        self.bytes.clone()
    }
}

impl Operation for WorkspaceDiskRead {
    type Output = DiskContent;

    const NAMES: Names = Names {
        operation: "workspace_disk_read",
        cli: Some(Cli {
            path: &["workspace", "disk", "read"],
            json: JsonFlag::Offered,
            only: Some(Only {
                flag: "content-only",
                help: "Print the bytes of the file and nothing else",
            }),
        }),
        mcp: Some(Mcp::new(
            "workspace_disk_read",
            "Read file of a stopped disk",
            Profile::WorkspaceFull,
            Effect::Reads,
        )),
        sdk: Some("read_workspace_disk"),
    };
}
