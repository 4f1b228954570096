//! What happens during a call: news for the client that waits, and what a terminal would have
//! shown, for the text of the answer.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyro_api::{Disconnected, Event, EventSink};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

/// News come at most this often.
const APART: Duration = Duration::from_millis(250);

/// When nothing happens the client still hears that the call goes on, as many clients give up
/// after a minute of silence.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Hosts show one short line.
const MESSAGE: usize = 200;

/// How much of a command's output the text of an answer holds: this much of its beginning, and
/// as much of its end.
const SHOWN: usize = 8 * 1024;

#[derive(Default)]
pub(crate) struct Watched {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    message: Option<String>,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: u64,
}

impl EventSink for Watched {
    fn event(&self, event: Event<'_>) -> Result<(), Disconnected> {
        let mut state = self.state();
        let message = match event {
            Event::Output { bytes, .. } => {
                state.show(bytes);
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
            self.news.notify_one();
        }
        Ok(())
    }
}

impl Watched {
    /// What the output looked like, its middle left out when it was long.
    pub(crate) fn shown(&self) -> String {
        let state = self.state();
        let (front, back) = state.tail.as_slices();
        let tail = [front, back].concat();
        let mut shown = String::from_utf8_lossy(&state.head).into_owned();
        if state.left_out > 0 {
            shown.push_str(&format!("\n[… {} bytes left out …]\n", state.left_out));
        }
        shown.push_str(&String::from_utf8_lossy(&tail));
        if !shown.is_empty() && !shown.ends_with('\n') {
            shown.push('\n');
        }
        shown
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn show(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(SHOWN - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(SHOWN);
        self.tail.drain(..over);
        self.left_out += over as u64;
    }
}

/// The news of one call, one after the other.
pub(crate) struct News<'a> {
    watched: &'a Watched,
    started: Instant,
    next: Instant,
}

impl<'a> News<'a> {
    pub(crate) fn new(watched: &'a Watched) -> Self {
        let now = Instant::now();
        Self {
            watched,
            started: now,
            next: now,
        }
    }

    /// Waits for the next piece of news: seconds since the call began, which always grow, and a
    /// message. May be dropped and called again; nothing is lost but what is old by then.
    pub(crate) async fn next(&mut self) -> (f64, String) {
        sleep_until(self.next).await;
        let silence_ends = self.next - APART + HEARTBEAT;
        let told = timeout_at(silence_ends, self.watched.news.notified()).await;
        self.next = Instant::now() + APART;
        let seconds = self.started.elapsed().as_secs_f64();
        let message = self.watched.state().message.clone();
        let message = match (told, message) {
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

    fn output(watched: &Watched, bytes: &[u8]) {
        let stream = Stream::Stdout;
        watched.event(Event::Output { stream, bytes }).unwrap();
    }

    #[test]
    fn short_output_is_shown_as_it_was() {
        let watched = Watched::default();
        output(&watched, b"one\n");
        output(&watched, b"two");
        assert_eq!(watched.shown(), "one\ntwo\n");
    }

    #[test]
    fn of_long_output_the_ends_are_shown() {
        let watched = Watched::default();
        for _ in 0..4 {
            output(&watched, &[b'x'; SHOWN]);
        }
        output(&watched, b"end\n");
        let shown = watched.shown();
        let left_out = 2 * SHOWN + 4;
        assert!(shown.contains(&format!("[… {left_out} bytes left out …]")));
        assert!(shown.starts_with('x') && shown.ends_with("xend\n"));
        assert!(shown.len() < 2 * SHOWN + 100);
    }

    #[tokio::test(start_paused = true)]
    async fn news_are_the_newest_and_silence_is_broken() {
        let watched = Watched::default();
        let mut news = News::new(&watched);
        output(&watched, b"one\ntwo\n\n");
        output(&watched, b"thr\x1b[1mee\n");
        assert_eq!(news.next().await.1, "thr [1mee");
        let (seconds, message) = news.next().await;
        assert_eq!(message, "5 s: thr [1mee");
        assert!(seconds >= 5.0);
    }
}
