//! The agent's own memory.

/// Keeps so many bytes that are free, instead of giving them back and asking for them again, which can cost
/// more than all that is done with them. For a process that has no other thread yet.
pub(crate) fn keep(bytes: i32) {
    for what in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: sets a number of the allocator's, before there is another thread.
        unsafe { libc::mallopt(what, bytes) };
    }
}
