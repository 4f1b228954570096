//! Commits made in a guest: counted for whoever reviews, and taken out as a mailbox.
//!
//! The guest's git reads the guest's repositories, as what lies in one makes git run commands. What
//! it prints is data to this host, which only cuts it where one mail ends.

mod baseline_refs;
mod git_output;
mod repository;

use std::collections::BTreeSet;
use std::time::Duration;

use pyro_api::operations::workspace_diff::CommitsMade;
use pyro_api::values::{CommandLine, EnvVars, TimeoutSeconds};
use pyro_api::{Caller, Error, ErrorCode};
use tokio::time::{Instant, timeout_at};

pub(crate) use baseline_refs::BaselineRefs;
pub(crate) use git_output::Mails;
pub(crate) use repository::Repository;

use super::paths::GuestPath;
use crate::engine::Engine;
use crate::machine::command::{self, CommandError, CommandSpec};
use crate::machine::output::CapturedOutput;
use crate::store::StoredWorkspace;

const ASK: &str = include_str!("ask.sh");
const MADE: &str = include_str!("made.sh");
const MAILBOX: &str = include_str!("mailbox.sh");

/// Repositories whose commits are told.
pub(crate) const MAX_REPOSITORIES: usize = 16;
/// How long git may think about one repository whose commits are asked for, under emulation.
pub(crate) const REPOSITORY_TIMEOUT: Duration = Duration::from_secs(300);
/// How long it may about all of them where only their number is told.
pub(crate) const TOTAL_TIMEOUT: Duration = Duration::from_secs(20);
/// How much is read of what counts commits.
const MAX_COUNT_OUTPUT: usize = 64 * 1024;
/// The names of the commits in front of a mailbox, and a little to see where a mail ends.
const BESIDE_MAILS: usize = 16 * 1024 * 1024;
const BEHIND_MAIL: usize = 256;

