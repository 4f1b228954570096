use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pyro_api::operations::workspace_logs::{LogEntry, LogEvent, Logged, WorkspaceLogs};
use pyro_api::values::{ContentEncoding, ReadBytes, more_memory};
use pyro_api::{Caller, Error, Handle, Operation, Stream};

use crate::Engine;
use crate::answers::{self, Budget};
use crate::error::host_io;
use crate::machine::now;
use crate::machine::output::{encoded, without_partial_end, without_partial_start};
use crate::store::{Command, StoredWorkspace};
use crate::workspace::advice::advice as how_to_go_on;
use crate::workspace::errors::unknown_command;
use crate::workspace::folder::WorkspaceFolder;
use crate::workspace::jobs::follow::{self, JobStatus, end_of};
use crate::workspace::log_files;

/// How much of each stream is shown when one command is asked for, and when many are.
const SINGLE_BYTES: u32 = 65_536;
const SINGLE_BYTES_FOR_MODEL: u32 = 24 * 1024;
const LISTED_BYTES: u32 = 4096;

/// In bytes of UTF-8.
const LONGEST_CHARACTER: u64 = 4;

#[async_trait]
impl Handle<WorkspaceLogs> for Engine {
    async fn handle(&self, asked: WorkspaceLogs, caller: &Caller) -> Result<Logged, Error> {
        asked.check()?;
        let stored = self.find_workspace(&asked.workspace_id)?;
        let id = stored.record.workspace_id.clone();
        let folder = self.workspace_folder(&id);
        self.wait_for_news(&stored, &asked, caller).await?;
        // It may have ended.
        self.with_jobs_asked(self.reload_workspace(&id)?).await?;
        let mut commands = self.store()?.commands(&id)?;
        let total = commands.len();
        let mut events = self.store()?.events(&id)?;
        let mem_mib = stored.record.mem_mib;
        let mut advice = None;
        if let Some(sequence) = asked.sequence {
            // Where an older pyro counted anew after a reset, the newest is meant.
            commands.retain(|command| command.sequence == sequence);
            commands.drain(..commands.len().saturating_sub(1));
            if commands.is_empty() {
                return Err(unknown_command(&id, sequence, total));
            }
            advice = commands
                .first()
                .and_then(|one| how_to_go_on(&folder, mem_mib, one));
            events.clear();
        }
        let happened = newest_first(commands, events);
        let part = part(&folder, happened, &asked, caller)?;
        let out_of_memory = part.entries.iter().any(|entry| entry.oom_killed);
        Ok(Logged {
            count: part.entries.len(),
            total,
            entries: part.entries,
            events: part.events,
            next_skip: part.next_skip,
            mem_mib,
            advice: advice.or_else(|| out_of_memory.then(|| more_memory(mem_mib))),
            workspace_id: id,
        })
    }
}

impl Engine {
    /// Waits for a command that runs, as long as was asked.
    async fn wait_for_news(
        &self,
        stored: &StoredWorkspace,
        asked: &WorkspaceLogs,
        caller: &Caller,
    ) -> Result<(), Error> {
        let (Some(sequence), Some(wait)) = (asked.sequence, asked.wait_seconds) else {
            return Ok(());
        };
        let Some(job) = stored.jobs.iter().rfind(|job| job.sequence == sequence) else {
            return Ok(());
        };
        let until = Instant::now() + Duration::from_secs(wait.get().into());
        let until = caller.deadline().map_or(until, |by| by.min(until));
        let folder = self.workspace_folder(&stored.record.workspace_id);
        let seen = [asked.offset, asked.stderr_offset.unwrap_or(asked.offset)];
        let seen = [Stream::Stdout, Stream::Stderr].map(|stream| {
            let path = folder.job_output(job.job, stream);
            seen_to(&path, seen[stream as usize], asked.encoding)
        });
        let vm = folder.vm(job.generation);
        if let JobStatus::Lost = follow::wait(&vm, &folder, job.job, seen, Some(until)).await {
            self.end_job(stored, job, None)?;
        }
        Ok(())
    }
}

/// To where the output of a command that runs was seen by who goes on at `offset`.
fn seen_to(output: &Path, offset: u64, encoding: ContentEncoding) -> u64 {
    // Behind what is kept there is nothing to see.
    if offset >= log_files::CAP {
        return u64::MAX;
    }
    let is_text = encoding == ContentEncoding::Utf8;
    match log_files::read(output, offset, LONGEST_CHARACTER) {
        // What is not there yet was not seen, whatever the other stream holds.
        Ok((news, there)) if news.is_empty() => there,
        // It is not shown before it is whole.
        Ok((news, there)) if is_text && without_partial_end(&news).is_empty() => there,
        _ => offset,
    }
}

