//! One handler per operation, in a file of the operation's name.

mod bench;
mod demo;
mod doctor;
mod env_build;
mod env_create;
mod env_delete;
mod env_export;
mod env_import;
mod env_inspect;
mod env_prune;
mod env_pull;
mod service_list;
mod service_logs;
mod service_start;
mod service_status;
mod service_stop;
mod shell_attach;
mod shell_close;
mod shell_open;
mod shell_read;
mod shell_signal;
mod shell_write;
mod snapshot_create;
mod snapshot_delete;
mod snapshot_list;
mod try_out;
mod vm_create;
mod vm_delete;
mod vm_exec;
mod vm_list_environments;
mod vm_network_info;
mod vm_reap_expired;
mod vm_run;
mod vm_start;
mod vm_status;
mod vm_stop;

/// The contract is complete: an operation of the list without a handler stops the build here.
const _: fn() = || {
    fn complete<E: pyro_api::HandleAll>() {}
    complete::<crate::Engine>();
};
mod workspace_create;
mod workspace_delete;
mod workspace_diff;
mod workspace_disk_export;
mod workspace_disk_list;
mod workspace_disk_read;
mod workspace_exec;
mod workspace_export;
mod workspace_file_list;
mod workspace_file_read;
mod workspace_file_write;
mod workspace_list;
mod workspace_logs;
mod workspace_patch_apply;
mod workspace_reset;
mod workspace_start;
mod workspace_status;
mod workspace_stop;
mod workspace_sync_push;
mod workspace_update;
