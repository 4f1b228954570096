use async_trait::async_trait;
use pyro_api::operations::workspace_diff::{CommitsMade, Differences, WorkspaceDiff};
use pyro_api::{Caller, Error, ErrorCode, Handle, Operation};
use pyro_disk::TreeError;
use pyro_patch::MAX_FILE;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::Engine;
use crate::answers;
use crate::error::broke;
use crate::store::StoredWorkspace;
use crate::workspace::at_rest::reader_gone;
use crate::workspace::commits::{self, BaselineRefs, MAX_REPOSITORIES, Mails, Repository};
use crate::workspace::connect::Connected;
use crate::workspace::differences::{DiffPage, max_bytes};
use crate::workspace::display::shown_absolute;
use crate::workspace::repository_prefix::SEED_IN_REPOSITORY;
use crate::workspace::{differences, files};

/// How many differences wait to be looked at.
const AHEAD: usize = 4;

#[async_trait]
impl Handle<WorkspaceDiff> for Engine {
    async fn handle(&self, asked: WorkspaceDiff, caller: &Caller) -> Result<Differences, Error> {
        asked.check()?;
        let doing = "compare its files";
        let Connected {
            stored,
            stream,
            started,
        } = self
            .connect_files(&asked.workspace_id, doing, caller)
            .await?;
        let id = stored.record.workspace_id.clone();
        let what = format!("The changes of workspace `{id}` could not be determined");
        let prefix = prefix(&asked, &stored, caller);
        let part = match asked.commits {
            Some(_) => DiffPage::nothing(),
            None => DiffPage::of(&asked, prefix.clone(), caller),
        };
        let chosen = asked.commits.as_deref().map(commits::name).transpose()?;
        let read = self.baseline_of(&stored)?;
        let (to, mut from) = mpsc::channel(AHEAD);
        let compare = move || {
            let tree = read()?;
            let changed = std::iter::from_fn(|| from.blocking_recv());
            let compared = differences::compare(changed, &tree, part)?;
            let mut wanted: Vec<&Repository> = compared.repositories.iter().collect();
            match chosen {
                Some(name) => wanted.retain(|repository| repository.name() == name),
                None => wanted.truncate(MAX_REPOSITORIES),
            }
            let repositories = wanted.into_iter().map(|repository| {
                let baseline = BaselineRefs::read(&tree, &repository.folder)?;
                Ok((repository.clone(), baseline))
            });
            let repositories = repositories.collect::<Result<Vec<_>, TreeError>>()?;
            Ok::<_, TreeError>((compared, repositories))
        };
        let comparing = tokio::task::spawn_blocking(compare);
        let skipped = files::diff(stream, MAX_FILE as u64, to)
            .await
            .map_err(|error| self.files_failed(&stored, &what, doing, error))?;
        let (compared, repositories) =
            comparing
                .await
                .map_err(|error| broke(&error))?
                .map_err(|error| {
                    self.if_deleted(&id, doing)
                        .or_else(|| reader_gone(&what, &error))
                        .unwrap_or_else(|| {
                            Error::new(ErrorCode::Damaged, what)
                            .because(
                                "its first state cannot be read from the disk layers on this host",
                            )
                            .caused_by(&error)
                            .hint(
                                "`pyro workspace export` (`workspace_export`) can still copy its \
                                 files out",
                            )
                        })
                })?;
        if let Some(folder) = &asked.commits {
            commits::check_chosen(&compared.repositories, folder)?;
        }
        let mut made = Vec::new();
        // The first part tells of them.
        if asked.commits.is_some() || asked.skip == 0 {
            let until = Instant::now()
                + match asked.commits {
                    Some(_) => commits::REPOSITORY_TIMEOUT,
                    None => commits::TOTAL_TIMEOUT,
                };
            for (repository, baseline) in &repositories {
                made.push(
                    self.commits_made(&stored, repository, baseline, until)
                        .await,
                );
            }
        }
        let shown = match &asked.commits {
            Some(_) => {
                made.iter().try_for_each(commits::check_known)?;
                self.mails(&asked, &stored, repositories.first(), prefix, caller)
                    .await?
            }
            None => Shown {
                bytes: compared.patch,
                truncated: compared.truncated,
                complete: compared.complete,
                next_skip: compared.next_skip,
                empty_commits: 0,
                prefix,
            },
        };
        self.touch_workspace(&id)?;
        Ok(Differences {
            workspace_id: id,
            changed: compared.summary.total > 0,
            summary: compared.summary,
            entries: compared.entries,
            patch: String::from_utf8_lossy(&shown.bytes).into_owned(),
            patch_truncated: shown.truncated,
            patch_complete: shown.complete,
            commits: made.into_iter().filter(tells_something).collect(),
            repositories_left_out: match asked.commits {
                None if asked.skip == 0 => {
                    compared.repositories.len().saturating_sub(MAX_REPOSITORIES) as u64
                }
                _ => 0,
            },
            next_skip: shown.next_skip,
            skipped: answers::names(
                caller,
                skipped.iter().map(|name| shown_absolute(name)).collect(),
            ),
            workspace_started: started,
            bytes: shown.bytes,
            prefix: shown.prefix,
            first: asked.skip,
            empty_commits: shown.empty_commits,
            is_mailbox: asked.commits.is_some(),
        })
    }
}

/// What is to be applied, and how much of it this is.
struct Shown {
    bytes: Vec<u8>,
    truncated: bool,
    complete: bool,
    next_skip: Option<u64>,
    empty_commits: u64,
    prefix: String,
}

impl Engine {
    /// The commits of one repository.
    async fn mails(
        &self,
        asked: &WorkspaceDiff,
        stored: &StoredWorkspace,
        chosen: Option<&(Repository, BaselineRefs)>,
        prefix: String,
        caller: &Caller,
    ) -> Result<Shown, Error> {
        let Mails {
            bytes,
            next_skip,
            empty,
        } = match chosen {
            Some((repository, baseline)) => {
                let room = max_bytes(asked, caller);
                self.mailbox(stored, repository, baseline, asked.skip, room)
                    .await?
            }
            None => Mails::default(),
        };
        Ok(Shown {
            bytes,
            truncated: next_skip.is_some(),
            complete: asked.skip == 0 && next_skip.is_none(),
            next_skip,
            empty_commits: empty,
            prefix,
        })
    }
}

/// What names of a patch begin with. A model reads them as it does all others, from `/workspace` on.
fn prefix(asked: &WorkspaceDiff, stored: &StoredWorkspace, caller: &Caller) -> String {
    let of_seed = stored.record.metadata.get(SEED_IN_REPOSITORY);
    let remembered = of_seed.filter(|_| !caller.is_model());
    let prefix = asked.prefix.as_ref().or(remembered);
    let prefix = prefix.map_or("", String::as_str);
    match prefix.trim_matches('/') {
        "" => String::new(),
        folder => format!("{folder}/"),
    }
}

fn tells_something(made: &CommitsMade) -> bool {
    made.count + made.merges + made.elsewhere > 0
        || made.rewritten
        || made.unknown_because.is_some()
}
