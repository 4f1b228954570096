//! pyro as a server of the Model Context Protocol, asked by a client that speaks just enough of it.

use std::process::Stdio;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::contender::{Contender, Errand, Goal, League, Turn, Work};
use super::process::HUNG;
use super::pyro::Pyro;
use super::workspace::Shared;

const PROTOCOL: &str = "2025-06-18";

pub(crate) fn contenders(pyro: &Pyro, workspace: &Shared) -> Vec<Contender> {
    let exec = Exec {
        client: None,
        pyro: pyro.clone(),
        workspace: Rc::clone(workspace),
    };
    vec![
        Contender::new(
            "`pyro mcp serve`, from its start to the answer of tools/list",
            List { pyro: pyro.clone() },
        )
        .goal(Some(Goal::Milliseconds(25.0))),
        Contender::new(
            "MCP: `workspace_exec` of `true` in a running VM, through a running server",
            exec,
        )
        .league(League::Running(Errand::True))
        .goal(Some(Goal::Milliseconds(15.0))),
    ]
}

struct List {
    pyro: Pyro,
}

impl Work for List {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let started = Instant::now();
            let mut client = Client::start(&self.pyro).await?;
            let tools = client.ask("tools/list", json!({})).await?;
            let took = started.elapsed();
            let tools = tools["tools"].as_array().context("no tools")?;
            ensure!(!tools.is_empty(), "no tools");
            client.end().await?;
            Ok(took)
        })
    }
}

struct Exec {
    /// A server that stays, from the first turn on.
    client: Option<Client>,
    pyro: Pyro,
    workspace: Shared,
}

impl Work for Exec {
    fn turn(&mut self) -> Turn<'_> {
        Box::pin(async {
            let workspace = self.workspace.get().await?;
            if self.client.is_none() {
                self.client = Some(Client::start(&self.pyro).await?);
            }
            let client = self.client.as_mut().context("no server")?;
            let call = json!({
                "name": "workspace_exec",
                "arguments": { "workspace_id": workspace.id, "command": "true" },
            });
            let started = Instant::now();
            let result = client.ask("tools/call", call).await?;
            let took = started.elapsed();
            let facts = &result["structuredContent"];
            ensure!(
                facts["exit_code"] == 0 && facts["workspace_started"] == false,
                "the call failed: {result}"
            );
            Ok(took)
        })
    }
}

/// A server, and both ends of the connection to it.
struct Client {
    server: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
    asked: u64,
}

impl Client {
    /// Starts a server and greets it.
    async fn start(pyro: &Pyro) -> Result<Self> {
        let mut server = pyro
            .command()
            .args(["mcp", "serve"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting pyro mcp serve")?;
        let mut client = Self {
            to: server.stdin.take().context("no pipe to the server")?,
            from: BufReader::new(server.stdout.take().context("no pipe from the server")?).lines(),
            server,
            asked: 0,
        };
        let greeting = json!({
            "protocolVersion": PROTOCOL,
            "capabilities": {},
            "clientInfo": { "name": "pyro-bench", "version": "0" },
        });
        client.ask("initialize", greeting).await?;
        let done = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        client.tell(&done).await?;
        Ok(client)
    }

    async fn tell(&mut self, message: &Value) -> Result<()> {
        let mut line = message.to_string();
        line.push('\n');
        Ok(self.to.write_all(line.as_bytes()).await?)
    }

    /// The result of a request.
    async fn ask(&mut self, method: &str, params: Value) -> Result<Value> {
        self.asked += 1;
        let id = self.asked;
        self.tell(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .await?;
        let mut answer = timeout(HUNG, self.answer(id))
            .await
            .with_context(|| format!("the server did not answer {method}"))??;
        ensure!(answer["error"].is_null(), "{method} failed: {answer}");
        Ok(answer["result"].take())
    }

    async fn answer(&mut self, id: u64) -> Result<Value> {
        loop {
            let line = self.from.next_line().await?.context("the server ended")?;
            let message: Value = serde_json::from_str(&line)?;
            if message["id"] == id {
                return Ok(message);
            }
        }
    }

    async fn end(mut self) -> Result<()> {
        drop(self.to);
        let status = timeout(HUNG, self.server.wait())
            .await
            .context("the server did not end")??;
        ensure!(status.success(), "the server: {status}");
        Ok(())
    }
}
