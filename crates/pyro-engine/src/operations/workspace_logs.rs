use pyro_api::operations::workspace_logs::{LogEntry, LogEvent, Logged, WorkspaceLogs};
use pyro_api::values::ReadBytes;
use pyro_api::{Caller, Error, Handle, Stream};

use crate::Engine;
use crate::answers::{self, Room};
use crate::error::host_io;
use crate::store::Command;
use crate::workspace::folder::{WorkspaceFolder, output_name};
use crate::workspace::log_files;

/// How much of each stream is shown when one command is asked for, and when many are.
const OF_ONE: u32 = 65_536;
const OF_ONE_FOR_A_MODEL: u32 = 24 * 1024;
const OF_MANY: u32 = 4096;

impl Handle<WorkspaceLogs> for Engine {
    async fn handle(&self, asked: WorkspaceLogs, caller: &Caller) -> Result<Logged, Error> {
        let id = self
            .find_workspace(&asked.workspace_id)?
            .record
            .workspace_id;
        let folder = self.workspace_folder(&id);
        let mut commands = self.store()?.commands(&id)?;
        let total = commands.len();
        let mut events = self.store()?.events(&id)?;
        if let Some(sequence) = asked.sequence {
            // Numbers begin anew with each reset; the newest is meant.
            commands.retain(|command| command.sequence == sequence);
            commands.drain(..commands.len().saturating_sub(1));
            if commands.is_empty() {
                return Err(
                    Error::invalid(format!("Workspace `{id}` has no command {sequence}"))
                        .because(format!("{total} commands have ended in it"))
                        .hint("Leave `sequence` out to see them all"),
                );
            }
            if caller.is_model() {
                events.clear();
            }
        }
        let happened = newest_first(commands, events);
        let part = part(&folder, happened, &asked, caller)?;
        Ok(Logged {
            count: part.entries.len(),
            total,
            entries: part.entries,
            events: part.events,
            next_skip: part.next_skip,
            workspace_id: id,
        })
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
        (None, Some(_)) if caller.is_model() => OF_ONE_FOR_A_MODEL,
        (None, Some(_)) => OF_ONE,
        (None, None) => OF_MANY,
    };
    let last = asked.last.map_or(usize::MAX, |last| last as usize);
    let mut room = match asked.sequence {
        Some(_) => Room::endless(),
        None => Room::of(caller),
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
                let mut entry = entry(folder, *command, asked.offset, each.into())?;
                entry.command = match asked.sequence {
                    Some(_) => answers::at_most(caller, entry.command, each as usize),
                    None => answers::words_of_many(caller, entry.command),
                };
                let fits = room.takes(&entry);
                if fits {
                    shown.entries.push(entry);
                }
                fits
            }
            Happened::Event(event) => {
                let fits = room.takes(&event);
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
    offset: u64,
    length: u64,
) -> Result<LogEntry, Error> {
    let read = |stream| {
        let path = folder.output(command.reset_count, command.sequence, stream);
        log_files::read(&path, offset, length)
            .map_err(|error| host_io("The output of a command could not be read", &error))
    };
    let (stdout, stdout_kept_bytes) = read(Stream::Stdout)?;
    let (stderr, stderr_kept_bytes) = read(Stream::Stderr)?;
    let end = offset.saturating_add(length);
    let next_offset = (end < stdout_kept_bytes.max(stderr_kept_bytes)).then_some(end);
    let more = |shown: &[u8], bytes: u64| offset.saturating_add(shown.len() as u64) < bytes;
    Ok(LogEntry {
        sequence: command.sequence,
        cwd: command.cwd,
        exit_code: command.exit_code,
        duration_ms: command.duration_ms,
        execution_mode: command.execution_mode,
        stdout_file: output_name(command.sequence, Stream::Stdout),
        stderr_file: output_name(command.sequence, Stream::Stderr),
        recorded_at: command.recorded_at,
        stdout_truncated: more(&stdout, command.stdout_bytes),
        stderr_truncated: more(&stderr, command.stderr_bytes),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        timed_out: command.timed_out,
        oom_killed: command.oom_killed,
        signal: command.signal,
        stdout_bytes: command.stdout_bytes,
        stderr_bytes: command.stderr_bytes,
        stdout_kept_bytes,
        stderr_kept_bytes,
        next_offset,
        reset_count: command.reset_count,
        command: command.command,
    })
}
