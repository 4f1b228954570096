//! Logs of services that have ended, as files of this host; and what a VM that was stopped left of
//! its services.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pyro_api::Stream;
use pyro_api::values::{ServiceState, StopReason, more_memory};
use pyro_wire::service::{LOG_BYTES, ServiceEnd, ServicePhase, ServiceState as Seen};
use pyro_wire::shim::{KeptService, SERVICES_FOLDER, SERVICES_INDEX};

use super::agent::Log;
use crate::machine::create::random_hex;
use crate::machine::folder::VmFolder;
use crate::machine::now;
use crate::machine::output::without_partial_start;
use crate::store::{KeptLog, StoredService, StoredWorkspace};
use crate::workspace::folder::WorkspaceFolder;

/// An index is some hundred bytes for each of some dozen services.
const INDEX_BYTES: u64 = 1024 * 1024;

/// Characters of what was seen of a service that was not ready.
const NOT_READY: usize = 600;

/// What a VM that has ended left of its services. Empty when it had none, or went without a word.
pub(crate) fn left_by(vm: &VmFolder) -> Vec<KeptService> {
    let path = vm.join(SERVICES_FOLDER).join(SERVICES_INDEX);
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(INDEX_BYTES).read_to_end(&mut text));
    match read {
        Ok(_) => serde_json::from_slice(&text).unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// Writes into the records that the VM of these services has ended, at that time.
pub(crate) fn all_ended(stored: &mut StoredWorkspace, left: &[KeptService], at: f64) {
    for kept in left {
        if let Some(service) = stored.instance(kept.state.instance)
            && (service.record.runs() || service.log == KeptLog::InGuest)
        {
            note(service, &kept.state, kept.at_ms as f64 / 1000.0);
            service.log = match kept.truncated {
                true => KeptLog::Cut,
                false => KeptLog::Whole,
            };
        }
    }
    stored.change_services(|services| {
        for service in services.values_mut() {
            if service.record.runs() {
                let reason = Some(StopReason::WorkspaceStopped);
                service.end(ServiceState::Stopped, reason, at);
            }
            if service.log == KeptLog::InGuest {
                // It is gone with the VM.
                service.log = KeptLog::Cut;
            }
        }
    });
}

/// Writes into a record what the agent said of its service at that time.
pub(crate) fn note(service: &mut StoredService, seen: &Seen, at: f64) {
    if seen.pid > 0 {
        service.record.pid = Some(seen.pid);
    }
    if seen.ready && service.record.ready_at.is_none() {
        service.record.ready_at = Some(at);
    }
    if seen.oom_killed {
        service.record.oom_killed = true;
        service.record.advice = Some(more_memory(service.record.mem_mib));
    }
    service.record.not_ready = match seen.ready {
        true => None,
        false => seen.not_ready.as_deref().map(without_end),
    };
    let state = match seen.phase {
        ServicePhase::Running => return,
        ServicePhase::Exited => ServiceState::Exited,
        ServicePhase::Stopped => ServiceState::Stopped,
        ServicePhase::Failed => ServiceState::Failed,
    };
    if !service.record.runs() {
        return;
    }
    let reason = seen.reason.and_then(|reason| match reason {
        ServiceEnd::ProcessExitedBeforeReady => Some(StopReason::ProcessExitedBeforeReady),
        ServiceEnd::ReadinessTimeout => Some(StopReason::ReadinessTimeout),
        ServiceEnd::Sigterm => Some(StopReason::Sigterm),
        ServiceEnd::Sigkill => Some(StopReason::Sigkill),
        ServiceEnd::WorkspaceStopped => Some(StopReason::WorkspaceStopped),
        ServiceEnd::Unknown => None,
    });
    let ago = seen.ended_ms_ago.unwrap_or_default() as f64 / 1000.0;
    service.end(state, reason, (at - ago).min(now()));
    service.record.exit_code = seen.exit_code;
}

/// As much of a guest's words as a record keeps.
fn without_end(words: &str) -> String {
    words.chars().take(NOT_READY).collect()
}

impl WorkspaceFolder {
    fn services(&self) -> PathBuf {
        self.path().join(SERVICES_FOLDER)
    }

    /// Keeps the log of a service that has ended.
    pub(crate) fn keep_log(&self, instance: u64, log: &Log) -> io::Result<()> {
        for (stream, bytes) in [(Stream::Stdout, &log.stdout), (Stream::Stderr, &log.stderr)] {
            if !bytes.is_empty() {
                write_whole(&self.services(), &file_name(instance, stream), bytes)?;
            }
        }
        Ok(())
    }

    /// Moves what a VM that has ended left to where it stays.
    pub(crate) fn take_logs(&self, vm: &VmFolder) {
        let from = vm.join(SERVICES_FOLDER);
        let Ok(entries) = fs::read_dir(&from) else {
            return;
        };
        let _ = make_folder(&self.services());
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name != SERVICES_INDEX {
                let _ = fs::rename(entry.path(), self.services().join(name));
            }
        }
        let _ = fs::remove_dir_all(from);
    }

    /// What is kept of a log, wherever it is by now.
    pub(crate) fn kept_log(&self, vm: &VmFolder, instance: u64) -> io::Result<Log> {
        let read = |stream| -> io::Result<Vec<u8>> {
            let name = file_name(instance, stream);
            let places = [self.services(), vm.join(SERVICES_FOLDER)];
            for place in places {
                match File::open(place.join(&name)) {
                    Ok(file) => {
                        let mut bytes = Vec::new();
                        file.take(LOG_BYTES as u64).read_to_end(&mut bytes)?;
                        return Ok(bytes);
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            // Nothing was written.
            Ok(Vec::new())
        };
        Ok(Log {
            stdout: read(Stream::Stdout)?,
            stderr: read(Stream::Stderr)?,
            truncated: false,
        })
    }

    /// Removes the logs of services that have no record any more.
    pub(crate) fn remove_unknown_logs(&self, stored: &StoredWorkspace) {
        let wanted: BTreeSet<String> = stored
            .services
            .values()
            .map(|service| format!("{}.", service.instance))
            .collect();
        for entry in fs::read_dir(self.services())
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !wanted
                .iter()
                .any(|instance| name.starts_with(instance.as_str()))
            {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn file_name(instance: u64, stream: Stream) -> String {
    let kind = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    format!("{instance}.{kind}")
}

/// Several processes may notice the same end.
fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    make_folder(folder)?;
    let new = folder.join(format!(".new-{}", random_hex(6)?));
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&new, folder.join(name)));
    written.inspect_err(|_| drop(fs::remove_file(&new)))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// The last so many lines, and whether something comes before them.
pub(crate) fn tail(bytes: &[u8], lines: Option<u64>) -> (&[u8], bool) {
    let Some(mut wanted) = lines else {
        return (bytes, false);
    };
    // The newline at the very end belongs to the last line.
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    for (at, byte) in body.iter().enumerate().rev() {
        if *byte == b'\n' {
            wanted = wanted.saturating_sub(1);
            if wanted == 0 {
                return (&bytes[at + 1..], true);
            }
        }
    }
    (bytes, false)
}

/// What comes before the last so many lines.
pub(crate) fn without_newest(bytes: &[u8], lines: u64) -> &[u8] {
    if lines == 0 {
        return bytes;
    }
    let (newest, _) = tail(bytes, Some(lines));
    &bytes[..bytes.len() - newest.len()]
}

/// How many lines there are, the last one finished or not.
pub(crate) fn count(bytes: &[u8]) -> u64 {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    match bytes {
        b"" => 0,
        _ => 1 + body.iter().filter(|byte| **byte == b'\n').count() as u64,
    }
}

/// The last whole lines that have no more than so many bytes together.
pub(crate) fn bounded(bytes: &[u8], most: usize) -> (&[u8], bool) {
    if bytes.len() <= most {
        return (bytes, false);
    }
    let end = &bytes[bytes.len() - most..];
    match end.iter().position(|byte| *byte == b'\n') {
        Some(at) if at + 1 < end.len() => (&end[at + 1..], true),
        _ => (without_partial_start(end), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_has_whole_lines() {
        let log = b"one\ntwo\nthree\n";
        assert_eq!(tail(log, Some(1)), (&b"three\n"[..], true));
        assert_eq!(tail(log, Some(3)), (&log[..], false));
        assert_eq!(tail(log, None), (&log[..], false));
        assert_eq!(tail(b"a\nb", Some(1)), (&b"b"[..], true));
        assert_eq!(tail(b"", Some(1)), (&b""[..], false));
        assert_eq!(tail(b"\n\n", Some(1)), (&b"\n"[..], true));
        assert_eq!(without_newest(log, 0), log);
        assert_eq!(without_newest(log, 1), b"one\ntwo\n");
        assert_eq!(without_newest(log, 3), b"");
        assert_eq!(without_newest(log, 9), b"");
        assert_eq!(
            [b"" as &[u8], b"\n", b"a", b"a\nb", log].map(count),
            [0, 1, 1, 2, 3]
        );
        assert_eq!(bounded(log, 8), (&b"three\n"[..], true));
        assert_eq!(bounded(log, 3), (&b"ee\n"[..], true));
        assert_eq!(bounded(log, 100), (&log[..], false));
    }
}
