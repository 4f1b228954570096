//! The binary itself, as it is built for people.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::process::Command;

const PYRO: &str = env!("CARGO_BIN_EXE_pyro");

#[test]
fn it_tells_its_version() {
    let told = Command::new(PYRO).arg("--version").output().unwrap();
    assert!(told.status.success(), "{told:?}");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        String::from_utf8(told.stdout).unwrap(),
        format!("pyro {version}\n")
    );
}

/// One file that runs on any distribution names no loader for libraries (`PT_INTERP`).
#[test]
fn it_needs_no_library() {
    let elf = std::fs::read(PYRO).unwrap();
    let number = |at: usize, bytes: usize| {
        let field = elf[at..at + bytes].iter().rev();
        field.fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    assert_eq!(elf[..6], *b"\x7fELF\x02\x01", "64 bits, little-endian");
    let (headers, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    assert!(count > 0);
    let kinds: Vec<usize> = (0..count)
        .map(|at| number(headers + at * size, 4))
        .collect();
    assert!(!kinds.contains(&3), "{kinds:?}");
}
