//! Patches that end before they are whole, and parts of them that are somewhere else.

use super::{file, planned, refusal, tree};
use crate::{Leniency, Note};

const GIT: &str = "diff --git a/x b/x\nindex 0123456..789abcd 100644\n--- a/x\n+++ b/x\n";
const OLD: &str = "l1\nl2\nl3\nl4\nl5\nl6\n";

fn notes(files: &[(&str, &str)], patch: &str) -> Vec<Note> {
    let plan = planned(&tree(files), patch.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    plan.notes
}

fn leniencies(patch: &str) -> Vec<Leniency> {
    let of_hunks = notes(&[("x", OLD)], patch).into_iter();
    of_hunks
        .map(|note| match note {
            Note::Hunk { leniency, .. } => leniency,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn what_git_wrote_and_is_cut_is_refused() {
    for body in [
        "@@ -1,6 +1,6 @@\n-l1\n+L1\n l2\n",
        "@@ -2,5 +2,5 @@\n l2\n-l3\n",
    ] {
        let told = refusal(&[("x", OLD)], &format!("{GIT}{body}"));
        assert!(told.contains("may be cut"), "{told}");
    }
    let new = "diff --git a/n b/n\nnew file mode 100644\nindex 0000000..789abcd\n--- /dev/null\n+++ b/n\n\
               @@ -0,0 +1,3 @@\n+one\n+two\n";
    let told = refusal(&[], new);
    assert!(told.contains("may be cut"), "{told}");
}

#[test]
fn context_that_was_trimmed_at_the_end_is_no_cut() {
    let body = "@@ -1,3 +1,3 @@\n-l1\n+L1\n l2\n";
    assert_eq!(leniencies(&format!("{GIT}{body}")), [Leniency::Short(1)]);
}

#[test]
fn wrong_numbers_at_the_end_are_noted() {
    let body = "--- a/x\n+++ b/x\n@@ -1,5 +1,5 @@\n-l1\n+L1\n l2\n";
    assert_eq!(leniencies(body), [Leniency::Short(3)]);
    // In the middle more of the patch follows, so that nothing was cut.
    let more = "--- a/x\n+++ b/x\n@@ -1,5 +1,5 @@\n-l1\n+L1\n l2\n@@ -5,2 +5,2 @@\n l5\n-l6\n+L6\n";
    assert_eq!(leniencies(more), []);
}

#[test]
fn what_is_on_one_side_only_is_noted() {
    let patch = "Only in new/api: helper.py\ndiff -ru old/x new/x\n--- old/x\n+++ new/x\n\
                 @@ -1,2 +1,2 @@\n-l1\n+L1\n l2\nOnly in old: gone\n";
    let names = ["new/api: helper.py", "old: gone"]
        .map(str::to_owned)
        .into();
    assert_eq!(notes(&[("x", OLD)], patch), [Note::OneSided { names }]);
}

#[test]
fn a_hunk_that_is_not_at_the_end_as_it_said_is_noted() {
    let patch =
        "*** Begin Patch\n*** Update File: x\n@@\n l1\n+LAST\n*** End of File\n*** End Patch\n";
    assert_eq!(leniencies(patch), [Leniency::NotAtEnd]);
    let at_end = patch.replace(" l1", " l6");
    assert_eq!(leniencies(&at_end), []);
    let plan = planned(&tree(&[("x", OLD)]), at_end.as_bytes()).unwrap();
    assert_eq!(plan.changes[0].after, file(format!("{OLD}LAST\n")));
}
