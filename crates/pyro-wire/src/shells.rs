//! Requests about interactive shells. A shell is a terminal of the guest with a program in it; it
//! lives in the agent until it is closed, and no stream belongs to it.
//!
//! ```text
//! Open, Write, Signal, Resize, Close  ▶ ShellReply::Shell
//! Read                                ▶ ShellReply::Output
//! Attach ▶ ShellReply::Output (what was kept), then Output frames and at last AttachEvent one way,
//!          Input frames and AttachControl messages the other
//! ```
//!
//! Each may be answered by [`ShellReply::Failed`] instead.
//!
//! Output is text: what is not UTF-8 was replaced. It is counted in characters from the shell's
//! first one on, and that number never changes, whatever has been forgotten meanwhile.

use serde::{Deserialize, Serialize};

use crate::Bytes;
use crate::fault::Fault;

/// The largest size of a terminal, in columns or rows.
pub const MAX_TERMINAL_SIDE: u16 = 500;

/// How much output of one shell is kept, in bytes. With many shells it is less.
pub const SCROLLBACK_BYTES: usize = 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShellRequest {
    Open(ShellOpen),
    Read(ShellRead),
    Write {
        /// The shell's id, or the beginning of it; so everywhere below.
        id: String,
        input: Bytes,
    },
    Signal {
        id: String,
        number: i32,
    },
    Resize {
        id: String,
        size: Size,
    },
    /// Ends what runs in it and forgets it.
    Close {
        id: String,
    },
    Attach {
        id: String,
        size: Size,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShellOpen {
    /// Twelve lower-case hex digits that no other shell has.
    pub id: String,
    /// The folder to begin in; the agent's default (`/workspace`) when absent.
    #[serde(default)]
    pub cwd: Option<Bytes>,
    /// As for [`Exec`](crate::exec::Exec).
    #[serde(default)]
    pub user: Option<Bytes>,
    pub size: Size,
    /// A person sits at it from the start. For all others a tab is a tab and `!` is a letter.
    #[serde(default)]
    pub for_person: bool,
    /// Variables beyond the agent's own.
    #[serde(default)]
    pub env: Vec<(Bytes, Bytes)>,
    /// Secrets of the guest, each with the variable that shows it in the shell.
    #[serde(default)]
    pub secret_env: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub cols: u16,
    pub rows: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShellRead {
    pub id: String,
    /// The first character that is wanted.
    pub cursor: u64,
    pub max_chars: u64,
    /// Also send this many characters before the cursor.
    #[serde(default)]
    pub before_chars: u64,
    /// Answer when nothing was written for so long, when there are `max_chars`, or when the shell
    /// has ended. At once when absent.
    #[serde(default)]
    pub idle_ms: Option<u64>,
    /// Answer after this long in any case.
    #[serde(default)]
    pub at_most_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShellReply {
    Shell(Shell),
    Output(ShellOutput),
    Failed(Fault),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shell {
    pub id: String,
    pub cwd: Bytes,
    pub size: Size,
    /// Milliseconds since 1970, by the guest's clock.
    pub started_ms: u64,
    /// Whether the guest's kernel killed a process in it because memory ran out.
    #[serde(default)]
    pub oom_killed: bool,
    /// How its first program ended, when it has.
    #[serde(default)]
    pub end: Option<ShellEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShellEnd {
    /// The exit status; 128 + N after signal N.
    pub exit_code: i32,
    #[serde(default)]
    pub signal: Option<i32>,
    /// Milliseconds since 1970, by the guest's clock.
    pub at_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShellOutput {
    pub shell: Shell,
    /// Where `text` begins: behind what was asked for when that was forgotten, before it when
    /// there is not that much yet.
    pub cursor: u64,
    /// What comes just before it, as far as it was asked for and kept.
    pub before: String,
    pub text: String,
    /// Whether there is more behind `text`.
    pub more: bool,
}

/// What an attached terminal says beside what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachControl {
    Resize(Size),
}

/// What an attached terminal hears beside the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachEvent {
    /// So many characters were forgotten before they could be sent.
    Lost(u64),
    /// The last message: the shell has ended, or was closed.
    Ended(Option<ShellEnd>),
}
