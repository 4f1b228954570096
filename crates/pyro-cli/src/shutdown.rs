//! The end that a signal asks for.

use std::time::Duration;

use crate::interruption::Signals;

/// How long a dropped call may take to clear up before the program ends all the same.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The number of the first signal that asks the program to end: SIGINT, SIGTERM or SIGHUP.
pub(crate) async fn termination_signal() -> u8 {
    Signals::listen().next().await
}