/// What happened in a workspace or to it.
enum Happened {
    Command(Box<Command>),
    Event(LogEvent),
}

fn newest_first(commands: Vec<Command>, events: Vec<LogEvent>) -> Vec<Happened> {
    let mut commands = commands.into_iter().rev().peekable();
    let mut events = events.into_iter().rev().peekable();
    // Each is in its own order already, whatever a clock did meanwhile.
    std::iter::from_fn(|| match (commands.peek(), events.peek()) {
        (Some(command), Some(event)) if command.recorded_at < event.at => {
            events.next().map(Happened::Event)
        }
        (Some(_), _) => commands.next().map(Box::new).map(Happened::Command),
        (None, _) => events.next().map(Happened::Event),
    })
    .collect()
}

/// What one answer holds, oldest first.
#[derive(Default)]
struct Shown {
    entries: Vec<LogEntry>,
    events: Vec<LogEvent>,
    next_skip: Option<u64>,
}

fn part(
    folder: &WorkspaceFolder,
    happened: Vec<Happened>,
    asked: &WorkspaceLogs,
    caller: &Caller,
) -> Result<Shown, Error> {
    let each = match (asked.max_bytes.map(ReadBytes::get), asked.sequence) {
        (Some(bytes), _) => bytes,
        (None, Some(_)) if caller.is_model() => SINGLE_BYTES_FOR_MODEL,
        (None, Some(_)) => SINGLE_BYTES,
        (None, None) => LISTED_BYTES,
    };
    let last = asked.last.map_or(usize::MAX, |last| last as usize);
    let mut budget = match asked.sequence {
        Some(_) => Budget::unlimited(),
        None => Budget::of(caller),
    };
    let mut shown = Shown::default();
    let skip = usize::try_from(asked.skip).unwrap_or(usize::MAX);
    for (at, one) in happened.into_iter().enumerate().skip(skip) {
        let fits = match one {
            Happened::Command(_) if shown.entries.len() == last => {
                if caller.is_model() {
                    shown.next_skip = Some(at as u64);
                    break;
                }
                // Others get all events, as there were commands enough.
                continue;
            }
            Happened::Command(command) => {
                let mut entry = entry(folder, *command, asked, each.into())?;
                entry.command = match asked.sequence {
                    Some(_) => answers::at_most(caller, entry.command, each as usize),
                    None => answers::list_excerpt(caller, entry.command),
                };
                let fits = budget.fits(&entry);
                if fits {
                    shown.entries.push(entry);
                }
                fits
            }
            Happened::Event(event) => {
                let fits = budget.fits(&event);
                if fits {
                    shown.events.push(event);
                }
                fits
            }
        };
        if !fits {
            shown.next_skip = Some(at as u64);
            break;
        }
    }
    shown.entries.reverse();
    shown.events.reverse();
    Ok(shown)
}

/// What is shown of one stream of a command.
struct Piece {
    bytes: Vec<u8>,
    /// Where it ends.
    end: u64,
    /// Whether something between the beginning and the end of it is not there.
    has_gap: bool,
    /// How much of the stream is in its file.
    kept: u64,
}

/// From `offset` on, at most so long.
fn piece(
    folder: &WorkspaceFolder,
    command: &Command,
    stream: Stream,
    (offset, length): (u64, u64),
    encoding: ContentEncoding,
) -> Result<Piece, Error> {
    let path = folder.output_of(command, stream);
    let (mut bytes, kept) = log_files::read(&path, offset, length)
        .map_err(|error| host_io("The output of a command could not be read", &error))?;
    let written = match stream {
        Stream::Stdout => command.stdout_bytes,
        Stream::Stderr => command.stderr_bytes,
    };
    let has_more = !command.running && kept < written && offset < written;
    let reaches_end = has_more && offset.saturating_add(length) >= kept;
    let is_full = bytes.len() as u64 == length;
    let whole = without_partial_end(&bytes).len();
    // A character that is cut comes with the next piece, unless there is no room for more than that.
    let is_cut = is_full && whole > 0 && !reaches_end || command.running && !is_full;
    if is_cut && encoding == ContentEncoding::Utf8 {
        bytes.truncate(whole);
    }
    let mut piece = Piece {
        end: offset.saturating_add(bytes.len() as u64),
        bytes,
        has_gap: false,
        kept,
    };
    if reaches_end {
        let end = command.job.and_then(|job| folder.job_end(job));
        let tails = end.map(|end| end.tails).unwrap_or_default();
        piece.add_end(&tails[stream as usize], written, length, encoding);
    }
    Ok(piece)
}

