//! Results and errors as text or JSON.

mod json;
mod visible;

use std::io::{self, IsTerminal, Write};

use pyro_api::{Error, Text};
use serde_json::{Value, json};

use visible::visible;

/// Prints a result for people.
pub(crate) fn text(text: &Text) -> io::Result<()> {
    content(&text.out)?;
    content(&text.bytes)?;
    let err = &text.err;
    let mut stderr = io::stderr().lock();
    // Nobody has to read how it went.
    let _ = match stderr.is_terminal() {
        true => stderr.write_all(&visible(err)),
        false => stderr.write_all(err),
    };
    Ok(())
}

/// Prints what a guest may have written: the very bytes, except on a terminal, on which they must
/// not act.
pub(crate) fn content(content: &[u8]) -> io::Result<()> {
    match io::stdout().is_terminal() {
        true => bytes(&visible(content)),
        false => bytes(content),
    }
}

/// Prints one JSON document.
pub(crate) fn document(value: Value) -> io::Result<()> {
    let mut line = json::canonical(value);
    line.push('\n');
    bytes(line.as_bytes())
}

/// Writes to standard output. A reader that has gone is not an error, a full disk is one.
pub(crate) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Prints an error: what failed, why, and how to fix it.
pub(crate) fn error(error: &Error, as_json: bool) {
    if as_json {
        let mut value =
            serde_json::to_value(error).unwrap_or_else(|_| json!({ "error": error.error.clone() }));
        value["ok"] = Value::Bool(false);
        if document(value).is_ok() {
            return;
        }
        // Nobody will find it there; better in the wrong form than not at all.
    }
    let lines = format!("[error] {}", error.in_words());
    let _ = io::stderr().lock().write_all(lines.as_bytes());
}
