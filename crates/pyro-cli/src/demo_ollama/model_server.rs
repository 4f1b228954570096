//! One request to a server of the Chat Completions protocol.

use std::time::Duration;

use pyro_api::{Error, ErrorCode};
use serde_json::{Value, json};
use ureq::Agent;

/// How long one answer may take: a small model on a slow processor is slow.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

/// How much of a server's complaint is shown.
const LONGEST_COMPLAINT: usize = 500;

#[derive(Clone)]
pub(super) struct ModelServer {
    agent: Agent,
    base_url: String,
    model: String,
}

impl ModelServer {
    pub(super) fn at(base_url: &str, model: &str) -> Result<Self, Error> {
        let base_url = base_url.trim().trim_end_matches('/');
        if !base_url.starts_with("http://") {
            return Err(Error::invalid(format!(
                "base-url must begin with `http://`, not `{base_url}`"
            ))
            .hint(
                "Give the address of a server on this machine, such as `http://localhost:11434/v1`",
            ));
        }
        let agent = Agent::config_builder()
            .timeout_global(Some(REQUEST_TIMEOUT))
            // What a refusal says is worth reading.
            .http_status_as_error(false)
            // A local server is not behind a proxy.
            .proxy(None)
            .build()
            .new_agent();
        Ok(Self {
            agent,
            base_url: base_url.to_owned(),
            model: model.to_owned(),
        })
    }

    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// The message that the model says next. Waits for it on a thread.
    pub(super) async fn next(&self, messages: &[Value], tools: &[Value]) -> Result<Value, Error> {
        let body = json!({ "model": self.model, "messages": messages, "tools": tools });
        let server = self.clone();
        let asked = tokio::task::spawn_blocking(move || server.ask(&body)).await;
        asked.unwrap_or_else(|broken| {
            Err(Error::new(ErrorCode::Internal, "Internal error in pyro").caused_by(&broken))
        })
    }

    fn ask(&self, body: &Value) -> Result<Value, Error> {
        let url = format!("{}/chat/completions", self.base_url);
        let answer = self
            .agent
            .post(&url)
            .header("content-type", "application/json")
            .send(body.to_string());
        let mut answer = answer.map_err(|error| self.unreachable(&error))?;
        let text = answer.body_mut().read_to_string();
        let text = text.map_err(|error| self.unreachable(&error))?;
        if !answer.status().is_success() {
            return Err(self.refused(answer.status().as_u16(), &text));
        }
        let document: Value = serde_json::from_str(&text).unwrap_or_default();
        match document.pointer("/choices/0/message") {
            Some(message) if message.is_object() => Ok(message.clone()),
            _ => Err(self.refused(answer.status().as_u16(), &text)),
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> Error {
        let timed_out = matches!(error, ureq::Error::Timeout(_));
        let what = if timed_out {
            format!(
                "The model `{}` did not answer within {}s",
                self.model,
                REQUEST_TIMEOUT.as_secs()
            )
        } else {
            format!("No model server answers at {}", self.base_url)
        };
        let hint = if timed_out {
            "Try a smaller model with `--model`".to_owned()
        } else {
            format!(
                "Start Ollama with `ollama serve`, get the model with `ollama pull {}`, or use \
                 another server with `--base-url`",
                self.model
            )
        };
        Error::new(ErrorCode::HostIo, what)
            .caused_by(error)
            .hint(hint)
    }

    fn refused(&self, status: u16, text: &str) -> Error {
        let document: Value = serde_json::from_str(text).unwrap_or_default();
        let complaint = document.pointer("/error/message").and_then(Value::as_str);
        let complaint: String = complaint
            .unwrap_or(text)
            .chars()
            .take(LONGEST_COMPLAINT)
            .collect();
        Error::new(
            ErrorCode::HostIo,
            format!("The server at {} returned no message", self.base_url),
        )
        .because(format!("status {status}: {complaint}"))
        .hint(format!(
            "Get the model with `ollama pull {}`, or choose another with `--model`",
            self.model
        ))
    }
}
