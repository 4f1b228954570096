//! Why a text is no name, label or word.

/// How many characters a name or the value of a label may have.
pub(super) const MAX_CHARS: usize = 120;

/// A text that breaks the rule of what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    #[error("a {what} must have 1 to {MAX_CHARS} characters, not {given}")]
    Length { what: &'static str, given: usize },
    #[error("a {what} must be one line")]
    Lines { what: &'static str },
    #[error(
        "a {what} must begin with a letter or digit and hold only letters, digits, `.`, `_` and \
         `-`, at most 64 of them; `{given}` does not"
    )]
    Pattern { what: &'static str, given: String },
    #[error("a label is KEY=VALUE; `{given}` has no `=`")]
    NoValue { given: String },
}
