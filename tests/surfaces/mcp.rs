//! The MCP server as a surface, and the raw connection to it: lines of JSON-RPC, written here by
//! hand so that a test sees what is really on the wire.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyro_api::{Handle, Listed, Visit, visit};
use pyro_engine::Engine;
use serde_json::{Value, json};

use super::Surface;
use crate::world::World;

/// No answer of a test may take longer than this.
const PATIENCE: Duration = Duration::from_secs(180);

/// The newest revision that begins with `initialize`.
pub const NEWEST_WITH_INITIALIZE: &str = "2025-11-25";

/// The revision without `initialize`, where each request says who asks.
pub const WITHOUT_INITIALIZE: &str = "2026-07-28";

/// A server of its own, and the stream of messages from it.
pub struct Connection {
    pub child: Child,
    input: Option<ChildStdin>,
    messages: Receiver<String>,
    /// Messages that came while another was waited for.
    passed: VecDeque<Value>,
}

impl Connection {
    /// `pyro mcp serve` with more arguments, in a world, nothing said yet.
    pub fn start(world: &World, arguments: &[&str]) -> Self {
        let mut command = world.pyro(["mcp", "serve"]);
        command.args(arguments);
        Self::with(command)
    }

    /// The same for a server that is started in a way of its own.
    pub fn with(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error} (run `make build` first)"));
        let output = child.stdout.take().expect("a piped stdout");
        let (to, messages) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if to.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            input: child.stdin.take(),
            child,
            messages,
            passed: VecDeque::new(),
        }
    }

    /// A connection on which `initialize` is done.
    pub fn initialized(world: &World, arguments: &[&str], version: &str) -> Self {
        let mut connection = Self::start(world, arguments);
        connection.initialize(version);
        connection
    }

    /// Says hello; the server's half of it comes back.
    pub fn initialize(&mut self, version: &str) -> Value {
        let hello = self.request(
            0,
            "initialize",
            json!({
                "protocolVersion": version,
                "capabilities": {},
                "clientInfo": { "name": "test", "version": "0" },
            }),
        );
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        hello["result"].clone()
    }

    pub fn send(&mut self, message: &Value) {
        self.send_line(&message.to_string());
    }

    pub fn send_line(&mut self, line: &str) {
        let input = self.input.as_mut().expect("an open input");
        writeln!(input, "{line}").expect("the server reads");
    }

    /// Asks and does not wait.
    pub fn ask(&mut self, id: i64, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
    }

    /// Asks, and waits for the answer with this id.
    pub fn request(&mut self, id: i64, method: &str, params: Value) -> Value {
        self.ask(id, method, params);
        self.answer(id)
    }

    /// Calls a tool and waits for its result.
    pub fn call(&mut self, id: i64, tool: &str, arguments: Value) -> Value {
        let answer = self.request(
            id,
            "tools/call",
            json!({ "name": tool, "arguments": arguments }),
        );
        answer["result"].clone()
    }

    /// The answer with this id, whatever comes before it.
    pub fn answer(&mut self, id: i64) -> Value {
        self.find(&format!("an answer to {id}"), |message| {
            message["id"] == id && message.get("method").is_none()
        })
    }

    /// The first message that is meant, come already or still to come; the others wait.
    pub fn find(&mut self, what: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.passed.iter().position(&is_meant) {
            return self.passed.remove(at).expect("a message that was found");
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = match self.messages.recv_timeout(left) {
                Ok(line) => parsed(&line),
                Err(RecvTimeoutError::Timeout) => panic!("not in time: {what}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the server ended before {what}"),
            };
            if is_meant(&message) {
                return message;
            }
            self.passed.push_back(message);
        }
    }

    /// Everything else that came so far.
    pub fn rest(&mut self) -> Vec<Value> {
        let lines = self.messages.try_iter();
        let new: Vec<Value> = lines.map(|line| parsed(&line)).collect();
        self.passed.extend(new);
        self.passed.drain(..).collect()
    }

    /// Closes the server's input, as a client does that is done.
    pub fn close(&mut self) {
        self.input = None;
    }

    /// Waits for the server's end, but not for ever.
    pub fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("waiting for a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the server did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
        // A test that failed must not leave a server behind; one that passed has waited already.
        if std::thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// A line of standard output, of which all must be messages.
fn parsed(line: &str) -> Value {
    let message: Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    assert_eq!(message["jsonrpc"], "2.0", "{line}");
    message
}

/// The surface: operations by name, as tools of the largest profile.
pub struct Tools {
    connection: Mutex<Connection>,
    names: HashMap<&'static str, &'static str>,
    /// The field of an operation's output that is called `result` here.
    lists: HashMap<&'static str, &'static str>,
    next: AtomicI64,
}

impl Tools {
    pub fn new(world: &World) -> Self {
        let mut names = Names::default();
        visit::<Engine>(&mut names);
        let full = ["--profile", "workspace-full"];
        let connection = Connection::initialized(world, &full, NEWEST_WITH_INITIALIZE);
        Self {
            connection: Mutex::new(connection),
            names: names.tools,
            lists: names.lists,
            next: AtomicI64::new(1),
        }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tools {
    /// Calls an operation and does not wait; the id of the call.
    pub fn begin(&self, operation: &str, arguments: Value) -> i64 {
        let tool = self
            .names
            .get(operation)
            .unwrap_or_else(|| panic!("MCP has no `{operation}`"));
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let params = json!({ "name": tool, "arguments": arguments });
        self.connection().ask(id, "tools/call", params);
        id
    }

    /// What came of a call of an operation.
    pub fn result(&self, operation: &str, id: i64) -> Result<Value, Value> {
        let result = self.connection().answer(id)["result"].clone();
        let mut facts = result["structuredContent"].clone();
        if let Some(list) = self.lists.get(operation)
            && let Some(fields) = facts.as_object_mut()
            && let Some(value) = fields.remove("result")
        {
            fields.insert((*list).to_owned(), value);
        }
        match result["isError"].as_bool() {
            Some(true) => Err(facts),
            _ => Ok(facts),
        }
    }

    /// `kill -9` of the server.
    pub fn kill(&self) {
        let mut connection = self.connection();
        connection.child.kill().expect("a signal to the server");
        connection.child.wait().expect("waiting for a child");
    }
}

impl Surface for Tools {
    fn call(&self, operation: &str, arguments: Value) -> Result<Value, Value> {
        let id = self.begin(operation, arguments);
        self.result(operation, id)
    }
}

#[derive(Default)]
struct Names {
    tools: HashMap<&'static str, &'static str>,
    lists: HashMap<&'static str, &'static str>,
}

impl Visit<Engine> for Names {
    fn operation<O: Listed>(&mut self)
    where
        Engine: Handle<O>,
    {
        if let Some(mcp) = O::NAMES.mcp {
            self.tools.insert(O::NAMES.operation, mcp.name);
            if let Some(list) = mcp.list {
                self.lists.insert(O::NAMES.operation, list);
            }
        }
    }
}
