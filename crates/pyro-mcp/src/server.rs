//! The server: answers the protocol's requests and carries out calls, any number at a time.

use std::borrow::Cow;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyro_api::{Error, ErrorCode, HandleAll, Profile};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CustomRequest, CustomResult,
    ErrorData, Implementation, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities,
    ServerConfig,
};
use rmcp::service::{RequestContext, serve_server};
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Map, Value};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::answer::{Form, refused};
use crate::progress::{CallEvents, ProgressUpdates};
use crate::tools::Tools;
use crate::transport::LineTransport;
use crate::{Stdio, answer};

/// What the contract calls this server.
const NAME: &str = "pyro_mcp";

/// How the tools work together, for the model. Hosts cut longer texts.
const INSTRUCTIONS: &str = "\
pyro runs commands in Linux virtual machines that are isolated from this host. \
For a single command use vm_run. For work of several steps: \
1. workspace_create, with seed_path to copy a project folder in; keep the workspace_id. \
2. workspace_exec runs commands in /workspace; workspace_file_list, _read, _write and \
workspace_patch_apply look at files and change them. \
3. workspace_diff shows all changes since creation. \
4. workspace_export copies results, file by file, to this host; nothing else changes files here. \
5. workspace_reset returns to the first state; workspace_delete removes the workspace. \
Files last between calls, a shell's folder and variables do not. A long command is answered with \
running true and keeps running: workspace_logs follows it. A command that fails is a result with \
its exit_code; an error has a code and a hint that says how to continue. Long output comes as head \
and tail; workspace_logs has all of it. If an answer has next_skip, pass it as skip to get the \
rest.";

const INSTRUCTIONS_VM_RUN: &str = "\
pyro runs commands in Linux virtual machines that are isolated from this host. vm_run starts a \
fresh VM, runs one command line in it and deletes the VM: nothing lasts between calls. A command \
that fails is a result with its exit_code; an error has a code and a hint that says how to continue.";

/// How long calls go on when the client has closed its end: enough to do whole what was nearly done,
/// too short for an orphan to matter.
const GRACE: Duration = Duration::from_secs(1);

/// How long the end may take, clearing up included.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one notification may hold up its call.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(1);

type BoxFuture<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

/// What is to be served, and how.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub profile: Profile,
    pub version: &'static str,
    /// Tell of every call on standard error.
    pub log: bool,
}

/// Why serving is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client went away.
    ByClient,
    /// `until` came.
    Stopped,
}

/// Serves until the client goes away, or until it is told to end. Calls that are still going on
/// are dropped then, which ends what they had started; a client that has gone is not answered. What
/// it only asked about, such as the list of tools, still is: it may have said all in one piece.
/// Settings of the environment that mean nothing are refused before anything is served.
pub async fn serve<E: HandleAll>(
    engine: Arc<E>,
    settings: Settings,
    stdio: Stdio,
    until: impl Future<Output = ()> + Send,
) -> Result<Ended, Error> {
    let closing = CancellationToken::new();
    let server = Server {
        tools: Tools::of(&engine, settings.profile),
        access: Access::from_environment()?,
        settings,
        closing: closing.clone(),
    };
    serve_until(server, closing, stdio, Box::pin(until)).await
}

/// Boxed, so that it is compiled here and not by each of its callers.
fn serve_until(
    server: Server,
    closing: CancellationToken,
    stdio: Stdio,
    until: BoxFuture<'_, ()>,
) -> BoxFuture<'_, Result<Ended, Error>> {
    Box::pin(async move {
        let gone = CancellationToken::new();
        let transport = LineTransport::new(stdio, gone.clone()).map_err(|error| {
            Error::new(ErrorCode::HostIo, "The server could not start reading").caused_by(&error)
        })?;
        let mut served = pin!(async {
            if let Ok(running) = serve_server(server, transport).await {
                let _ = running.waiting().await;
            }
        });
        let ended = tokio::select! {
            () = &mut served => return Ok(Ended::ByClient),
            () = gone.cancelled() => {
                if timeout(GRACE, &mut served).await.is_ok() {
                    return Ok(Ended::ByClient);
                }
                Ended::ByClient
            }
            () = until => Ended::Stopped,
        };
        closing.cancel();
        gone.cancel();
        let _ = timeout(SHUTDOWN_TIMEOUT, served).await;
        Ok(ended)
    })
}

