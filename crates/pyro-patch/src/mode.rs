//! Modes as git writes them. Git knows only whether a file is a program; the other bits stay the
//! file's own. Modes that git would not write are pyro's, and exact.

pub(crate) const FILE: u32 = 0o100_644;
pub(crate) const PROGRAM: u32 = 0o100_755;
const KIND: u32 = 0o170_000;
const LINK: u32 = 0o120_000;
const BITS: u32 = 0o7777;

pub(crate) fn is_link(mode: u32) -> bool {
    mode & KIND == LINK
}

/// The permission bits of a new file.
pub(crate) fn of_new(mode: Option<u32>) -> u32 {
    mode.unwrap_or(FILE) & BITS
}

/// The permission bits of a file after `old mode` and `new mode`.
pub(crate) fn changed(file: u32, old: Option<u32>, new: Option<u32>) -> u32 {
    let is_gits = |mode: u32| matches!(mode, FILE | PROGRAM);
    match new {
        None => file,
        // Whoever may read it may run it.
        Some(PROGRAM) if old.is_none_or(is_gits) => file | (file & 0o444) >> 2,
        Some(FILE) if old.is_none_or(is_gits) => file & !0o111,
        Some(exact) => exact & BITS,
    }
}
