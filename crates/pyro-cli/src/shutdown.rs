//! The end that a signal asks for.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// How long a dropped call may take to clear up before the program ends all the same.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The number of the first signal that asks the program to end: SIGINT, SIGTERM or SIGHUP.
pub(crate) async fn termination_signal() -> u8 {
    let wait = async |kind: SignalKind| {
        match signal(kind) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        };
        u8::try_from(kind.as_raw_value()).unwrap_or(0)
    };
    tokio::select! {
        number = wait(SignalKind::interrupt()) => number,
        number = wait(SignalKind::terminate()) => number,
        number = wait(SignalKind::hangup()) => number,
    }
}
