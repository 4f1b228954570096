//! The programs of `examples/`, which the tests start.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

const BUILD: &str = "build it with `cargo build -p pyro-shim --examples`";

/// Built beside the tests themselves.
pub(crate) fn example(name: &str) -> PathBuf {
    static FRESH: OnceLock<()> = OnceLock::new();
    let tests = std::env::current_exe().unwrap();
    let folder = tests.ancestors().nth(2).unwrap().join("examples");
    // `cargo test --tests` builds the tests anew and leaves the examples as they are.
    FRESH.get_or_init(|| {
        for program in ["shim", "fake_agent"] {
            assert_fresh(&folder.join(program));
        }
    });
    folder.join(name)
}

/// Fails where a program is older than a source that it was made of, as cargo wrote them down.
fn assert_fresh(program: &Path) {
    let changed = |path: &Path| fs::metadata(path)?.modified();
    let built: SystemTime =
        changed(program).unwrap_or_else(|error| panic!("{}: {error}; {BUILD}", program.display()));
    let rules = fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let (_, sources) = rules.split_once(": ").unwrap_or_default();
    // A space in a name has a backslash before it.
    for source in sources.replace("\\ ", "\0").split_whitespace() {
        let source = source.replace('\0', " ");
        // One that is gone is cargo's to miss.
        assert!(
            changed(source.as_ref()).map_or(true, |time| time <= built),
            "{} is older than {source}: {BUILD}",
            program.display()
        );
    }
}

/// The real agent, built beside them.
pub(crate) fn agent() -> PathBuf {
    let agent = example("shim")
        .parent()
        .unwrap()
        .with_file_name("pyro-agent");
    assert!(agent.exists(), "build it with `cargo build -p pyro-agent`");
    agent
}
