//! A shell of a workspace that runs: from a word typed to its echo read.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use pyro_api::operations::shell_open::ShellOpen;
use pyro_api::operations::shell_read::{ShellRead, ShellText};
use pyro_api::operations::shell_write::ShellWrite;
use pyro_api::values::{EnvVars, MaxChars, SecretEnv, ShellCols, ShellRows, WORKSPACE_PATH};
use pyro_api::{Caller, Handle};
use pyro_engine::Engine;

use super::contender::{Contender, Goal, Turn, Work};
use super::process::HUNG;
use super::workspace::{Shared, Workspace};

const PROMPT: &str = "pyro$ ";

pub(crate) fn contender(workspace: &Shared) -> Contender {
    Contender::new(
        "engine in process: a word typed into a shell of a VM, until its echo is read",
        Typing {
            workspace: Rc::clone(workspace),
            shell: None,
        },
    )
    .goal(Some(Goal::Milliseconds(30.0)))
}

struct Typing {
    workspace: Shared,
    /// From the first turn on.
    shell: Option<Echo>,
}

/// A shell that waits for a word.
struct Echo {
    engine: Arc<Engine>,
    workspace_id: String,
    shell_id: String,
    cursor: u64,
}

impl Echo {
    async fn open(workspace: &Workspace) -> Result<Self> {
        let open = ShellOpen {
            workspace_id: workspace.id.clone(),
            cwd: WORKSPACE_PATH.to_owned(),
            cols: ShellCols::default(),
            rows: ShellRows::default(),
            secret_env: SecretEnv::default(),
            env: EnvVars::default(),
            user: None,
        };
        let opened = workspace.engine.handle(open, &Caller::new()).await?;
        let mut echo = Self {
            engine: Arc::clone(&workspace.engine),
            workspace_id: workspace.id.clone(),
            shell_id: opened.shell.shell_id,
            cursor: 0,
        };
        echo.read_until(PROMPT).await?;
        Ok(echo)
    }

    async fn write(&self, input: &str, append_newline: bool) -> Result<()> {
        let write = ShellWrite {
            workspace_id: self.workspace_id.clone(),
            shell_id: self.shell_id.clone(),
            input: input.to_owned(),
            append_newline,
        };
        self.engine.handle(write, &Caller::new()).await?;
        Ok(())
    }

    async fn read_until(&mut self, wanted: &str) -> Result<()> {
        let begun = Instant::now();
        let mut seen = String::new();
        while !seen.contains(wanted) {
            ensure!(begun.elapsed() < HUNG, "{wanted:?} is not in {seen:?}");
            let read = ShellRead {
                workspace_id: self.workspace_id.clone(),
                shell_id: self.shell_id.clone(),
                cursor: self.cursor,
                max_chars: MaxChars::default(),
                plain: false,
                wait_for_idle_ms: None,
            };
            let text: ShellText = self.engine.handle(read, &Caller::new()).await?;
            self.cursor = text.next_cursor;
            seen.push_str(&text.output);
        }
        Ok(())
    }
}

impl Work for Typing {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let workspace = self.workspace.get().await?;
            if self.shell.is_none() {
                self.shell = Some(Echo::open(workspace).await?);
            }
            let shell = self.shell.as_mut().context("no shell")?;
            let started = Instant::now();
            shell.write("word", false).await?;
            shell.read_until("word").await?;
            let took = started.elapsed();
            // The line is empty again, and the next turn begins with a prompt.
            shell.write("\u{15}", true).await?;
            shell.read_until(PROMPT).await?;
            Ok(took)
        })
    }
}
