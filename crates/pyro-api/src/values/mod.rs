//! The kinds of value that operations take and return. A rule on one value lives in its parser,
//! so that it holds on every surface.

pub mod allow_net;
pub mod bounded;
pub mod build_args;
pub mod build_secret;
pub mod command;
pub mod content_encoding;
pub mod detach_keys;
pub mod env_vars;
pub mod environment;
pub mod exec;
mod inline_schema;
mod invalid_text;
pub mod isolation;
pub mod label;
mod memory;
mod pairs;
pub mod platform;
pub mod ports;
pub mod secret_env;
pub mod secrets;
pub mod service;
pub mod shell;
pub mod snapshot;
pub mod text_source;
pub mod tty;
pub mod user;
pub mod vm;
mod word;
pub mod workspace;
pub mod workspace_exec;

pub use allow_net::{AllowNet, AllowedTo, InvalidAllowNet, check_allow_net};
pub use bounded::{
    BenchRounds, DiskReadBytes, IdleSeconds, InvalidValue, MaxChars, MaxEntries, MemMib,
    PatchBytes, ReadBytes, ReadyIntervalMs, ReadyTimeoutSeconds, ShellCols, ShellRows,
    StandbyCount, TailLines, TimeoutSeconds, TtlSeconds, VcpuCount, WaitForIdleMs, WaitSeconds,
};
pub use build_args::BuildArgs;
pub use build_secret::{BuildSecret, BuildSecretSource};
pub use command::CommandLine;
pub(crate) use command::quoted;
pub use content_encoding::ContentEncoding;
pub use detach_keys::DetachKeys;
pub use env_vars::EnvVars;
pub use environment::{Environment, ImageFacts};
pub use exec::{ExecResult, OutputEncoding};
pub use invalid_text::InvalidText;
pub use isolation::Isolation;
pub use label::{LabelKey, Labels, WorkspaceName};
pub use memory::more_memory;
pub(crate) use memory::report_advice;
pub use platform::Platform;
pub use ports::{PortRequest, PortRequests, PublishedPort};
pub use secret_env::SecretEnv;
pub use secrets::{SecretSource, Secrets};
pub use service::{Readiness, ReadinessKind, ServiceName, ServiceRecord, ServiceState, StopReason};
pub use shell::{ShellRecord, ShellSignal, ShellState};
pub use snapshot::{BASELINE, Snapshot, SnapshotKind, SnapshotName};
pub use text_source::{FileText, PatchText};
pub use tty::TtyArgs;
pub use user::{InvalidUser, User};
pub use vm::{DeleteReason, ExecutionMode, VmDeleted, VmRecord, VmState};
pub use workspace::{
    ArtifactType, LastCommand, LeftOut, NetworkPolicy, RunningCommand, SecretPublic, SeedMode,
    WORKSPACE_PATH, WorkspaceListItem, WorkspaceRecord, WorkspaceSeed,
};
pub use workspace_exec::WorkspaceExecResult;
