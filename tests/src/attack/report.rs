//! What the attacker tells, short enough to be kept whole by whoever keeps the end of what a VMM said:
//! `12?` when an attempt begins, `12+` when it worked, `12-13,openat` when it was stopped by errno 13 of
//! that call, `over` at the end.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;

use super::call::{Attempted, Stopped};

/// Longer lines may lose their middle.
const LINE: usize = 300;

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Worked,
    Stopped(Stopped),
    /// The process was gone before it could tell: killed, or another program.
    Gone,
}

static WRITTEN: AtomicUsize = AtomicUsize::new(0);

pub(super) fn say(word: &str) {
    let length = word.len() + 1;
    let before = WRITTEN.fetch_add(length, Ordering::Relaxed);
    let end = if before + length > LINE {
        WRITTEN.store(0, Ordering::Relaxed);
        '\n'
    } else {
        ' '
    };
    // Without a reader there is nobody to tell.
    let _ = std::io::stderr().write_all(format!("{word}{end}").as_bytes());
}

pub(super) fn began(number: usize) {
    say(&format!("{number}?"));
}

pub(super) fn ended(number: usize, outcome: &Attempted) {
    match outcome {
        Ok(()) => say(&format!("{number}+")),
        Err(stopped) => {
            let mode = if stopped.mode_allows { ",mode" } else { "" };
            let call = stopped.call.replace(' ', "_");
            say(&format!("{number}-{},{call}{mode}", stopped.errno as i32));
        }
    }
}

pub(super) fn over() {
    say("over");
}

/// Reads what an attacker has told; whether it came to its end.
pub fn read(text: &str) -> (BTreeMap<usize, Outcome>, bool) {
    let mut outcomes = BTreeMap::new();
    let mut over = false;
    for word in text.split_whitespace() {
        over |= word == "over";
        let digits = word.find(|char: char| !char.is_ascii_digit());
        let Some((number, rest)) = digits.map(|at| word.split_at(at)) else {
            continue;
        };
        let (Ok(number), Some(outcome)) = (number.parse(), outcome(rest)) else {
            continue;
        };
        outcomes.insert(number, outcome);
    }
    (outcomes, over)
}

fn outcome(word: &str) -> Option<Outcome> {
    match word {
        "?" => return Some(Outcome::Gone),
        "+" => return Some(Outcome::Worked),
        _ => {}
    }
    let mut parts = word.strip_prefix('-')?.split(',');
    let errno = Errno::from_raw(parts.next()?.parse().ok()?);
    Some(Outcome::Stopped(Stopped {
        call: parts.next()?.to_owned(),
        errno,
        mode_allows: parts.next() == Some("mode"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        let text = "qemu: noise 7 3? 3+ 4? 4-13,openat,mode\n5? 5-38,fork 6? over\n";
        let (outcomes, over) = read(text);
        let stopped = |errno, call: &str, mode_allows| {
            Outcome::Stopped(Stopped {
                mode_allows,
                ..Stopped::at(call, errno)
            })
        };
        let wanted = [
            (3, Outcome::Worked),
            (4, stopped(Errno::EACCES, "openat", true)),
            (5, stopped(Errno::ENOSYS, "fork", false)),
            (6, Outcome::Gone),
        ];
        assert_eq!((outcomes, over), (BTreeMap::from(wanted), true));
    }
}
