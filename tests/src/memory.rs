//! The memory of a guest, and who takes all of it.

/// A program that grows until it is killed, and nothing else with it: all others are small. It takes
/// large pieces, as a guest that is emulated takes several times as long for small ones.
pub const EAT: &str = "python3 -c 'all = [b\"x\" * (8 << 20) for _ in iter(int, 1)]'";
