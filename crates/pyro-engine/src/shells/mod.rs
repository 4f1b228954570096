//! Interactive shells of workspaces, as this host sees them.
//!
//! A shell lives in the guest's agent, which keeps its output as it is. Nothing about shells is
//! stored here: a VM that ends takes its shells with it, and so no record can say otherwise.

pub(crate) mod attach;
mod errors;
pub(crate) mod keys;
mod open;
pub(crate) mod record;
pub(crate) mod requests;
