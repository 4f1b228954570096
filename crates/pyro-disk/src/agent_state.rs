//! What on a disk is no part of what a person put there.

/// Where the agent of a guest keeps what it has noted about that guest, see `pyro-agent`. Nothing that is made of
/// a disk has it.
pub const AGENT_STATE: &[u8] = b"var/lib/pyro";
