//! The newest part of what a service wrote to one of its streams.

use std::collections::VecDeque;
use std::sync::Mutex;

use pyro_wire::service::LOG_BYTES;
use tokio::sync::watch;

use crate::lock::lock;

#[derive(Default)]
pub(super) struct Log {
    kept: Mutex<Kept>,
    /// Where the log ends by now.
    end: watch::Sender<End>,
}

#[derive(Default)]
struct Kept {
    bytes: VecDeque<u8>,
    /// How much was written before the first byte here, and is gone.
    start: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct End {
    at: u64,
    closed: bool,
}

/// A part of a log that could be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// How much before it is gone, unread.
    pub(super) lost: u64,
    /// Nothing: that is all for now.
    pub(super) bytes: Vec<u8>,
    /// Where the next one begins.
    pub(super) next: u64,
}

/// Where to begin to read, and whether something lies before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) at: u64,
    pub(super) truncated: bool,
}

impl Log {
    pub(super) fn push(&self, bytes: &[u8]) {
        let mut kept = lock(&self.kept);
        let newest = &bytes[bytes.len().saturating_sub(LOG_BYTES)..];
        let room = LOG_BYTES - newest.len();
        let surplus = kept.bytes.len().saturating_sub(room);
        kept.bytes.drain(..surplus);
        kept.bytes.extend(newest);
        kept.start += (surplus + bytes.len() - newest.len()) as u64;
        let at = kept.end();
        drop(kept);
        self.end.send_modify(|end| end.at = at);
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        self.end.send_modify(|end| end.closed = true);
    }

    /// Where the last so many lines begin, or everything that is kept. Lines are shown whole.
    pub(super) fn tail(&self, lines: Option<u64>) -> Tail {
        let kept = lock(&self.kept);
        let first = kept.first_whole_line();
        let at = match lines {
            None => first,
            Some(lines) => kept.last_lines(lines).max(first),
        };
        Tail {
            at: kept.start + at as u64,
            truncated: kept.start > 0 || at > first,
        }
    }

    /// What lies behind `at`, at most so much. When that is gone already, it goes on with a whole line.
    pub(super) fn read(&self, at: u64, most: usize) -> Piece {
        let kept = lock(&self.kept);
        let from = match at < kept.start {
            true => kept.start + kept.first_whole_line() as u64,
            false => at,
        };
        let skip = usize::try_from(from - kept.start).unwrap_or(usize::MAX);
        let bytes: Vec<u8> = kept.bytes.iter().skip(skip).take(most).copied().collect();
        Piece {
            lost: from - at,
            next: from + bytes.len() as u64,
            bytes,
        }
    }

    /// Resolves when there is something behind `at`; says `false` when nothing more will come.
    pub(super) async fn grown(&self, at: u64) -> bool {
        let mut end = self.end.subscribe();
        match end.wait_for(|end| end.at > at || end.closed).await {
            Ok(end) => end.at > at,
            Err(_) => false,
        }
    }
}

impl Kept {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Where the first line begins that is there from its beginning; a line that fills everything is
    /// shown as it is.
    fn first_whole_line(&self) -> usize {
        if self.start == 0 {
            return 0;
        }
        let newline = self.bytes.iter().position(|byte| *byte == b'\n');
        match newline {
            Some(at) if at + 1 < self.bytes.len() => at + 1,
            _ => 0,
        }
    }

    fn last_lines(&self, lines: u64) -> usize {
        let mut wanted = lines;
        for (at, byte) in self.bytes.iter().enumerate().rev() {
            // The newline at the very end belongs to the last line.
            if *byte == b'\n' && at + 1 < self.bytes.len() {
                wanted = wanted.saturating_sub(1);
            }
            if wanted == 0 {
                return at + 1;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(log: &Log, lines: Option<u64>) -> (String, bool) {
        let Tail { at, truncated } = log.tail(lines);
        let piece = log.read(at, usize::MAX);
        (String::from_utf8(piece.bytes).unwrap(), truncated)
    }

    #[test]
    fn the_last_lines_are_whole_lines() {
        let log = Log::default();
        assert_eq!(tail(&log, Some(2)), (String::new(), false));
        log.push(b"one\ntwo\nthr");
        log.push(b"ee\n");
        assert_eq!(tail(&log, Some(2)), ("two\nthree\n".into(), true));
        assert_eq!(tail(&log, Some(3)), ("one\ntwo\nthree\n".into(), false));
        log.push(b"four");
        assert_eq!(tail(&log, Some(1)), ("four".into(), true));
        assert_eq!(tail(&log, None).0, "one\ntwo\nthree\nfour");
    }

    #[test]
    fn a_flood_leaves_the_newest_and_never_more_than_the_bound() {
        let log = Log::default();
        let line = [b'x'; 999];
        for _ in 0..3000 {
            log.push(&line);
            log.push(b"\n");
        }
        log.push(b"last\n");
        assert!(lock(&log.kept).bytes.len() <= LOG_BYTES);
        let (text, truncated) = tail(&log, None);
        assert!(truncated && text.ends_with("x\nlast\n"));
        // It begins with a whole line.
        assert_eq!(text.find('\n'), Some(999));
        // One write that is larger than everything.
        log.push(&vec![b'y'; LOG_BYTES + 5]);
        let (text, truncated) = tail(&log, None);
        assert!(truncated && text.len() == LOG_BYTES && !text.contains('x'));
    }

    #[tokio::test]
    async fn a_reader_that_falls_behind_goes_on_with_what_there_is() {
        let log = Log::default();
        log.push(b"begin");
        let read = |at, most| {
            let Piece { lost, bytes, next } = log.read(at, most);
            (lost, String::from_utf8(bytes).unwrap(), next)
        };
        assert_eq!(read(0, 100), (0, "begin".into(), 5));
        log.push(&vec![b'z'; 2 * LOG_BYTES]);
        assert!(log.grown(5).await);
        let most = LOG_BYTES as u64;
        assert_eq!(read(5, 3), (most, "zzz".into(), most + 8));
        // Where there are lines, with a whole one; a line that fills everything is shown as it is.
        log.push(b"\nwhole\n");
        assert_eq!(read(5, 3), (2 * most + 1, "who".into(), 2 * most + 9));
        log.push(&vec![b'z'; LOG_BYTES - 1]);
        log.push(b"\n");
        assert_eq!(read(5, 3).1, "zzz");
        log.close();
        assert!(!log.grown(3 * most + 12).await);
    }
}
