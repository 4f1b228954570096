//! Signals that ask pyro to end, and what waits for the first of them to end by itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pyro_api::Interruption;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// `timeout` sends its signal to the program and to the group that it is in: one request, received twice.
const SAME_REQUEST: Duration = Duration::from_millis(250);

/// Whether the call was told to end.
#[derive(Default)]
pub(crate) struct Interrupt {
    requested: watch::Sender<bool>,
    waiting: AtomicUsize,
}

impl Interrupt {
    /// Tells whatever waits for it; `false` when nothing does, and the call is to be dropped.
    pub(crate) fn pass_on(&self) -> bool {
        let is_awaited = self.waiting.load(Ordering::Acquire) > 0;
        if is_awaited {
            self.requested.send_replace(true);
        }
        is_awaited
    }
}

impl Interruption for Interrupt {
    fn wait(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let _waiting = Waiting::begin(&self.waiting);
            // The sender lives as long as this does.
            let _ = self
                .requested
                .subscribe()
                .wait_for(|requested| *requested)
                .await;
        })
    }
}

/// One more that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The signals that ask a program to end, from now on.
pub(crate) struct Signals([(u8, Option<Signal>); 3]);

impl Signals {
    pub(crate) fn listen() -> Self {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        Self(kinds.map(|kind| {
            let number = u8::try_from(kind.as_raw_value()).unwrap_or(0);
            (number, signal(kind).ok())
        }))
    }

    /// The number of the next one.
    pub(crate) async fn next(&mut self) -> u8 {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            number = heard(interrupt) => number,
            number = heard(terminate) => number,
            number = heard(hangup) => number,
        }
    }

    /// The number of the next one that is not the one just heard once more.
    pub(crate) async fn another(&mut self) -> u8 {
        let until = Instant::now() + SAME_REQUEST;
        while timeout_at(until, self.next()).await.is_ok() {}
        self.next().await
    }
}

async fn heard((number, signal): &mut (u8, Option<Signal>)) -> u8 {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    };
    *number
}
