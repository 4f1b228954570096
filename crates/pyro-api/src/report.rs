//! A result in words for a person at a terminal.

use std::borrow::Cow;

/// Lines for a person, each on the stream the contract gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// For standard output: what was asked for.
    pub out: String,
    /// For standard error: how it went.
    pub err: String,
}

impl Text {
    pub fn out(&mut self, line: impl AsRef<str>) {
        self.out.push_str(line.as_ref());
        self.out.push('\n');
    }

    pub fn err(&mut self, line: impl AsRef<str>) {
        self.err.push_str(line.as_ref());
        self.err.push('\n');
    }

    /// A `Key: value` line, left out when there is nothing to say.
    pub fn field(&mut self, key: &str, value: impl AsRef<str>) {
        let value = value.as_ref();
        if !value.is_empty() {
            self.out(format!("{key}: {value}"));
        }
    }
}

/// How a result is told, and what it means for the exit status of a command.
pub trait Report {
    fn report(&self, text: &mut Text);

    fn exit_code(&self) -> u8 {
        0
    }

    /// What a flag such as `--id-only` prints, byte for byte.
    fn only(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// `yes` or `no`.
pub fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// A name for one line of a terminal, which must not act on it.
pub fn plain(name: &str) -> Cow<'_, str> {
    if !name.chars().any(char::is_control) {
        return Cow::Borrowed(name);
    }
    let mut shown = String::with_capacity(name.len() + 8);
    for letter in name.chars() {
        match letter.is_control() {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    Cow::Owned(shown)
}
