//! Whether a test is left out: what a manifest says not to test has nothing to test.
//!
//! Cargo compiles and runs a test program, and looks for examples in the documentation, wherever nobody
//! says `test = false` and `doctest = false`. Where there are none that is time for nothing; where
//! somebody adds the first one, this says that it would not be played.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::arrows::metadata;

pub(crate) fn check() -> Result<()> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let targets = packages
        .iter()
        .flat_map(|package| package["targets"].as_array())
        .flatten();
    let (mut faults, mut silent) = (Vec::new(), 0);
    for target in targets {
        let is = |kind: &str| {
            target["kind"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one == kind))
        };
        let is_library = is("lib") || is("rlib");
        if !is_library && !is("bin") {
            continue;
        }
        let root = Path::new(
            target["src_path"]
                .as_str()
                .context("a target without source")?,
        );
        let without = |what: &str| target[what] == Value::Bool(false);
        let sources = sources(root, is_library)?;
        if without("test") {
            silent += 1;
            faults.extend(first(&sources, "test = false", holds_test)?);
        }
        // Rust looks for them in libraries alone.
        if is_library && without("doctest") {
            silent += 1;
            faults.extend(first(&sources, "doctest = false", holds_example)?);
        }
    }
    if !faults.is_empty() {
        bail!(
            "these would never be played; take the line out of the manifest:\n  {}",
            faults.join("\n  ")
        );
    }
    println!("left-out: nothing to play in {silent} places that are not looked at for tests");
    Ok(())
}

/// The files of a target. A program beside a library is its root alone: all else is the library's.
fn sources(root: &Path, is_library: bool) -> Result<Vec<PathBuf>> {
    if !is_library && root.with_file_name("lib.rs").exists() {
        return Ok(vec![root.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![root.parent().context("a source in no folder")?.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The first file that holds one, told beside the line that hides it.
fn first(sources: &[PathBuf], line: &str, holds: fn(&str) -> bool) -> Result<Option<String>> {
    for path in sources {
        if holds(&fs::read_to_string(path)?) {
            return Ok(Some(format!(
                "`{line}` hides what {} holds",
                path.display()
            )));
        }
    }
    Ok(None)
}

fn holds_test(source: &str) -> bool {
    source.lines().map(str::trim).any(|line| {
        line.starts_with("#[") && line.contains("test]") || line.starts_with("proptest!")
    })
}

/// Whether the documentation has a block that rustdoc would run: one of no language, or of Rust.
fn holds_example(source: &str) -> bool {
    let mut is_inside = false;
    let comments = source.lines().map(str::trim).filter_map(|line| {
        let text = line
            .strip_prefix("///")
            .or_else(|| line.strip_prefix("//!"));
        text.map(str::trim)
    });
    for line in comments {
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        is_inside = !is_inside;
        let of_rust = [
            "",
            "rust",
            "no_run",
            "ignore",
            "should_panic",
            "compile_fail",
        ];
        let language = language.split(',').next().unwrap_or_default().trim();
        if is_inside && (of_rust.contains(&language) || language.starts_with("edition")) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found() {
        assert!(holds_test("mod tests {\n    #[test]\n    fn a() {}"));
        assert!(holds_test("    #[tokio::test]"));
        assert!(!holds_test("// A #[test] in words.\nfn test() {}"));
    }

    #[test]
    fn examples_are_found() {
        assert!(holds_example(
            "//! Words.\n//!\n//! ```\n//! one();\n//! ```"
        ));
        assert!(holds_example(
            "    /// ```no_run\n    /// one();\n    /// ```"
        ));
        assert!(holds_example(
            "/// ```text\n/// words\n/// ```\n/// ```rust,ignore\n/// ```"
        ));
        assert!(!holds_example(
            "//! ```text\n//! a ▶ b\n//! ```\nlet fence = \"```\";"
        ));
    }
}
