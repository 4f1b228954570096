//! Puts a report where docs/benchmarks.md keeps the last one.

use std::path::Path;

use anyhow::{Context, Result};

const BEGIN: &str = "<!-- printed by `make bench`: begin -->\n";
const END: &str = "<!-- printed by `make bench`: end -->\n";

pub(crate) fn write(report: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
    let old = std::fs::read_to_string(&path)?;
    let new = replaced(&old, report)
        .with_context(|| format!("{} lacks the marks {BEGIN:?} and {END:?}", path.display()))?;
    std::fs::write(&path, new)?;
    Ok(())
}

fn replaced(document: &str, report: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{report}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let document = format!("# Title\n{BEGIN}old\n{END}The end.\n");
        let once = replaced(&document, "new\n").expect("marks");
        assert_eq!(once, format!("# Title\n{BEGIN}\nnew\n\n{END}The end.\n"));
        assert_eq!(replaced(&once, "new\n"), Some(once.clone()));
        assert_eq!(replaced("no marks", "new\n"), None);
    }
}
