//! Carries what a service writes into its log, without the values of secrets.

use std::io;
use std::time::Duration;

use pyro_wire::redaction::Redactor;
use tokio::net::unix::pipe;
use tokio::task::yield_now;
use tokio::time::sleep;

const BUFFER: usize = 64 * 1024;

/// After so much without a pause everything else gets a turn: a service that floods its log is held
/// up by its pipe rather than that it takes the agent's time. This still is more than 100 MB/s.
const BURST: usize = 1024 * 1024;
const PAUSE: Duration = Duration::from_millis(5);

/// Reads until everybody who could write has ended.
pub(super) async fn pump(pipe: pipe::Receiver, mut redactor: Redactor, log: impl Fn(&[u8])) {
    read(pipe, |bytes| log(&redactor.push(bytes))).await;
    log(&redactor.finish());
}

async fn read(pipe: pipe::Receiver, mut take: impl FnMut(&[u8])) {
    let mut buffer = vec![0; BUFFER];
    let mut burst = 0;
    while pipe.readable().await.is_ok() {
        match pipe.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                take(&buffer[..count]);
                burst += count;
                if burst >= BURST {
                    burst = 0;
                    sleep(PAUSE).await;
                } else {
                    yield_now().await;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => burst = 0,
            Err(_) => return,
        }
    }
}
