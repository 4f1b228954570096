use std::path::Path;

use async_trait::async_trait;
use pyro_api::operations::shell_attach::ShellAttach;
use pyro_api::operations::try_out::{TriedOut, TryOut, git_apply};
use pyro_api::operations::workspace_create::WorkspaceCreate;
use pyro_api::operations::workspace_diff::WorkspaceDiff;
use pyro_api::operations::workspace_exec::WorkspaceExec;
use pyro_api::values::NetworkPolicy;
use pyro_api::{Caller, Error, ErrorCode, Event, Handle, Operation};
use serde_json::{Value, json};

use crate::Engine;

#[async_trait]
impl Handle<TryOut> for Engine {
    async fn handle(&self, asked: TryOut, caller: &Caller) -> Result<TriedOut, Error> {
        asked.check()?;
        let wants_shell = asked.command.is_none();
        if wants_shell && caller.terminal().is_none() {
            return Err(no_shell());
        }
        if !wants_shell {
            // Not worth a copy for what is refused.
            asked.terminal.wanted(caller)?;
        }
        let mut create: WorkspaceCreate = from_json(json!({ "environment": asked.environment }))?;
        create.seed_path = Some(asked.path.clone());
        create.mem_mib = asked.mem_mib;
        create.exclude = asked.exclude;
        create.gitignore = asked.gitignore;
        create.isolation = asked.isolation;
        if asked.network {
            create.network_policy = NetworkPolicy::Egress;
        }
        let made = self.create_workspace(&create, caller).await?;
        let id = made.workspace_id;
        // Whoever is interrupted from here on knows where the copy is.
        let _ = caller.emit(Event::Note(format!(
            "a copy of `{}` is in /workspace of workspace {id}",
            asked.path.display()
        )));
        let mut left = Left {
            id: Some(&id),
            path: &asked.path,
            caller,
        };
        let (mut command, mut shell) = (None, None);
        if wants_shell {
            let _ = caller.emit(Event::Note(
                "`exit` ends this shell and shows what changed".to_owned(),
            ));
            let attach: ShellAttach = from_json(json!({ "workspace_id": id }))?;
            tokio::select! {
                biased;
                attached = self.attach_shell(attach, caller) => shell = Some(attached?),
                () = caller.interrupted() => {}
            }
        } else {
            let mut exec: WorkspaceExec = from_json(json!({ "workspace_id": id, "command": "" }))?;
            exec.terminal = asked.terminal;
            exec.command = asked.command;
            exec.timeout_seconds = asked.timeout_seconds;
            let caller = caller.clone().ending_when_interrupted();
            command = Some(self.exec_in_workspace(&exec, &caller).await?);
        }
        let diff: WorkspaceDiff = from_json(json!({ "workspace_id": id }))?;
        let changes = self.handle(diff, caller).await?;
        let is_left = shell.as_ref().is_some_and(|shell| shell.detached);
        let deleted = !changes.changes_work() && !is_left;
        if deleted {
            self.delete_workspace(&id).await?;
        }
        left.id = None;
        drop(left);
        Ok(TriedOut {
            workspace_id: id,
            is_folder: asked.path.is_dir(),
            path: asked.path.to_string_lossy().into_owned(),
            command,
            shell,
            changes,
            deleted,
        })
    }
}

/// A copy that nobody has told of yet: whoever leaves, or is turned away, before what changed is told
/// learns how to come by it.
struct Left<'a> {
    id: Option<&'a str>,
    /// What was copied.
    path: &'a Path,
    caller: &'a Caller,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let apply = match self.path.is_dir() {
            true => git_apply(&self.path.to_string_lossy()),
            false => None,
        };
        let take = match apply {
            Some(apply) => {
                format!(", `pyro workspace diff {id} --binary | {apply}` applies it")
            }
            None => String::new(),
        };
        let _ = self.caller.emit(Event::Note(format!(
            "workspace {id} was kept: `pyro workspace diff {id}` shows what changed{take}, `pyro \
             workspace delete {id}` deletes it"
        )));
    }
}

/// An operation with these arguments; the others are as for whoever leaves them out.
fn from_json<O: Operation>(arguments: Value) -> Result<O, Error> {
    serde_json::from_value(arguments).map_err(|error| {
        Error::new(ErrorCode::Internal, "Internal error in pyro").caused_by(&error)
    })
}

fn no_shell() -> Error {
    Error::new(
        ErrorCode::InvalidArgument,
        "A shell needs a terminal, but standard input and output are not one",
    )
    .hint("Give a command after `--`, as in `pyro try . -- make test`")
}
