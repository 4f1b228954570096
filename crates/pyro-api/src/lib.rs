//! The contract: every operation of pyro declared once, in words and without any I/O.
//!
//! One operation is one struct in [`operations`]: its fields are the command line's flags, the
//! MCP tool's arguments and the SDK's parameters, and their doc comments are the help on all
//! three. The surfaces (command line, MCP, Python) walk the list below and name no operation. The
//! engine carries each out in a file of the same name; a handler that is missing does not compile.
//!
//! **To add an operation:** a file in `operations/`, a line in the list below, a handler in
//! `pyro-engine`, a scenario in `tests/`. Nothing else.

pub mod arguments;
pub mod caller;
pub mod error;
pub mod operation;
pub mod operations;
pub mod report;
pub mod schema;
pub mod values;

use schema::Schema;
use serde_json::{Map, Value};

pub use caller::{
    Caller, Disconnected, Event, EventSink, Folders, Interruption, Networks, PersonTerminal,
    Stream, TakenTerminal, TerminalEvent,
};
pub use error::{Error, ErrorCode};
pub use operation::{Cli, Effect, Handle, JsonFlag, Listed, Mcp, Names, Only, Operation, Profile};
pub use report::{Report, Text};

/// The version of the public contract that this crate follows.
pub const CONTRACT_VERSION: &str = "4.0.0";

macro_rules! operations {
    ($($module:ident :: $operation:ident),* $(,)?) => {
        /// Everything that can be asked of pyro. An engine that lacks a handler is not one.
        pub trait HandleAll: $(Handle<operations::$module::$operation> +)* Send + Sync + 'static {}

        impl<T> HandleAll for T
        where
            T: $(Handle<operations::$module::$operation> +)* Send + Sync + 'static {}

        $(impl Listed for operations::$module::$operation {
            fn read(arguments: Map<String, Value>) -> Result<Self, Error> {
                arguments::read(arguments)
            }

            fn write(output: &Self::Output) -> Result<Value, Error> {
                serde_json::to_value(output).map_err(Error::not_json)
            }

            fn input_schema() -> Schema {
                schema::of_input::<Self>()
            }

            fn output_schema() -> Schema {
                schema::of_output::<Self::Output>()
            }
        })*

        /// Shows every operation to a surface, in the order of the list.
        pub fn visit<E: HandleAll>(visitor: &mut impl Visit<E>) {
            $(visitor.operation::<operations::$module::$operation>();)*
        }
    };
}

operations! {
    vm_run::VmRun,
    vm_list_environments::VmListEnvironments,
    env_pull::EnvPull,
    env_inspect::EnvInspect,
    env_create::EnvCreate,
    env_delete::EnvDelete,
    env_export::EnvExport,
    env_import::EnvImport,
    env_prune::EnvPrune,
    env_build::EnvBuild,
    vm_create::VmCreate,
    vm_start::VmStart,
    vm_exec::VmExec,
    vm_stop::VmStop,
    vm_delete::VmDelete,
    vm_status::VmStatus,
    vm_network_info::VmNetworkInfo,
    vm_reap_expired::VmReapExpired,
    workspace_create::WorkspaceCreate,
    workspace_list::WorkspaceList,
    workspace_update::WorkspaceUpdate,
    workspace_exec::WorkspaceExec,
    workspace_sync_push::WorkspaceSyncPush,
    workspace_status::WorkspaceStatus,
    workspace_stop::WorkspaceStop,
    workspace_start::WorkspaceStart,
    workspace_logs::WorkspaceLogs,
    workspace_export::WorkspaceExport,
    workspace_diff::WorkspaceDiff,
    workspace_file_list::WorkspaceFileList,
    workspace_file_read::WorkspaceFileRead,
    workspace_file_write::WorkspaceFileWrite,
    workspace_patch_apply::WorkspacePatchApply,
    workspace_disk_export::WorkspaceDiskExport,
    workspace_disk_list::WorkspaceDiskList,
    workspace_disk_read::WorkspaceDiskRead,
    snapshot_create::SnapshotCreate,
    snapshot_list::SnapshotList,
    snapshot_delete::SnapshotDelete,
    workspace_reset::WorkspaceReset,
    shell_open::ShellOpen,
    shell_read::ShellRead,
    shell_write::ShellWrite,
    shell_signal::ShellSignalSend,
    shell_close::ShellClose,
    shell_attach::ShellAttach,
    service_start::ServiceStart,
    service_list::ServiceList,
    service_status::ServiceStatus,
    service_logs::ServiceLogs,
    service_stop::ServiceStop,
    workspace_delete::WorkspaceDelete,
    doctor::Doctor,
    demo::Demo,
    try_out::TryOut,
    bench::Bench,
}

/// A surface that looks at every operation, on behalf of an engine `E` that can carry it out.
pub trait Visit<E> {
    fn operation<O: Listed>(&mut self)
    where
        E: Handle<O>;
}
