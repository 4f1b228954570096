//! Programs that a test makes.
//!
//! They are written by other processes. What this one has open to write to, a child has as well that
//! another test starts at this moment, until it is its own program; and for so long nobody can execute
//! the file: "text file busy".

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::world::{finish, finish_with_input};

/// A copy of a program.
pub fn copy(from: &Path, to: &Path) {
    let ran = finish(Command::new("cp").arg(from).arg(to));
    assert_eq!(ran.code(), 0, "{}", ran.err());
}

/// A program that is to become another one: what that is, with its words, variables and folder, after the
/// words that are there.
pub fn around(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    if let Some(folder) = inner.get_current_dir() {
        outer.current_dir(folder);
    }
    outer
}

/// A program of a few lines for the shell.
pub fn script(path: &Path, lines: &str) {
    let _ = fs::remove_file(path);
    let mut write = Command::new("sh");
    write
        .args(["-ec", "cat > \"$0\"; chmod 755 \"$0\""])
        .arg(path);
    let ran = finish_with_input(&mut write, format!("#!/bin/sh\n{lines}\n").into());
    assert_eq!(ran.code(), 0, "{}", ran.err());
}
