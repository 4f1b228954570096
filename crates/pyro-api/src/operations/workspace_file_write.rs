use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{ContentEncoding, ExecutionMode, FileText, User};
use crate::{Cli, Effect, JsonFlag, Mcp, Names, Operation, Profile, Report, Text};

/// Write a whole file in a workspace
///
/// Creates missing folders. An existing file keeps its permissions, owner and hard links. To change
/// part of a file use `workspace_patch_apply`.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceFileWrite {
    /// Workspace id or name
    pub workspace_id: String,
    /// A path below `/workspace`; a link is followed if it stays inside
    pub path: String,
    /// The new content, at most 1048576 bytes
    #[command(flatten)]
    pub text: FileText,
    /// Whether `text` is the content itself, or base64 for a binary file
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    pub encoding: ContentEncoding,
    /// Whose a new file is: NAME or UID, or either with `:GROUP`; the image's user's or root's if not given
    #[arg(long, value_name = "USER")]
    #[serde(default)]
    pub user: Option<User>,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct FileWritten {
    pub workspace_id: String,
    pub path: String,
    pub size_bytes: u64,
    pub bytes_written: u64,
    pub execution_mode: ExecutionMode,
    /// Whether there was no such file before.
    pub created: bool,
    /// Whether this call had to start the VM first.
    pub workspace_started: bool,
}

impl Report for FileWritten {
    fn report(&self, text: &mut Text) {
        text.out(format!(
            "[workspace-file-write] workspace_id={} path={} bytes_written={} execution_mode={}",
            self.workspace_id, self.path, self.bytes_written, self.execution_mode
        ));
    }
}

impl Operation for WorkspaceFileWrite {
    type Output = FileWritten;

    const NAMES: Names = Names {
        operation: "workspace_file_write",
        cli: Some(Cli {
            path: &["workspace", "file", "write"],
            json: JsonFlag::Offered,
            only: None,
        }),
        mcp: Some(
            Mcp::new(
                "workspace_file_write",
                "Write file",
                Profile::WorkspaceCore,
                Effect::Changes,
            )
            .only_full(&["user"]),
        ),
        sdk: Some("write_workspace_file"),
    };
}