impl Piece {
    /// Adds what is known of the end, which is behind what was kept.
    fn add_end(&mut self, tail: &[u8], written: u64, length: u64, encoding: ContentEncoding) {
        let tail = end_of(tail, length.min(written - self.kept));
        let gap = written - self.kept - tail.len() as u64;
        // Whoever asks for bytes gets none that the command did not write there.
        if tail.is_empty() || (gap > 0 && encoding == ContentEncoding::Base64) {
            return;
        }
        if gap > 0 {
            self.bytes.truncate(without_partial_end(&self.bytes).len());
            let told = format!("\n[… {gap} bytes left out …]\n");
            self.bytes.extend_from_slice(told.as_bytes());
            self.bytes.extend_from_slice(without_partial_start(tail));
        } else {
            self.bytes.extend_from_slice(tail);
        }
        (self.end, self.has_gap) = (written, gap > 0);
    }
}

fn entry(
    folder: &WorkspaceFolder,
    command: Command,
    asked: &WorkspaceLogs,
    length: u64,
) -> Result<LogEntry, Error> {
    let read = |stream, offset| piece(folder, &command, stream, (offset, length), asked.encoding);
    let stdout = read(Stream::Stdout, asked.offset)?;
    let stderr = read(Stream::Stderr, asked.stderr_offset.unwrap_or(asked.offset))?;
    let (next_offset, next_stderr_offset) = match command.running {
        // Not behind what there is: nothing of what comes is left out.
        true => (
            Some(stdout.end.min(stdout.kept)),
            Some(stderr.end.min(stderr.kept)),
        ),
        false => {
            let stdout_is_over = stdout.end >= stdout.kept;
            let is_over = stdout_is_over && stderr.end >= stderr.kept;
            // Who goes on with one place for both comes to the rest of standard error.
            let next = match stdout_is_over {
                true => stdout.end.max(stderr.end),
                false => stdout.end,
            };
            ((!is_over).then_some(next), (!is_over).then_some(stderr.end))
        }
    };
    let [stdout_bytes, stderr_bytes] = match command.running {
        true => [stdout.kept, stderr.kept],
        false => [command.stdout_bytes, command.stderr_bytes],
    };
    let (stdout_text, stdout_encoding) = encoded(&stdout.bytes, asked.encoding);
    let (stderr_text, stderr_encoding) = encoded(&stderr.bytes, asked.encoding);
    Ok(LogEntry {
        sequence: command.sequence,
        exit_code: (!command.running).then_some(command.exit_code),
        duration_ms: command.lasted_ms(now()),
        execution_mode: command.execution_mode,
        stdout_file: folder.output_name_of(&command, Stream::Stdout),
        stderr_file: folder.output_name_of(&command, Stream::Stderr),
        recorded_at: command.recorded_at,
        stdout_truncated: stdout.has_gap || stdout.end < stdout_bytes,
        stderr_truncated: stderr.has_gap || stderr.end < stderr_bytes,
        stdout: stdout_text,
        stderr: stderr_text,
        stdout_encoding,
        stderr_encoding,
        timed_out: command.timed_out,
        oom_killed: command.oom_killed,
        signal: command.signal,
        stdout_bytes,
        stderr_bytes,
        stdout_kept_bytes: stdout.kept,
        stderr_kept_bytes: stderr.kept,
        next_offset,
        next_stderr_offset,
        reset_count: command.reset_count,
        running: command.running,
        ended_because: command.ended_because,
        cwd: command.cwd,
        command: command.command,
        bytes: [stdout.bytes, stderr.bytes],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_end(tail: &[u8], written: u64, encoding: ContentEncoding) -> (Vec<u8>, u64, bool) {
        let mut piece = Piece {
            bytes: b"caf\xc3".to_vec(),
            end: 4,
            has_gap: false,
            kept: 4,
        };
        piece.add_end(tail, written, 100, encoding);
        (piece.bytes, piece.end, piece.has_gap)
    }

    #[test]
    fn the_end_behind_what_was_kept_joins_it_or_says_what_is_missing() {
        let (text, bytes) = (ContentEncoding::Utf8, ContentEncoding::Base64);
        let joined = ("caf\u{e9}s".as_bytes().to_vec(), 6, false);
        assert_eq!(with_end(b"\xa9s", 6, text), joined);
        assert_eq!(with_end(b"\xa9s", 6, bytes), joined);
        let (told, end, has_gap) = with_end(b"\xa9s", 9, text);
        let wanted = "caf\n[… 3 bytes left out …]\ns";
        assert_eq!(String::from_utf8(told).as_deref(), Ok(wanted));
        assert_eq!((end, has_gap), (9, true));
        assert_eq!(
            with_end(b"\xa9s", 9, bytes),
            (b"caf\xc3".to_vec(), 4, false)
        );
    }
}
