//! Services: commands that stay when whoever started them has gone.
//!
//! ```text
//!            ready, or needs no sign of it        asked to end
//! starting ──────────────▶ ready ──────────────────▶ ending ──▶ Stopped
//!    │ │ │                   │ its process ended                  (sigterm, sigkill,
//!    │ │ │                   ▼                                     workspace_stopped)
//!    │ │ │                 Exited
//!    │ │ └ asking side gone ▶ ending ▶ Stopped
//!    │ └ out of time ▶ ending ▶ Failed (readiness_timeout)
//!    └ its process ended ▶ Failed (process_exited_before_ready)
//! ```
//!
//! A service is its first process. When that has ended, what is left of its group is ended, too. What
//! is deliberately not here: services are never started again by themselves, and nothing of them is
//! on a disk. Their logs are in this process's memory: there they are bounded whatever the disk and
//! `/run` are used for, cost a flooding service nothing but its own old lines, and never turn up in a
//! diff, an export or a snapshot of the disk.

mod connect;
mod http;
mod log;
mod pump;
mod readiness;
mod requests;
mod service;
mod supervise;
mod table;

pub(crate) use requests::{Request, serve};
pub(crate) use table::Services;
