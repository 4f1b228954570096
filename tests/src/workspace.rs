//! A workspace of a test, behind a surface.

use serde_json::{Value, json};

use crate::surfaces::Surface;
use crate::world::{Backend, World};

/// Is deleted when its story is over, through the same surface.
pub struct Workspace<'a> {
    surface: &'a dyn Surface,
    /// What was answered when it was made.
    pub created: Value,
}

impl<'a> Workspace<'a> {
    /// An empty one.
    pub fn new(world: &World, surface: &'a dyn Surface) -> Self {
        Self::with(world, surface, json!({}))
    }

    /// One with these arguments, and small in all others.
    pub fn with(world: &World, surface: &'a dyn Surface, arguments: Value) -> Self {
        let created = Self::try_with(world, surface, arguments)
            .unwrap_or_else(|told| panic!("no workspace: {told:#}"));
        Self { surface, created }
    }

    /// The same, where a refusal is the point.
    pub fn try_with(
        world: &World,
        surface: &dyn Surface,
        mut arguments: Value,
    ) -> Result<Value, Value> {
        arguments["environment"] = json!("debian:12");
        if arguments["mem_mib"].is_null() {
            arguments["mem_mib"] = json!(256);
        }
        arguments["allow_host_compat"] = json!(world.backend == Backend::Process);
        surface.call("workspace_create", arguments)
    }

    pub fn id(&self) -> &str {
        self.created["workspace_id"].as_str().expect("an id")
    }

    /// Calls an operation of workspaces, by its name without `workspace_`.
    pub fn call(&self, operation: &str, mut arguments: Value) -> Result<Value, Value> {
        arguments["workspace_id"] = json!(self.id());
        let operation = match operation.starts_with("snapshot_") {
            true => operation.to_owned(),
            false => format!("workspace_{operation}"),
        };
        self.surface.call(&operation, arguments)
    }

    /// Keeps the present state under a name.
    #[track_caller]
    pub fn snapshot(&self, name: &str) -> Value {
        self.done("snapshot_create", json!({ "snapshot_name": name }))["snapshot"].clone()
    }

    /// Goes back to a state.
    #[track_caller]
    pub fn reset_to(&self, name: &str) -> Value {
        self.done("reset", json!({ "snapshot": name }))
    }

    #[track_caller]
    pub fn delete_snapshot(&self, name: &str) {
        let deleted = self.done("snapshot_delete", json!({ "snapshot_name": name }));
        assert_eq!(deleted["deleted"], true, "{deleted:#}");
    }

    /// Calls an operation of shells, by its name without `shell_`.
    pub fn shell(&self, operation: &str, mut arguments: Value) -> Result<Value, Value> {
        arguments["workspace_id"] = json!(self.id());
        self.surface.call(&format!("shell_{operation}"), arguments)
    }

    /// Calls an operation of its services, by its name without `service_`.
    pub fn service(&self, operation: &str, mut arguments: Value) -> Result<Value, Value> {
        arguments["workspace_id"] = json!(self.id());
        self.surface
            .call(&format!("service_{operation}"), arguments)
    }

    /// Starts a service with these arguments.
    #[track_caller]
    pub fn starts(&self, name: &str, command: &str, mut arguments: Value) -> Value {
        arguments["service_name"] = json!(name);
        arguments["command"] = json!(command);
        self.service("start", arguments)
            .unwrap_or_else(|told| panic!("service {name}: {told:#}"))
    }

    /// Asks one of these about a service: `status`, `logs`, `stop`.
    #[track_caller]
    pub fn of_service(&self, operation: &str, name: &str) -> Value {
        self.service(operation, json!({ "service_name": name }))
            .unwrap_or_else(|told| panic!("{operation} of {name}: {told:#}"))
    }

    /// The same, where nothing else than success will do.
    #[track_caller]
    pub fn done(&self, operation: &str, arguments: Value) -> Value {
        self.call(operation, arguments)
            .unwrap_or_else(|told| panic!("{operation}: {told:#}"))
    }

    /// A refusal with this code.
    #[track_caller]
    pub fn refused(&self, operation: &str, arguments: Value, code: &str) -> Value {
        match self.call(operation, arguments) {
            Ok(result) => panic!("{operation} went well: {result:#}"),
            Err(told) => {
                assert_eq!(told["code"], code, "{told:#}");
                told
            }
        }
    }

    #[track_caller]
    pub fn exec(&self, command: &str) -> Value {
        self.done("exec", json!({ "command": command }))
    }

    /// What a command that goes well writes.
    #[track_caller]
    pub fn output(&self, command: &str) -> String {
        let result = self.exec(command);
        assert_eq!(result["exit_code"], 0, "{result:#}");
        result["stdout"].as_str().expect("text").to_owned()
    }

    /// The same of a command that has much to do. In an emulated guest beside others it needs more than
    /// the time that a command has when nobody says how much, and less than a story waits.
    #[track_caller]
    pub fn long_output(&self, command: &str) -> String {
        let result = self.done(
            "exec",
            json!({ "command": command, "timeout_seconds": 150 }),
        );
        assert_eq!(result["exit_code"], 0, "{result:#}");
        result["stdout"].as_str().expect("text").to_owned()
    }

    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        self.done("file_write", json!({ "path": path, "text": text }));
    }

    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        let read = self.done("file_read", json!({ "path": path }));
        read["content"].as_str().expect("text").to_owned()
    }

    /// The paths that differ from the baseline, each behind what became of it.
    #[track_caller]
    pub fn changes(&self) -> Vec<String> {
        let diff = self.done("diff", json!({}));
        let entries = diff["entries"].as_array().expect("entries");
        let told = |entry: &Value| {
            let word = |key: &str| entry[key].as_str().expect("text").to_owned();
            format!("{} {}", word("status"), word("path"))
        };
        entries.iter().map(told).collect()
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        self.done("status", json!({}))
    }
}

impl Drop for Workspace<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if let Err(told) = self.call("delete", json!({})) {
            // A story may have deleted it itself.
            assert_eq!(told["code"], "unknown_workspace", "{told:#}");
        }
    }
}
