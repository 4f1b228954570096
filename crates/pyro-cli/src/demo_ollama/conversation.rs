//! The loop: what the model calls is carried out, and its result goes back, until it says the end.

use std::sync::Arc;

use pyro_api::report::escape_controls;
use pyro_api::{Error, ErrorCode, Profile};
use pyro_engine::Engine;
use pyro_mcp::InProcess;
use serde_json::{Map, Value, json};

use super::model_server::ModelServer;
use crate::failure::not_written;
use crate::render;

/// A model that has not finished by then will not.
const ROUNDS: usize = 12;

/// How many calls of one message are carried out.
const CALLS: usize = 8;

/// How many characters of a result a line shows, without `--verbose`.
const MAX_RESULT_CHARS: usize = 200;

const QUESTION: &str = "Which Linux kernel and which version of git does the environment debian:12 \
     have? Run `uname -r; git --version` in it with the tool, then answer in one sentence. Do not \
     guess.";

pub(super) struct Conversation {
    tools: InProcess,
    server: ModelServer,
    verbose: bool,
    messages: Vec<Value>,
    /// Whether a command has succeeded in a VM.
    ran: bool,
}

impl Conversation {
    pub(super) fn new(
        engine: Arc<Engine>,
        server: ModelServer,
        verbose: bool,
    ) -> Result<Self, Error> {
        Ok(Self {
            tools: InProcess::new(&engine, Profile::VmRun)?,
            server,
            verbose,
            messages: vec![json!({ "role": "user", "content": QUESTION })],
            ran: false,
        })
    }

    pub(super) async fn hold(mut self) -> Result<(), Error> {
        let offered: Vec<Value> = self.tools.tools()?.iter().map(function).collect();
        say("model", self.server.model())?;
        if self.verbose {
            say("question", QUESTION)?;
        }
        for _ in 0..ROUNDS {
            let message = self.server.next(&self.messages, &offered).await?;
            let calls = message["tool_calls"].as_array().cloned();
            let calls = calls.unwrap_or_default();
            let words = message["content"].as_str().unwrap_or_default();
            if calls.is_empty() {
                say("answer", words)?;
                return self.judged();
            }
            self.messages
                .push(json!({ "role": "assistant", "content": words, "tool_calls": calls }));
            for (number, call) in calls.iter().enumerate() {
                let result = if number < CALLS {
                    self.call_tool(&call["function"]).await?
                } else {
                    refusal(&format!("at most {CALLS} calls at once"))
                };
                self.messages.push(json!({
                    "role": "tool",
                    "tool_call_id": call["id"],
                    "content": result.to_string(),
                }));
            }
        }
        Err(self
            .unhelpful()
            .because(format!("it did not finish within {ROUNDS} rounds")))
    }

    /// What a call gave, a refusal included: both are for the model to read.
    async fn call_tool(&mut self, function: &Value) -> Result<Value, Error> {
        let name = function["name"].as_str().unwrap_or_default();
        say("call", &format!("{name} {}", function["arguments"]))?;
        let facts = match arguments(&function["arguments"]) {
            Ok(arguments) => {
                let mut result = self.tools.call(name, arguments).await?;
                result["structuredContent"].take()
            }
            Err(why) => refusal(&why),
        };
        self.ran |= facts["exit_code"] == 0;
        let shown = if self.verbose {
            format!("{facts:#}")
        } else {
            let told = facts["stdout"].as_str().or(facts["error"].as_str());
            let line: Vec<&str> = told.unwrap_or_default().lines().collect();
            let line: String = line.join(" | ").chars().take(MAX_RESULT_CHARS).collect();
            match facts["exit_code"].as_i64() {
                Some(code) => format!("exit_code={code} {line}"),
                None => line,
            }
        };
        say("result", &shown)?;
        Ok(facts)
    }

    /// An answer is worth something only when it was looked up.
    fn judged(&self) -> Result<(), Error> {
        if self.ran {
            return Ok(());
        }
        let why = "it answered without running a command successfully";
        Err(self.unhelpful().because(why))
    }

    fn unhelpful(&self) -> Error {
        let what = format!("The model `{}` did not solve the task", self.server.model());
        Error::new(ErrorCode::Unsupported, what)
            .hint("Try again, or choose a larger model that supports tools with `--model`")
    }
}

/// A tool in the form of this protocol.
fn function(tool: &Value) -> Value {
    json!({
        "type": "function",
        "function": {
            "name": tool["name"],
            "description": tool["description"],
            "parameters": tool["inputSchema"],
        },
    })
}

/// The protocol has them as text that holds JSON; some servers send the object itself.
fn arguments(given: &Value) -> Result<Map<String, Value>, String> {
    let parsed = match given {
        Value::String(text) => serde_json::from_str(text)
            .map_err(|error| format!("the arguments are not JSON: {error}"))?,
        other => other.clone(),
    };
    match parsed {
        Value::Object(arguments) => Ok(arguments),
        Value::Null => Ok(Map::new()),
        _ => Err("the arguments must be an object".to_owned()),
    }
}

fn refusal(why: &str) -> Value {
    json!({ "ok": false, "code": "invalid_argument", "error": why })
}

/// Prints a line. A model and a guest may have chosen the words.
fn say(what: &str, words: &str) -> Result<(), Error> {
    let line = format!("[{what}] {}\n", escape_controls(words.trim_end()));
    render::bytes(line.as_bytes()).map_err(|failure| not_written(&failure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_in_several_forms() {
        let wanted = json!({ "command": "true" });
        assert_eq!(arguments(&wanted).unwrap()["command"], "true");
        let text = Value::String(wanted.to_string());
        assert_eq!(arguments(&text).unwrap()["command"], "true");
        assert!(arguments(&Value::Null).unwrap().is_empty());
        for wrong in [json!("{"), json!("[1]"), json!(5)] {
            assert!(arguments(&wrong).is_err(), "{wrong}");
        }
    }
}
