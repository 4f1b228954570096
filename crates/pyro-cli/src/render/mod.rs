//! Results and errors as text or JSON.

mod json;

use std::io::{self, Write};

use pyro_api::{Error, Text};
use serde_json::{Value, json};

/// Prints a result for people. A reader that has gone is not an error.
pub(crate) fn text(text: &Text) {
    let _ = io::stdout().lock().write_all(text.out.as_bytes());
    let _ = io::stderr().lock().write_all(text.err.as_bytes());
}

/// Prints one JSON document.
pub(crate) fn document(value: Value) {
    let mut line = json::canonical(value);
    line.push('\n');
    let _ = io::stdout().lock().write_all(line.as_bytes());
}

/// Prints an error: what failed, why, and how to fix it.
pub(crate) fn error(error: &Error, as_json: bool) {
    if as_json {
        let mut value =
            serde_json::to_value(error).unwrap_or_else(|_| json!({ "error": error.error.clone() }));
        value["ok"] = Value::Bool(false);
        document(value);
        return;
    }
    let mut lines = format!("[error] {}\n", error.error);
    for cause in &error.causes {
        lines.push_str(&format!("  cause: {}\n", cause.replace('\n', "\n    ")));
    }
    if let Some(hint) = &error.hint {
        lines.push_str(&format!("hint: {hint}\n"));
    }
    let _ = io::stderr().lock().write_all(lines.as_bytes());
}
