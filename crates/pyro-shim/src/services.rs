//! What a VM that is about to be stopped leaves of its services: their last states and their logs, as
//! files in its folder.
//!
//! The guest is not believed: count and sizes are bounded here, and file names are numbers.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use pyro_wire::agent::AgentRequest;
use pyro_wire::frame::{self, Kind};
use pyro_wire::service::{LOG_BYTES, MAX_SERVICES, STOP_MS, ServiceReply};
use pyro_wire::session::Opener;
use pyro_wire::shim::{KeptService, SERVICES_FOLDER, SERVICES_INDEX};
use tokio::time::timeout;

use crate::clock::now_ms;
use crate::folder;

/// How long the agent may take: what services may take to end, and some time to be killed and for
/// their logs to travel.
const STOP_TIMEOUT: Duration = Duration::from_millis(STOP_MS + 10_000);

/// Ends all services and keeps what there is to know of them. Whatever goes wrong, the VM ends all
/// the same; what came until then is kept.
pub(crate) async fn stop_and_save(opener: &Opener) {
    clear();
    let mut kept = Vec::new();
    let _ = timeout(STOP_TIMEOUT, read_services(opener, &mut kept)).await;
    if !kept.is_empty() {
        let _ = write_index(&kept);
    }
}

/// Removes what an earlier VM of this folder left.
pub(crate) fn clear() {
    let _ = fs::remove_dir_all(SERVICES_FOLDER);
}

async fn read_services(opener: &Opener, kept: &mut Vec<KeptService>) -> Option<()> {
    let mut stream = opener.open().await.ok()?;
    frame::write_message(&mut stream, &AgentRequest::ServicesEnd)
        .await
        .ok()?;
    let mut logs = None;
    loop {
        let frame = frame::read(&mut stream).await.ok()??;
        let stream = match frame.kind {
            Kind::Output => "stdout",
            Kind::ErrorOutput => "stderr",
            Kind::Input => return None,
            Kind::Message => {
                match frame.message().ok()? {
                    ServiceReply::State(state) if kept.len() < MAX_SERVICES => {
                        logs = Some(Logs::of(state.instance));
                        kept.push(KeptService {
                            state,
                            at_ms: now_ms(),
                            truncated: false,
                        });
                    }
                    // Said once more by the end of the log.
                    ServiceReply::LogLost(_) => {}
                    ServiceReply::LogEnd { truncated } => kept.last_mut()?.truncated = truncated,
                    _ => return None,
                }
                continue;
            }
        };
        let logs = logs.as_mut()?;
        // A log that cannot be written, on a full disk for one, is no reason not to stop.
        if logs.push(stream, &frame.body).is_err()
            && let Some(last) = kept.last_mut()
        {
            last.truncated = true;
        }
    }
}

/// The log files of one service.
struct Logs {
    instance: u64,
    stdout: Option<(File, usize)>,
    stderr: Option<(File, usize)>,
}

impl Logs {
    fn of(instance: u64) -> Self {
        Self {
            instance,
            stdout: None,
            stderr: None,
        }
    }

    fn push(&mut self, stream: &str, bytes: &[u8]) -> io::Result<()> {
        let place = match stream {
            "stdout" => &mut self.stdout,
            _ => &mut self.stderr,
        };
        let (file, written) = match place {
            Some(open) => open,
            None => {
                let name = format!("{}.{stream}", self.instance);
                place.insert((create(&name)?, 0))
            }
        };
        let bytes = &bytes[..bytes.len().min(LOG_BYTES - *written)];
        *written += bytes.len();
        file.write_all(bytes)
    }
}

fn create(name: &str) -> io::Result<File> {
    make_folder()?;
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(Path::new(SERVICES_FOLDER).join(name))
}

fn make_folder() -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(SERVICES_FOLDER)
}

fn write_index(kept: &[KeptService]) -> io::Result<()> {
    make_folder()?;
    folder::write_atomically(&Path::new(SERVICES_FOLDER).join(SERVICES_INDEX), &kept)
}
