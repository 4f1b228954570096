//! Starts what an entry says, as its host would, and asks for the tools.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::entry::Entry;

/// The most that is read of one message, and of what is said on standard error.
const MAX_MESSAGE: u64 = 16 * 1024 * 1024;
const MAX_STDERR: u64 = 64 * 1024;

/// Messages that may wait to be looked at.
const QUEUED_MESSAGES: usize = 16;

/// What the server said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerInfo {
    pub(crate) server: String,
    pub(crate) tools: Vec<String>,
}

/// How far it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    NotStarted(String),
    /// It did not say who it is.
    NotInitialized(String),
    /// It did not tell its tools.
    NoTools(String),
}

/// Ends the server when the probe is over, however that came.
struct Server {
    child: Child,
    input: Option<ChildStdin>,
    messages: Receiver<String>,
    errors: thread::JoinHandle<String>,
    deadline: Instant,
}

pub(crate) fn probe(
    entry: &Entry,
    environment: &[(OsString, OsString)],
    timeout: Duration,
) -> Result<ServerInfo, Failure> {
    let mut server = Server::start(entry, environment, timeout).map_err(Failure::NotStarted)?;
    let hello = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": { "name": "pyro-host-doctor", "version": env!("CARGO_PKG_VERSION") },
    });
    let info = match server.ask(1, "initialize", hello) {
        Ok(info) => info,
        Err(why) => return Err(Failure::NotInitialized(server.end(why))),
    };
    let told = server.notify(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    let tools = match told.and_then(|()| server.ask(2, "tools/list", json!({}))) {
        Ok(tools) => tools,
        Err(why) => return Err(Failure::NoTools(server.end(why))),
    };
    let names = tools["tools"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let names = names.iter().filter_map(|tool| tool["name"].as_str());
    let info = |key: &str| info["serverInfo"][key].as_str().unwrap_or("?").to_owned();
    Ok(ServerInfo {
        server: format!("{} {}", info("name"), info("version")),
        tools: names.map(str::to_owned).collect(),
    })
}

impl Server {
    fn start(
        entry: &Entry,
        environment: &[(OsString, OsString)],
        timeout: Duration,
    ) -> Result<Self, String> {
        let env: &BTreeMap<String, String> = &entry.env;
        let mut child = Command::new(&entry.command)
            .args(&entry.args)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .envs(env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let (send, messages) = sync_channel(QUEUED_MESSAGES);
        let output = child.stdout.take();
        // Ends when the server does, or when nobody listens any more.
        thread::spawn(move || {
            let Some(output) = output else { return };
            let mut output = BufReader::new(output);
            loop {
                let mut line = String::new();
                match output.by_ref().take(MAX_MESSAGE).read_line(&mut line) {
                    Ok(read) if read > 0 => {}
                    _ => return,
                }
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let stderr = child.stderr.take();
        let errors = thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stderr) = stderr {
                let _ = stderr.by_ref().take(MAX_STDERR).read_to_end(&mut bytes);
                let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            }
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Ok(Self {
            input: child.stdin.take(),
            child,
            messages,
            errors,
            deadline: Instant::now() + timeout,
        })
    }

    fn notify(&mut self, message: &Value) -> Result<(), String> {
        let input = self.input.as_mut().ok_or("it accepts no input")?;
        // Small enough for the pipe, so this does not wait for a server that reads nothing.
        let written = writeln!(input, "{message}").and_then(|()| input.flush());
        written.map_err(|_| "it exited before it answered".to_owned())
    }

    fn ask(&mut self, id: u64, method: &str, params: Value) -> Result<Value, String> {
        self.notify(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let line = match self.messages.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("it did not answer `{method}` in time"));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("it exited before it answered".to_owned());
                }
            };
            let Ok(message) = serde_json::from_str::<Value>(&line) else {
                let start: String = line.trim_end().chars().take(80).collect();
                return Err(format!("its output is not MCP: {start}"));
            };
            if message["id"] != id {
                continue;
            }
            return match message.get("error") {
                Some(error) => Err(error["message"].as_str().unwrap_or("an error").to_owned()),
                None => Ok(message["result"].clone()),
            };
        }
    }

    /// Why it failed, with the last thing it said.
    fn end(mut self, why: String) -> String {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Something that it started may hold on to its standard error.
        let until = Instant::now() + Duration::from_secs(1);
        while !self.errors.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        if !self.errors.is_finished() {
            return why;
        }
        let errors = std::mem::replace(&mut self.errors, thread::spawn(String::new));
        let bytes = errors.join().unwrap_or_default();
        match bytes.lines().rfind(|line| !line.trim().is_empty()) {
            Some(last) => format!(
                "{why}; its last line of standard error: {}",
                pyro_api::report::plain(last.trim())
            ),
            None => why,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server whose client goes away ends by itself; one that does not is ended.
        self.input = None;
        let until = (Instant::now() + Duration::from_secs(2)).min(self.deadline);
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<ServerInfo, Failure> {
        let entry = Entry {
            command: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            ..Entry::default()
        };
        let path = [("PATH".into(), "/usr/bin:/bin".into())];
        probe(&entry, &path, Duration::from_secs(20))
    }

    const HELLO: &str = r#"read a; echo '{"jsonrpc":"2.0","id":1,"result":{"serverInfo":{"name":"s","version":"1"}}}'"#;

    #[test]
    fn a_server_that_answers_is_greeted() {
        let tools = r#"{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"vm_run"}]}}"#;
        let info = shell(&format!(
            "{HELLO}; echo '{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}}'; read b; read c; \
             echo '{tools}'; read d"
        ));
        assert_eq!(
            info,
            Ok(ServerInfo {
                server: "s 1".into(),
                tools: vec!["vm_run".into()]
            })
        );
    }

    #[test]
    fn one_that_does_not_says_why() {
        let Err(Failure::NotInitialized(why)) = shell("echo no environment >&2; exit 3") else {
            panic!("it answered")
        };
        assert!(
            why.contains("exited before") && why.contains("standard error: no environment"),
            "{why}"
        );
        let Err(Failure::NotInitialized(why)) = shell("echo Welcome; read a; read b") else {
            panic!("it answered")
        };
        assert!(why.contains("not MCP: Welcome"), "{why}");
        let Err(Failure::NoTools(why)) = shell(&format!("{HELLO}; read b; exit 1")) else {
            panic!("it answered")
        };
        assert!(why.contains("exited before"), "{why}");
    }

    #[test]
    fn what_does_not_exist_is_not_started() {
        let entry = Entry {
            command: "/nowhere/pyro".into(),
            ..Entry::default()
        };
        let failed_by = probe(&entry, &[], Duration::from_secs(20));
        assert!(matches!(failed_by, Err(Failure::NotStarted(_))));
    }
}
