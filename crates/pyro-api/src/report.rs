//! A result in words for a person at a terminal.

use std::borrow::Cow;

/// Lines for a person, each on the stream the contract gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// For standard output: what was asked for.
    pub out: Vec<u8>,
    /// For standard output of the command line alone, behind that: bytes that are not touched.
    pub bytes: Vec<u8>,
    /// For standard error: how it went.
    pub err: Vec<u8>,
}

impl Text {
    /// A line, in which nothing acts on the terminal, whoever chose its words.
    pub fn out(&mut self, line: impl AsRef<str>) {
        push_line(&mut self.out, line.as_ref());
    }

    pub fn err(&mut self, line: impl AsRef<str>) {
        push_line(&mut self.err, line.as_ref());
    }

    /// For standard output: what somebody wrote, text or not.
    pub fn content(&mut self, content: impl AsRef<[u8]>) {
        push_content(&mut self.out, content);
    }

    /// A `Key: value` line, left out when there is nothing to say.
    pub fn field(&mut self, key: &str, value: impl AsRef<str>) {
        let value = value.as_ref();
        if !value.is_empty() {
            self.out(format!("{key}: {value}"));
        }
    }
}

/// Adds what somebody wrote, as it is, with an end to its last line.
pub fn push_content(to: &mut Vec<u8>, content: impl AsRef<[u8]>) {
    let content = content.as_ref();
    to.extend_from_slice(content);
    if !content.is_empty() && !content.ends_with(b"\n") {
        to.push(b'\n');
    }
}

fn push_line(to: &mut Vec<u8>, line: &str) {
    to.extend_from_slice(escape_controls(line).as_bytes());
    to.push(b'\n');
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

    /// What a person should know even if such a flag leaves the rest out.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The status of a command as that of pyro.
pub(crate) fn own_status(code: i32) -> u8 {
    // The agent keeps statuses within a byte; anything else would be its fault, not success.
    u8::try_from(code).unwrap_or(255)
}

/// `yes` or `no`.
pub fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// A moment, of which results hold the seconds since 1970: `2026-11-25T12:32:59Z`.
pub fn moment(seconds: f64) -> String {
    // What no calendar holds is told as it is.
    chrono::DateTime::from_timestamp(seconds as i64, 0).map_or_else(
        || seconds.to_string(),
        |time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
    )
}

/// A moment that may never come, for which results hold 0.
pub fn moment_or_never(seconds: f64) -> String {
    match seconds > 0.0 {
        true => moment(seconds),
        false => "never".to_owned(),
    }
}

/// A name for one line of a terminal, which must not act on it.
pub fn plain(name: &str) -> Cow<'_, str> {
    escaped(name, char::is_control)
}

/// Text for a terminal, which must not act on it beyond its lines and tabs.
pub fn escape_controls(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| {
        letter.is_control() && !matches!(letter, '\n' | '\t')
    })
}

fn escaped(text: &str, acts: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match acts(letter) {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_as_a_calendar_does() {
        assert_eq!(moment(1_795_609_979.9), "2026-11-25T12:32:59Z");
        assert_eq!(moment(f64::MAX), f64::MAX.to_string());
        assert_eq!(moment_or_never(1.0), "1970-01-01T00:00:01Z");
        assert_eq!(moment_or_never(0.0), "never");
    }

    #[test]
    fn nothing_acts_on_a_terminal() {
        assert_eq!(plain("a\nb"), "a\\nb");
        assert_eq!(escape_controls("a\tb\nc"), "a\tb\nc");
        assert_eq!(escape_controls("\u{1b}[31mred\r"), "\\u{1b}[31mred\\r");
        let mut text = Text::default();
        text.field("Name", "\u{1b}c");
        text.err("\u{9b}2J");
        assert_eq!(text.out, b"Name: \\u{1b}c\n");
        assert_eq!(text.err, b"\\u{9b}2J\n");
    }
}
