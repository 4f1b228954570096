//! One file per operation: its arguments, its names, its result and its words.

pub mod bench;
pub mod demo;
pub mod doctor;
pub mod env_inspect;
pub mod env_prune;
pub mod env_pull;
pub mod vm_create;
pub mod vm_delete;
pub mod vm_exec;
pub mod vm_list_environments;
pub mod vm_network_info;
pub mod vm_reap_expired;
pub mod vm_run;
pub mod vm_start;
pub mod vm_status;
pub mod vm_stop;
