//! The programs of `examples/`, which the tests start.

use std::path::PathBuf;

/// Built beside the tests themselves.
pub(crate) fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples")
        .join(name);
    assert!(
        path.exists(),
        "build it with `cargo build -p pyro-shim --examples`"
    );
    path
}
