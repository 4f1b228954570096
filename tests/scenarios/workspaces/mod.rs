//! Workspaces: made from files, worked in, looked at, taken out, put back.
//!
//! A VM costs seconds where a process costs none, so a story is played on VMs only where the guest
//! has a part in it.

mod archives;
mod attached;
mod commands;
mod commits;
mod disks;
mod export;
mod files;
mod jobs;
mod lacks;
mod memory;
mod names;
mod patches;
mod ports;
mod push;
mod reset;
mod review;
mod secrets;
mod seeds;
mod services;
mod shells;
mod snapshots;
mod stops;
mod tried;
mod users;
