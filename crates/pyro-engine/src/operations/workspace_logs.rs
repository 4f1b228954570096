use std::time::{Duration, Instant};

use pyro_api::operations::workspace_logs::{LogEntry, LogEvent, Logged, WorkspaceLogs};
use pyro_api::values::{ReadBytes, more_memory};
use pyro_api::{Caller, Error, Handle, Operation, Stream};

use crate::Engine;
use crate::answers::{self, Budget};
use crate::error::host_io;
use crate::machine::now;
use crate::machine::output::{without_partial_end, without_partial_start};
use crate::store::{Command, StoredWorkspace};
use crate::workspace::errors::unknown_command;
use crate::workspace::folder::{WorkspaceFolder, output_name};
use crate::workspace::jobs::follow::{self, JobStatus, end_of};
use crate::workspace::log_files;

/// How much of each stream is shown when one command is asked for, and when many are.
const SINGLE_BYTES: u32 = 65_536;
const SINGLE_BYTES_FOR_MODEL: u32 = 24 * 1024;
const LISTED_BYTES: u32 = 4096;

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
        if let Some(sequence) = asked.sequence {
            // Numbers begin anew with each reset; the newest is meant.
            commands.retain(|command| command.sequence == sequence);
            commands.drain(..commands.len().saturating_sub(1));
            if commands.is_empty() {
                return Err(unknown_command(&id, sequence, total));
            }
            if caller.is_model() {
                events.clear();
            }
        }
        let happened = newest_first(commands, events);
        let part = part(&folder, happened, &asked, caller)?;
        let mem_mib = stored.record.mem_mib;
        let out_of_memory = part.entries.iter().any(|entry| entry.oom_killed);
        Ok(Logged {
            count: part.entries.len(),
            total,
            entries: part.entries,
            events: part.events,
            next_skip: part.next_skip,
            mem_mib,
            advice: out_of_memory.then(|| more_memory(mem_mib)),
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
        let there = folder.job_bytes(job.job);
        let seen = [0, 1].map(|stream| match seen[stream] {
            // Behind what is kept there is nothing to see.
            log_files::CAP.. => u64::MAX,
            // What is not there yet was not seen, whatever the other stream holds.
            at => at.min(there[stream]),
        });
        let vm = folder.vm(job.generation);
        if let JobStatus::Lost = follow::wait(&vm, &folder, job.job, seen, Some(until)).await {
            self.end_job(stored, job, None)?;
        }
        Ok(())
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

fn entry(
    folder: &WorkspaceFolder,
    command: Command,
    asked: &WorkspaceLogs,
    length: u64,
) -> Result<LogEntry, Error> {
    let offset = asked.offset;
    let stderr_offset = asked.stderr_offset.unwrap_or(offset);
    // Whoever goes on from where a stream ended for now has a place in each.
    let by_stream = command.running || asked.stderr_offset.is_some();
    let read = |stream: Stream, offset, written: u64| {
        let path = folder.output_of(&command, stream);
        let (mut bytes, kept) = log_files::read(&path, offset, length)
            .map_err(|error| host_io("The output of a command could not be read", &error))?;
        let whole = without_partial_end(&bytes).len();
        // A character that is cut comes with the next part, unless there is nothing else of it.
        if by_stream && whole > 0 && (command.running || bytes.len() as u64 == length) {
            bytes.truncate(whole);
        }
        let mut end = offset.saturating_add(bytes.len() as u64);
        let ended = !command.running && kept < written && offset < written;
        let mut left_out = false;
        if ended && offset.saturating_add(length) >= kept {
            let found = command.job.and_then(|job| folder.job_end(job));
            let tails = found.map(|end| end.tails).unwrap_or_default();
            let tail = end_of(&tails[stream as usize], length.min(written - kept));
            if !tail.is_empty() {
                let gap = written - kept - tail.len() as u64;
                if gap > 0 {
                    bytes.extend_from_slice(format!("\n[… {gap} bytes left out …]\n").as_bytes());
                }
                bytes.extend_from_slice(without_partial_start(tail));
                (end, left_out) = (written, gap > 0);
            }
        }
        Ok::<_, Error>((bytes, kept, end, left_out))
    };
    let (stdout, stdout_kept_bytes, stdout_end, stdout_gap) =
        read(Stream::Stdout, offset, command.stdout_bytes)?;
    let (stderr, stderr_kept_bytes, stderr_end, stderr_gap) =
        read(Stream::Stderr, stderr_offset, command.stderr_bytes)?;
    let ends = [stdout_end, stderr_end];
    let (next_offset, next_stderr_offset) = if by_stream {
        let rest = ends[0] < stdout_kept_bytes || ends[1] < stderr_kept_bytes;
        // Not behind what there is: nothing of what comes is left out.
        let next = |end: u64, kept| match command.running {
            true => Some(end.min(kept)),
            false => rest.then_some(end),
        };
        (
            next(ends[0], stdout_kept_bytes),
            next(ends[1], stderr_kept_bytes),
        )
    } else {
        let end = offset.saturating_add(length);
        let rest = end < stdout_kept_bytes.max(stderr_kept_bytes);
        (rest.then_some(end), None)
    };
    let [stdout_bytes, stderr_bytes] = match command.running {
        true => [stdout_kept_bytes, stderr_kept_bytes],
        false => [command.stdout_bytes, command.stderr_bytes],
    };
    let duration_ms = match command.running {
        true => ((now() - command.recorded_at).max(0.0) * 1000.0) as u64,
        false => command.duration_ms,
    };
    Ok(LogEntry {
        sequence: command.sequence,
        cwd: command.cwd,
        exit_code: (!command.running).then_some(command.exit_code),
        duration_ms,
        execution_mode: command.execution_mode,
        stdout_file: output_name(command.sequence, Stream::Stdout),
        stderr_file: output_name(command.sequence, Stream::Stderr),
        recorded_at: command.recorded_at,
        stdout_truncated: stdout_gap || ends[0] < stdout_bytes,
        stderr_truncated: stderr_gap || ends[1] < stderr_bytes,
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        timed_out: command.timed_out,
        oom_killed: command.oom_killed,
        signal: command.signal,
        stdout_bytes,
        stderr_bytes,
        stdout_kept_bytes,
        stderr_kept_bytes,
        next_offset,
        next_stderr_offset,
        reset_count: command.reset_count,
        running: command.running,
        ended_because: command.ended_because,
        command: command.command,
    })
}
