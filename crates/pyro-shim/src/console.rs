//! The end of what somebody wrote: a guest's console, a program's standard error.
//!
//! Root in a guest may write to its console without end, so only the last bytes are kept, in
//! memory, and never in a file.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;

/// How much of a guest's console is kept.
pub(crate) const CONSOLE_BYTES: usize = 64 * 1024;

/// How much of another program's standard error is kept.
pub(crate) const ERROR_BYTES: usize = 8 * 1024;

/// How many lines explain a failure.
pub(crate) const TAIL_LINES: usize = 30;

/// A line longer than this is shown without its middle.
const LINE_CHARS: usize = 400;

/// How long to wait for the rest after the writer ended.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(300);

/// Follows one source until it ends. Dropping it stops the reading.
pub(crate) struct Tail {
    kept: Arc<Mutex<VecDeque<u8>>>,
    reader: JoinHandle<()>,
}

impl Tail {
    pub(crate) fn follow(source: impl AsyncRead + Unpin + Send + 'static, bytes: usize) -> Self {
        let kept = Arc::default();
        let reader = tokio::spawn(read(source, Arc::clone(&kept), bytes));
        Self { kept, reader }
    }

    /// The last lines, without escape sequences and control characters.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = self.all();
        let surplus = lines.len().saturating_sub(TAIL_LINES);
        lines.split_off(surplus)
    }

    /// The last line with these words in all that is kept.
    pub(crate) fn last_with(&self, words: &str) -> Option<String> {
        self.all().into_iter().rfind(|line| line.contains(words))
    }

    fn all(&self) -> Vec<String> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        clean(kept.make_contiguous())
    }

    /// Waits a moment for what the writer wrote last. To be called once, after its end.
    pub(crate) async fn drain(&mut self) {
        if !self.reader.is_finished() {
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, &mut self.reader).await;
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(mut source: impl AsyncRead + Unpin, kept: Arc<Mutex<VecDeque<u8>>>, limit: usize) {
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(count @ 1..) = source.read(&mut buffer).await {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(&buffer[..count]);
        let surplus = kept.len().saturating_sub(limit);
        kept.drain(..surplus);
    }
}

/// Splits into lines a person can read.
fn clean(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\n' => lines.push(std::mem::take(&mut line)),
            '\x1b' => skip_escape(&mut chars),
            '\t' => line.push(' '),
            _ if char.is_control() => {}
            _ => line.push(char),
        }
    }
    lines.push(line);
    lines
        .into_iter()
        .map(|line| shorten(line.trim_end()))
        .filter(|line: &String| !line.is_empty())
        .collect()
}

/// Both ends of a long line: who speaks is at its beginning, what happened at its end.
fn shorten(line: &str) -> String {
    let count = line.chars().count();
    if count <= LINE_CHARS {
        return line.to_owned();
    }
    let half = LINE_CHARS / 2;
    let first: String = line.chars().take(half).collect();
    let last: String = line.chars().skip(count - half).collect();
    format!("{first} … {last}")
}

/// Skips what follows an escape character: `[…letter`, `]…BEL`, `(c`, or one character.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next_if(|char| *char != '\n') {
        Some('[') => {
            while chars
                .next_if(|char| !('@'..='~').contains(char) && *char != '\n')
                .is_some()
            {}
        }
        Some(']') => {
            while chars
                .next_if(|char| !matches!(char, '\x07' | '\n'))
                .is_some()
            {}
        }
        Some('(' | ')' | '#' | '%') => {}
        _ => return,
    }
    chars.next_if(|char| *char != '\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_controls_are_gone() {
        let raw = b"\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS\r\nBooting\x07..\r\n\r\n\
            \x1b]0;title\x07a\tb\xff\x9b";
        assert_eq!(clean(raw), ["SeaBIOS", "Booting..", "a b\u{fffd}\u{fffd}"]);
    }

    #[test]
    fn an_escape_that_never_ends_costs_one_line() {
        assert_eq!(clean(b"x\x1b[1;2\nnext\x1b"), ["x", "next"]);
    }

    #[tokio::test]
    async fn only_the_end_of_a_flood_is_kept() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let mut tail = Tail::follow(reader, 100);
        for line in 0..1000 {
            let line = format!("line {line}\n");
            tokio::io::AsyncWriteExt::write_all(&mut writer, line.as_bytes())
                .await
                .unwrap();
        }
        drop(writer);
        tail.drain().await;
        assert_eq!(tail.kept.lock().unwrap().len(), 100);
        assert_eq!(tail.lines().last().unwrap(), "line 999");
    }
}
