//! Results and errors as a client gets them.
//!
//! Everything that is known is in the structured content: two hosts show their model nothing
//! else. The text beside it is what the command line would have printed: for people, and for
//! hosts that show the text only. Clients of the revisions before structured content get the
//! facts as JSON in the text.

use pyro_api::{Error, Text};
use rmcp::model::{CallToolResult, ContentBlock, ProtocolVersion};
use serde_json::{Value, json};

/// How much text an answer has at most; what it would tell beyond that is in the facts.
const MAX_TEXT: usize = 64 * 1024;

/// What an operation answered.
pub(crate) struct Answer {
    pub(crate) facts: Value,
    pub(crate) text: Text,
}

/// Which form of answers a client understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Structured,
    TextOnly,
}

impl Form {
    pub(crate) fn of(version: Option<&ProtocolVersion>) -> Self {
        // Versions are dates.
        match version {
            Some(version) if version.as_str() < ProtocolVersion::V_2025_06_18.as_str() => {
                Self::TextOnly
            }
            _ => Self::Structured,
        }
    }
}

impl Answer {
    /// `shown` is what the command had printed, as a terminal would have shown it.
    pub(crate) fn into_result(self, shown: &str, form: Form) -> CallToolResult {
        if form == Form::TextOnly {
            let facts = format!("{:#}", self.facts);
            return CallToolResult::success(vec![ContentBlock::text(facts)]);
        }
        let [out, err] = [&self.text.out, &self.text.err].map(|told| String::from_utf8_lossy(told));
        let text = format!("{shown}{out}{err}");
        let mut result = CallToolResult::success(vec![ContentBlock::text(bounded(&text))]);
        result.structured_content = Some(self.facts);
        result
    }
}

pub(crate) fn refused(error: &Error, form: Form) -> CallToolResult {
    let mut result = CallToolResult::error(vec![ContentBlock::text(error.in_words())]);
    if form == Form::Structured {
        result.structured_content = Some(facts(error));
    }
    result
}

/// The document that the command line prints with `--json`.
fn facts(error: &Error) -> Value {
    let mut facts =
        serde_json::to_value(error).unwrap_or_else(|_| json!({ "error": error.error.clone() }));
    facts["ok"] = Value::Bool(false);
    facts
}

/// The beginning and the end of a text that is too long.
fn bounded(text: &str) -> String {
    let text = text.trim_end();
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let head = floor(text, MAX_TEXT / 2);
    let tail = floor(text, text.len() - MAX_TEXT / 2);
    format!(
        "{}\n[… {} bytes left out; they are in the structured content …]\n{}",
        &text[..head],
        tail - head,
        &text[tail..]
    )
}

/// The nearest border between characters before a place.
fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_its_ends() {
        assert_eq!(bounded("short\n"), "short");
        let long = format!("begin{}end", "é".repeat(MAX_TEXT));
        let bounded = bounded(&long);
        assert!(bounded.starts_with("beginé") && bounded.ends_with("éend"));
        assert!(bounded.len() < MAX_TEXT + 100);
        let left_out = long.len() - bounded.len();
        assert!(left_out > MAX_TEXT / 2, "{left_out}");
    }
}
