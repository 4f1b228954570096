//! Opens a shell, in a VM that is started for it when it does not run.

use std::time::Duration;

use pyro_api::operations::shell_open::ShellOpen;
use pyro_api::values::{ExecutionMode, WORKSPACE_PATH};
use pyro_api::{Caller, Error};
use pyro_wire::agent::AgentRequest;
use pyro_wire::frame;
use pyro_wire::shells::{Shell, ShellOpen as Open, ShellReply, ShellRequest, Size};
use tokio::time::timeout;

use super::errors::only_in_guests;
use super::requests::{ShellContext, invalid_reply};
use crate::engine::Engine;
use crate::image_config;
use crate::machine::command::env_to_wire;
use crate::random::random_id;
use crate::store::StoredWorkspace;
use crate::workspace::connect::Connected;
use crate::workspace::errors::refused;
use crate::workspace::paths::GuestPath;

/// How long a guest may take to start one program.
const ANSWER: Duration = Duration::from_secs(30);

impl Engine {
    /// The shell, and whether its VM had to be started.
    pub(crate) async fn open_shell(
        &self,
        asked: &ShellOpen,
        for_person: bool,
        caller: &Caller,
    ) -> Result<(StoredWorkspace, Shell, bool), Error> {
        let found = self.find_workspace(&asked.workspace_id)?;
        let redactor = self.redactor(&found)?;
        let cwd = GuestPath::parse_folder("cwd", &asked.cwd)
            .map_err(|error| redactor.redact_error(error))?;
        self.check_secret_env(&found, &asked.secret_env)?;
        let found = found.record;
        if found.execution_mode == ExecutionMode::HostCompat {
            return Err(only_in_guests(&found.workspace_id));
        }
        let doing = "open a shell";
        let Connected {
            stored,
            mut stream,
            started,
        } = self.connect(&found.workspace_id, doing, caller).await?;
        let id = random_id()?;
        let side = |length: u32| u16::try_from(length).unwrap_or(u16::MAX);
        let request = ShellRequest::Open(Open {
            id: id.clone(),
            cwd: Some(cwd.bytes()),
            size: Size {
                cols: side(asked.cols.get()),
                rows: side(asked.rows.get()),
            },
            for_person,
            env: env_to_wire(&asked.env),
            secret_env: asked.secret_env.pairs().to_vec(),
            user: image_config::user_to_wire(asked.user.as_ref(), &stored.record.metadata),
        });
        let context = ShellContext { shell: &id, doing };
        let exchange = async {
            frame::write_message(&mut stream, &AgentRequest::Shell(request)).await?;
            frame::read_message(&mut stream).await
        };
        let workspace = &stored.record.workspace_id;
        let mut shell = match timeout(ANSWER, exchange).await {
            Ok(Ok(ShellReply::Shell(shell))) if shell.id == id => shell,
            Ok(Ok(ShellReply::Failed(fault))) => {
                let what = format!("No shell could be opened in workspace `{workspace}`");
                return Err(redactor.redact_error(refused(what, fault)));
            }
            Ok(Err(error)) => {
                return Err(self.shell_broken(&stored, context, &error).await);
            }
            _ => return Err(invalid_reply(&stored, context)),
        };
        self.touch_workspace(workspace)?;
        // As it was asked for, and not as the guest has it.
        let absolute = match cwd.relative() {
            "" => WORKSPACE_PATH.to_owned(),
            _ => cwd.absolute(),
        };
        shell.cwd = redactor.redact(absolute).into_bytes().into();
        Ok((stored, shell, started))
    }
}
