//! Shows what happens while an operation is carried out.
//!
//! Output of guest commands goes to standard output and standard error as the exact bytes, at
//! once. Everything of pyro's own goes to standard error: a bar on a terminal, plain lines
//! elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use pyro_api::report::escape_controls;
use pyro_api::{Disconnected, Event, EventSink, Stream};

/// How often a plain progress line may appear when it is about the same.
const MIN_INTERVAL: Duration = Duration::from_secs(10);

/// How much more must be done for one before that.
const MIN_FRACTION: f32 = 0.1;

/// How much is told of what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    Everything,
    /// Standard output belongs to what was asked for alone.
    Notes,
    /// Standard output belongs to the JSON document, and nothing else is said.
    Nothing,
}

pub(crate) struct EventPrinter {
    telling: Telling,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bar: Option<ProgressBar>,
    /// A guest's last line on standard error, or on the terminal, is not finished.
    unfinished: bool,
    /// Why output could not be written, when it was not that its reader had gone.
    failure: Option<io::Error>,
    pace: Pace,
}

/// When the next plain line of progress is worth one: where no terminal takes the last one away,
/// each stays.
#[derive(Default)]
struct Pace {
    /// What the last line was about, how far that was, and when it was said.
    last: Option<(String, f32, Instant)>,
}

impl Pace {
    /// Something new that has begun, another tenth of it, or a while later.
    fn is_due(&mut self, message: &str, fraction: Option<f32>, now: Instant) -> bool {
        let subject = subject(message);
        let fraction = fraction.unwrap_or_default();
        let due = self.last.as_ref().is_none_or(|(last, done, said)| {
            *last != subject
                || fraction - done >= MIN_FRACTION
                || now.saturating_duration_since(*said) >= MIN_INTERVAL
        });
        if due {
            self.last = Some((subject, fraction, now));
        }
        due
    }
}

/// What a message is about: its words, without the numbers that go up in it.
fn subject(message: &str) -> String {
    message
        .split_whitespace()
        .filter(|word| !word.contains(|letter: char| letter.is_ascii_digit()))
        .collect::<Vec<_>>()
        .join(" ")
}

impl EventPrinter {
    pub(crate) fn new(telling: Telling) -> Self {
        Self {
            telling,
            state: Mutex::default(),
        }
    }

    /// Takes the bar away and ends an unfinished line, so that what pyro says next stands alone.
    pub(crate) fn settle(&self) {
        self.state().settle();
    }

    /// Why output could not be written, when it was not that its reader had gone.
    pub(crate) fn failure(&self) -> Option<io::Error> {
        self.state().failure.take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSink for EventPrinter {
    fn event(&self, event: Event<'_>) -> Result<(), Disconnected> {
        let is_told = match self.telling {
            Telling::Everything => true,
            Telling::Notes => matches!(event, Event::Note(_)),
            Telling::Nothing => false,
        };
        if !is_told {
            return Ok(());
        }
        let mut state = self.state();
        match event {
            Event::Output { stream, bytes } => return state.output(stream, bytes),
            Event::Phase {
                scope,
                phase,
                fields,
            } => {
                state.settle();
                let fields: String = fields
                    .iter()
                    .map(|(key, value)| format!(" {key}={value}"))
                    .collect();
                say(&format!("[{scope}] phase={phase}{fields}"));
            }
            Event::Note(note) => {
                state.settle();
                say(&format!("[note] {note}"));
            }
            Event::Progress { message, fraction } => state.progress(message, fraction),
        }
        Ok(())
    }
}

impl State {
    fn progress(&mut self, message: String, fraction: Option<f32>) {
        if io::stderr().is_terminal() {
            let bar = self.bar.get_or_insert_with(new_bar);
            if let Some(fraction) = fraction {
                bar.set_position((f64::from(fraction.clamp(0.0, 1.0)) * 100.0) as u64);
            }
            bar.set_message(message);
            return;
        }
        let now = Instant::now();
        if self.pace.is_due(&message, fraction, now) {
            let percent = fraction.map_or_else(String::new, |fraction| {
                format!(" {:.0} %", fraction.clamp(0.0, 1.0) * 100.0)
            });
            say(&format!("[progress]{percent} {message}"));
        }
    }

    fn output(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), Disconnected> {
        self.clear_bar();
        let (written, seen) = match stream {
            Stream::Stdout => (
                write(io::stdout().lock(), bytes),
                io::stdout().is_terminal() && io::stderr().is_terminal(),
            ),
            Stream::Stderr => (write(io::stderr().lock(), bytes), true),
        };
        if seen && let Some(last) = bytes.last() {
            self.unfinished = *last != b'\n';
        }
        written.map_err(|error| {
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.failure = Some(error);
            }
            Disconnected
        })
    }

    fn settle(&mut self) {
        self.clear_bar();
        if std::mem::take(&mut self.unfinished) {
            say("");
        }
    }

    fn clear_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::new(100);
    if let Ok(style) =
        ProgressStyle::with_template("{spinner} [{bar:30}] {percent:>3}% {elapsed} {wide_msg}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn write(mut to: impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

/// A line for whoever reads standard error; nobody has to.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", escape_controls(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_come_by_tenths_and_after_a_while() {
        let begin = Instant::now();
        let mut pace = Pace::default();
        let mut said = Vec::new();
        // Four times a second for a minute and a half: a fraction that grows, then none.
        for tick in 0..360_u32 {
            let now = begin + Duration::from_millis(250) * tick;
            let (message, fraction) = match tick {
                0..200 => (
                    format!("copying in {tick} entries, 3 MiB"),
                    Some(tick as f32 / 200.0),
                ),
                _ => (format!("copying out {tick} entries"), None),
            };
            if pace.is_due(&message, fraction, now) {
                said.push(message);
            }
        }
        let (counted, other): (Vec<_>, Vec<_>) = said
            .into_iter()
            .partition(|message| message.contains(" in "));
        assert_eq!(counted.len(), 10, "{counted:?}");
        assert_eq!(other.len(), 4, "{other:?}");
        assert!(pace.is_due("debian:12: hashing", Some(0.9), begin));
        assert!(!pace.is_due("debian:12: hashing", Some(0.9), begin));
        assert!(pace.is_due("debian:12: writing", Some(0.9), begin));
    }
}