/// What a script wrote.
struct ScriptOutput {
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Engine {
    /// What was committed in a repository that changed. That it cannot be known in time, or at
    /// all, is an answer too: the patch must not wait for it.
    pub(crate) async fn commits_made(
        &self,
        stored: &StoredWorkspace,
        repository: &Repository,
        baseline: &BaselineRefs,
        until: Instant,
    ) -> CommitsMade {
        let made = match baseline.unknown_because {
            Some(why) => git_output::unknown(why.to_owned()),
            None => {
                let [head, branch] =
                    [&baseline.head, &baseline.branch].map(|one| one.clone().unwrap_or_default());
                let output = self
                    .run_script(
                        stored,
                        MADE,
                        repository,
                        vec![head, branch],
                        baseline,
                        MAX_COUNT_OUTPUT,
                        until,
                    )
                    .await;
                match output {
                    Ok(output) => git_output::made(&output.out),
                    Err(why) => git_output::unknown(why),
                }
            }
        };
        CommitsMade {
            repository: repository.name(),
            ..made
        }
    }

    /// The commits of a repository as mails, as many as have room.
    pub(crate) async fn mailbox(
        &self,
        stored: &StoredWorkspace,
        repository: &Repository,
        baseline: &BaselineRefs,
        skip: u64,
        room: usize,
    ) -> Result<Mails, Error> {
        let failed = |why: String| {
            let name = repository.name();
            Error::new(
                ErrorCode::GuestIo,
                format!("The commits of `{name}` could not be printed"),
            )
            .because(why)
            .hint(
                "Run `git bundle create` in the guest with `pyro workspace exec` \
                 (`workspace_exec`), and copy the bundle out with `export`",
            )
        };
        let bytes = room + BEHIND_MAIL;
        let arguments = vec![skip.to_string(), bytes.to_string()];
        let output = self
            .run_script(
                stored,
                MAILBOX,
                repository,
                arguments,
                baseline,
                bytes + BESIDE_MAILS,
                Instant::now() + REPOSITORY_TIMEOUT,
            )
            .await
            .map_err(failed)?;
        let said = String::from_utf8_lossy(&output.err);
        let is_whole = said.lines().any(|line| line == "status 0");
        let mails = git_output::mails(&output.out, skip, room, is_whole);
        let broken_off = !is_whole && output.out.len() < bytes;
        match mails {
            Some(mails) if !broken_off => Ok(mails),
            _ => Err(failed(match said.lines().next() {
                Some(first) => format!("git in the guest reported: {first}"),
                None => "git in the guest returned an incomplete answer".to_owned(),
            })),
        }
    }

    /// Runs a script in the guest, which gets the repository and what it held. `Err`: why that came
    /// to nothing.
    #[expect(
        clippy::too_many_arguments,
        reason = "what is asked, of whom, and for how long"
    )]
    async fn run_script(
        &self,
        stored: &StoredWorkspace,
        script: &str,
        repository: &Repository,
        arguments: Vec<String>,
        baseline: &BaselineRefs,
        limit: usize,
        until: Instant,
    ) -> Result<ScriptOutput, String> {
        let script = [ASK, script].concat();
        let mut words: Vec<Vec<u8>> = ["sh", "-c", &script, "sh"]
            .map(|word| word.as_bytes().to_vec())
            .to_vec();
        words.push([b"./", repository.folder.as_slice()].concat());
        let rest = arguments.iter().chain(&baseline.tips);
        words.extend(rest.map(|word| word.as_bytes().to_vec()));
        // Both ends of what is kept are the beginning.
        let caller = Caller::new().keeping_output(2 * limit);
        let (command, env) = (CommandLine::Program(words), EnvVars::default());
        let left = until.saturating_duration_since(Instant::now());
        // The guest ends it, and this host waits no longer either way.
        let seconds = u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1);
        let time = TimeoutSeconds::new(seconds.into()).ok();
        let run = async {
            let line = self.reconnect(stored, "ask its git").await?;
            let spec = CommandSpec::of(&command, None, &env, time)?;
            Ok::<_, Error>(command::run(line, &spec, &caller).await)
        };
        let too_long = || "git in the guest did not answer in time".to_owned();
        let finished = match timeout_at(until, run).await {
            Err(_) => return Err(too_long()),
            Ok(Err(error)) => return Err(error.error),
            Ok(Ok(Err(CommandError::Refused { fault }))) => return Err(fault.message),
            Ok(Ok(Err(error))) => return Err(error.to_string()),
            Ok(Ok(Ok(finished))) => finished,
        };
        if finished.end.timed_out {
            return Err(too_long());
        }
        let whole = |kept: CapturedOutput| kept.into_bytes().unwrap_or_default();
        Ok(ScriptOutput {
            out: whole(finished.stdout),
            err: whole(finished.stderr),
        })
    }
}

/// How people write the repository in a folder.
pub(crate) fn name(folder: &str) -> Result<String, Error> {
    let path = GuestPath::parse_folder("repository", folder)?;
    Ok(match path.relative() {
        "" => ".".to_owned(),
        relative => relative.to_owned(),
    })
}

/// Refuses a folder without a repository that got objects, where others have one.
pub(crate) fn check_chosen(repositories: &BTreeSet<Repository>, folder: &str) -> Result<(), Error> {
    let name = name(folder)?;
    if repositories.is_empty()
        || repositories
            .iter()
            .any(|repository| repository.name() == name)
    {
        return Ok(());
    }
    let mut others: Vec<String> = repositories
        .iter()
        .take(MAX_REPOSITORIES)
        .map(Repository::name)
        .collect();
    if repositories.len() > others.len() {
        others.push("…".to_owned());
    }
    Err(Error::new(
        ErrorCode::UnknownFile,
        format!("There are no new commits in a repository `{folder}`"),
    )
    .hint(format!("New objects are in: {}", others.join(", "))))
}

/// Refuses a repository of which nothing is known.
pub(crate) fn check_known(made: &CommitsMade) -> Result<(), Error> {
    let Some(why) = &made.unknown_because else {
        return Ok(());
    };
    Err(Error::new(
        ErrorCode::ToolMissing,
        format!("The commits of `{}` cannot be printed", made.repository),
    )
    .because(why)
    .hint("Install git in the guest, or copy the repository's `.git` out with `export`"))
}
