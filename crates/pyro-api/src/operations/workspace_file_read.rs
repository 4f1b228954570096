use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{ContentEncoding, ExecutionMode, OutputEncoding, ReadBytes};
use crate::{
    Cli, Effect, Error, JsonFlag, Mcp, Names, Only, Operation, Profile, Report, Text,
    report::yes_no,
};

/// Read a file of a workspace
///
/// Read long files in pieces: by bytes with `offset` and `max_bytes`, or by lines with
/// `start_line` and `line_count`. Binary files are not shown as text; `encoding` shows them in
/// base64.
#[derive(Clone, Debug, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceFileRead {
    /// Workspace id or name
    pub workspace_id: String,
    /// A path below `/workspace`
    pub path: String,
    /// How much to read, in bytes, 1 to 1048576
    #[arg(long, default_value_t, allow_negative_numbers = true)]
    #[serde(default)]
    pub max_bytes: ReadBytes,
    /// Where to start, in bytes
    #[arg(long, default_value_t)]
    #[serde(default)]
    pub offset: u64,
    /// The first line to read, counted from 1; instead of `offset`
    #[arg(long, conflicts_with = "offset")]
    #[serde(default)]
    pub start_line: Option<u64>,
    /// How many lines to read
    #[arg(long)]
    #[serde(default)]
    pub line_count: Option<u64>,
    /// `content` as text, or in base64 for a binary file
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    pub encoding: ContentEncoding,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct FileContent {
    pub workspace_id: String,
    pub path: String,
    /// Of the whole file.
    pub size_bytes: u64,
    pub max_bytes: u32,
    /// As text: empty when the file is binary; else what is not UTF-8 is replaced.
    pub content: String,
    /// Whether there is more after what is shown.
    pub truncated: bool,
    pub execution_mode: ExecutionMode,
    /// Where in the file the content begins, in bytes.
    pub offset: u64,
    /// Where to continue reading.
    pub next_offset: u64,
    /// The number of the first line shown, where lines were asked for.
    pub start_line: Option<u64>,
    /// Whether there are NUL bytes in what was read; in base64, whether it is anything but UTF-8.
    pub binary: bool,
    pub content_encoding: OutputEncoding,
    /// Permission bits in octal.
    pub mode: String,
    /// Whether this call had to start the VM first.
    pub workspace_started: bool,
    /// The bytes themselves, for the command line.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

impl Report for FileContent {
    fn report(&self, text: &mut Text) {
        if self.binary && self.content_encoding != OutputEncoding::Base64 {
            text.err(format!(
                "[workspace-file-read] {} is binary; `--content-only` writes its bytes",
                self.path
            ));
        } else {
            text.content(&self.content);
        }
        text.err(format!(
            "[workspace-file-read] workspace_id={} path={} size_bytes={} truncated={}",
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

impl Operation for WorkspaceFileRead {
    type Output = FileContent;

    const NAMES: Names = Names {
        operation: "workspace_file_read",
        cli: Some(Cli {
            path: &["workspace", "file", "read"],
            json: JsonFlag::Offered,
            only: Some(Only {
                flag: "content-only",
                help: "Print the bytes of the file and nothing else",
            }),
        }),
        mcp: Some(Mcp::new(
            "workspace_file_read",
            "Read file",
            Profile::WorkspaceCore,
            Effect::Reads,
        )),
        sdk: Some("read_workspace_file"),
    };

    fn check(&self) -> Result<(), Error> {
        if self.start_line.is_some() && self.offset > 0 {
            return Err(
                Error::invalid("`offset` and `start_line` cannot be combined")
                    .hint("Leave out one of the two"),
            );
        }
        if self.start_line == Some(0) || self.line_count == Some(0) {
            return Err(Error::invalid(
                "`start_line` and `line_count` must be at least 1",
            ));
        }
        Ok(())
    }
}
