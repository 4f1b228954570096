//! The kinds of value that operations take and return. A rule on one value lives in its parser,
//! so that it holds on every surface.

pub mod bounded;
pub mod command;
pub mod environment;
pub mod exec;
pub mod platform;
pub mod vm;

pub use bounded::{
    BenchRounds, InvalidValue, MemMib, StandbyCount, TimeoutSeconds, TtlSeconds, VcpuCount,
};
pub use command::CommandLine;
pub use environment::Environment;
pub use exec::{ExecResult, OutputEncoding};
pub use platform::Platform;
pub use vm::{DeleteReason, ExecutionMode, VmDeleted, VmRecord, VmState};
