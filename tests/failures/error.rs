//! What pyro says when it fails.

use pyro_tests::Ran;
use serde_json::Value;

/// The error that a `--json` command printed; it must have failed as pyro fails.
#[track_caller]
pub(crate) fn document(ran: &Ran) -> Value {
    assert_eq!(ran.code(), 1, "{}{}", ran.out(), ran.err());
    let document = ran.json();
    assert_eq!(document["ok"], false, "{document}");
    document
}

/// A failure with this code.
#[track_caller]
pub(crate) fn has_code(ran: &Ran, code: &str) {
    let document = document(ran);
    assert_eq!(document["code"], code, "{document:#}");
}

/// A failure for people, which says all of this somewhere.
#[track_caller]
pub(crate) fn tells(ran: &Ran, words: &[&str]) {
    let said = ran.err();
    assert_eq!(ran.code(), 1, "{said}");
    assert!(said.contains("[error] "), "{said}");
    for word in words {
        assert!(said.contains(word), "no `{word}` in:\n{said}");
    }
}

/// A command that went well, and what it wrote.
#[track_caller]
pub(crate) fn none(ran: &Ran) -> String {
    assert_eq!(ran.code(), 0, "{}{}", ran.out(), ran.err());
    ran.out()
}