struct Server {
    settings: Settings,
    tools: Tools,
    access: Access,
    /// Cancelled when calls are to end.
    closing: CancellationToken,
}

impl Server {
    async fn call(
        &self,
        name: &str,
        given: Map<String, Value>,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResult {
        let started = Instant::now();
        let form = Form::of(context.protocol_version().as_ref());
        let events = Arc::new(CallEvents::default());
        let outcome = self.execute(name, given, &events, context).await;
        if self.settings.log {
            let code = match &outcome {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.code.to_string(),
            };
            eprintln!("[mcp] {name} {code} {} ms", started.elapsed().as_millis());
        }
        match outcome {
            Ok(answer) => answer.into_result(&events.output_text(), form),
            Err(error) => refused(&error, form),
        }
    }

    async fn execute(
        &self,
        name: &str,
        given: Map<String, Value>,
        events: &Arc<CallEvents>,
        context: &RequestContext<RoleServer>,
    ) -> Result<answer::Answer, Error> {
        let tool = self.tools.find(name)?;
        let arguments = tool.arguments.normalize(given)?;
        let client = context.client_info().map(|client| client.name);
        let caller = self.access.remote_caller(events, client.as_deref());
        let mut call = (tool.call)(arguments, caller);
        let token = context.meta.get_progress_token();
        let mut updates = ProgressUpdates::new(events);
        loop {
            tokio::select! {
                biased;
                () = context.ct.cancelled() => return Err(cancelled("The client cancelled the call")),
                () = self.closing.cancelled() => return Err(cancelled("The server is shutting down")),
                answer = &mut call => return answer,
                (seconds, message) = updates.next(), if token.is_some() => {
                    // Waited for here, so that no news come after the answer.
                    let Some(token) = token.clone() else { continue };
                    let updates = ProgressNotificationParam::new(token, seconds).with_message(message);
                    let _ = timeout(NOTIFY_TIMEOUT, context.peer.notify_progress(updates)).await;
                }
            }
        }
    }
}

fn cancelled(why: &str) -> Error {
    Error::new(ErrorCode::Cancelled, why)
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let instructions = match self.settings.profile {
            Profile::VmRun => INSTRUCTIONS_VM_RUN,
            Profile::WorkspaceCore | Profile::WorkspaceFull => INSTRUCTIONS,
        };
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new(NAME, self.settings.version).with_title("pyro"))
            .with_instructions(instructions)
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let form = Form::of(context.protocol_version().as_ref());
        let tools = self.tools.offered.iter().map(|offered| {
            let mut tool = offered.tool.clone();
            if form == Form::TextOnly {
                // A newer client that speaks an older revision holds us to what it sees here.
                tool.output_schema = None;
            }
            tool
        });
        Ok(ListToolsResult::with_all_items(tools.collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let given = request.arguments.unwrap_or_default();
        Ok(self.call(&request.name, given, &context).await.into())
    }

    /// Requests that rmcp could not read end here, among them calls whose arguments are no object.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        if request.method == "tools/call" {
            return Err(ErrorData::invalid_params(
                "tools/call takes a tool's `name` and its `arguments`, which are an object",
                None,
            ));
        }
        Err(ErrorData::new(
            rmcp::model::ErrorCode::METHOD_NOT_FOUND,
            Cow::from(format!("unknown method `{}`", request.method)),
            None,
        ))
    }

    // Some clients ask for these whatever a server says it has.

    async fn list_prompts(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::default())
    }

    async fn list_resources(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::default())
    }

    async fn list_resource_templates(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_short() {
        for text in [INSTRUCTIONS, INSTRUCTIONS_VM_RUN] {
            assert!(text.len() < 1024, "{}", text.len());
        }
    }
}
