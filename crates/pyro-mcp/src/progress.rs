//! What happens during a call: news for the client that waits, and what a terminal would have
//! shown, for the text of the answer.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyro_api::{Disconnected, Event, EventSink};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

/// News come at most this often.
const MIN_INTERVAL: Duration = Duration::from_millis(250);

/// When nothing happens the client still hears that the call goes on, as many clients give up
/// after a minute of silence.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Hosts show one short line.
const MESSAGE: usize = 200;

/// How much of a command's output the text of an answer holds: this much of its beginning, and
/// as much of its end.
const SHOWN_BYTES: usize = 8 * 1024;

#[derive(Default)]
pub(crate) struct CallEvents {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    message: Option<String>,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: u64,
}

impl EventSink for CallEvents {
    fn event(&self, event: Event<'_>) -> Result<(), Disconnected> {
        let mut state = self.state();
        let message = match event {
            Event::Output { bytes, .. } => {
                state.push_output(bytes);
                last_line(bytes)
            }
            Event::Phase { phase, fields, .. } => {
                let fields: String = fields
                    .iter()
                    .map(|(key, value)| format!(" {key}={value}"))
                    .collect();
                Some(format!("{phase}{fields}"))
            }
            Event::Progress { message, fraction } => Some(match fraction {
                Some(fraction) => {
                    format!("{:.0} % {message}", fraction.clamp(0.0, 1.0) * 100.0)
                }
                None => message,
            }),
            Event::Note(note) => Some(note),
        };
        if let Some(message) = message {
            state.message = Some(one_line(&message));
            self.changed.notify_one();
        }
        Ok(())
    }
}

impl CallEvents {
    /// What the output looked like, its middle left out when it was long.
    pub(crate) fn output_text(&self) -> String {
        let state = self.state();
        let (front, back) = state.tail.as_slices();
        let tail = [front, back].concat();
        let mut output_text = String::from_utf8_lossy(&state.head).into_owned();
        if state.left_out > 0 {
            output_text.push_str(&format!("\n[… {} bytes left out …]\n", state.left_out));
        }
        output_text.push_str(&String::from_utf8_lossy(&tail));
        if !output_text.is_empty() && !output_text.ends_with('\n') {
            output_text.push('\n');
        }
        output_text
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push_output(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(SHOWN_BYTES - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(SHOWN_BYTES);
        self.tail.drain(..over);
        self.left_out += over as u64;
    }
}

/// The news of one call, one after the other.
pub(crate) struct ProgressUpdates<'a> {
    events: &'a CallEvents,
    started: Instant,
    next: Instant,
}

impl<'a> ProgressUpdates<'a> {
    pub(crate) fn new(events: &'a CallEvents) -> Self {
        let now = Instant::now();
        Self {
            events,
            started: now,
            next: now,
        }
    }

    /// Waits for the next piece of news: seconds since the call began, which always grow, and a
    /// message. May be dropped and called again; nothing is lost but what is old by then.
    pub(crate) async fn next(&mut self) -> (f64, String) {
        sleep_until(self.next).await;
        let silence_ends = self.next - MIN_INTERVAL + HEARTBEAT;
        let changed = timeout_at(silence_ends, self.events.changed.notified()).await;
        self.next = Instant::now() + MIN_INTERVAL;
        let seconds = self.started.elapsed().as_secs_f64();
        let message = self.events.state().message.clone();
        let message = match (changed, message) {
            (Ok(()), Some(message)) => message,
            (_, Some(message)) => one_line(&format!("{seconds:.0} s: {message}")),
            (_, None) => format!("{seconds:.0} s"),
        };
        (seconds, message)
    }
}

/// The newest line that says something.
fn last_line(bytes: &[u8]) -> Option<String> {
    // A long piece of output has its last line near its end.
    let end = &bytes[bytes.len().saturating_sub(2 * MESSAGE)..];
    let text = String::from_utf8_lossy(end);
    let line = text.lines().rfind(|line| !line.trim().is_empty())?;
    Some(line.trim().to_owned())
}

/// Short, and without what a terminal would obey.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MESSAGE)
        .collect()
}

#[cfg(test)]
mod tests {
    use pyro_api::Stream;

    use super::*;

    fn output(events: &CallEvents, bytes: &[u8]) {
        let stream = Stream::Stdout;
        events.event(Event::Output { stream, bytes }).unwrap();
    }

    #[test]
    fn short_output_is_shown_as_it_was() {
        let events = CallEvents::default();
        output(&events, b"one\n");
        output(&events, b"two");
        assert_eq!(events.output_text(), "one\ntwo\n");
    }

    #[test]
    fn of_long_output_the_ends_are_shown() {
        let events = CallEvents::default();
        for _ in 0..4 {
            output(&events, &[b'x'; SHOWN_BYTES]);
        }
        output(&events, b"end\n");
        let output_text = events.output_text();
        let left_out = 2 * SHOWN_BYTES + 4;
        assert!(output_text.contains(&format!("[… {left_out} bytes left out …]")));
        assert!(output_text.starts_with('x') && output_text.ends_with("xend\n"));
        assert!(output_text.len() < 2 * SHOWN_BYTES + 100);
    }

    #[tokio::test(start_paused = true)]
    async fn news_are_the_newest_and_silence_is_broken() {
        let events = CallEvents::default();
        let mut updates = ProgressUpdates::new(&events);
        output(&events, b"one\ntwo\n\n");
        output(&events, b"thr\x1b[1mee\n");
        assert_eq!(updates.next().await.1, "thr [1mee");
        let (seconds, message) = updates.next().await;
        assert_eq!(message, "5 s: thr [1mee");
        assert!(seconds >= 5.0);
    }
}
