//! Services of a workspace: commands in its guest that go on running.
//!
//! The agent runs them and knows how they are; the record says what they were asked to be, and is
//! brought up to date whenever somebody looks. What happens to services when something else happens:
//!
//! | to the VM | services |
//! |---|---|
//! | `stop`, or its supervisor is told to end | are ended (asked, then killed after 5 s) and stay as `stopped`, with their logs |
//! | nobody uses it | a service that runs is use; when none runs any more, the time begins |
//! | it is started again | none runs; the records stay |
//! | `reset` | are killed; records and logs go |
//! | it crashes, its supervisor is killed | stay as `stopped`; what they wrote since somebody looked is lost |
//!
//! A log is in the agent's memory while its service runs. When the end is noticed it is copied into
//! `services/` of the workspace's folder; when the VM is stopped its shim leaves the logs in its own
//! folder, from where they are moved.

pub(crate) mod agent;
pub(crate) mod ended;
pub(crate) mod log_files;
pub(crate) mod log_lines;
pub(crate) mod logs;
pub(crate) mod ports;
pub(crate) mod readiness;
pub(crate) mod reconcile;
pub(crate) mod start;
pub(crate) mod stop;
