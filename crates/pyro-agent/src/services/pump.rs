//! Carries what a service writes into its log.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::log::Log;
use super::service::Service;

const BUFFER: usize = 64 * 1024;

/// After so much without a pause everything else gets a turn: a service that floods its log is held
/// up by its pipe rather than that it takes the agent's time. This still is more than 100 MB/s.
const STINT: usize = 1024 * 1024;
const REST: Duration = Duration::from_millis(5);

/// Which of a service's logs.
pub(super) fn stdout(service: &Service) -> &Log {
    &service.stdout
}

pub(super) fn stderr(service: &Service) -> &Log {
    &service.stderr
}

/// Reads until everybody who could write has ended.
pub(super) async fn pump(
    pipe: pipe::Receiver,
    service: Arc<Service>,
    log: fn(&Service) -> &Log,
) {
    let mut buffer = vec![0; BUFFER];
    let mut stint = 0;
    while pipe.readable().await.is_ok() {
        match pipe.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                log(&service).push(&buffer[..count]);
                stint += count;
                if stint >= STINT {
                    stint = 0;
                    sleep(REST).await;
                } else {
                    yield_now().await;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stint = 0,
            Err(_) => return,
        }
    }
}
