//! Jobs of a workspace: commands that go on without whoever started them.
//!
//! The shim of the workspace's VM is their caller (`pyro_wire::jobs`): it runs them as every command
//! is run, and writes what they print to files of the workspace's folder. What happens to a job when
//! something else happens:
//!
//! | to the VM | job |
//! |---|---|
//! | nobody uses it | a job that runs is use |
//! | `stop`, or its supervisor is told to end | is ended: asked, then killed after 5 s |
//! | `reset`, a crash, its supervisor is killed, the host is booted | is ended with it |
//!
//! In each case it stays in the history with what it wrote until then, and why it ended. Its end is
//! written down by whoever looks next.

pub(crate) mod ends;
pub(crate) mod files;
pub(crate) mod follow;
pub(crate) mod start;
pub(crate) mod stop;
